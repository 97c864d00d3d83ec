package lifecycle

import (
	"reflect"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// TestCountsHaveEveryCounter fails for a counter that Counts or Add forgets.
func TestCountsHaveEveryCounter(t *testing.T) {
	var f Flow
	v := reflect.ValueOf(&f).Elem()
	for i := range v.NumField() {
		if !v.Type().Field(i).IsExported() {
			continue
		}
		switch counter := v.Field(i).Addr().Interface().(type) {
		case *atomic.Uint64:
			counter.Add(uint64(i) + 1)
		case *atomic.Int64:
			counter.Add(int64(i) + 1)
		case *[MessageSizeBuckets]atomic.Uint64:
			for j := range counter {
				counter[j].Add(uint64(j) + 1)
			}
		}
	}
	for kind := range uint8(ViolationKinds) {
		f.Violation(kind)
	}
	sum := f.Counts()
	once := sum
	sum.Add(&once)
	sum.Add(&once)
	got, want := reflect.ValueOf(sum), reflect.ValueOf(once)
	for i := range got.NumField() {
		name := got.Type().Field(i).Name
		for j := range max(lengthOf(got.Field(i)), 1) {
			three, one := numberIn(got.Field(i), j), numberIn(want.Field(i), j)
			if one == 0 || three != 3*one {
				t.Errorf("%s[%d]: got %d after adding %d twice", name, j, three, one)
			}
		}
	}
	if got, want := sum.Messages(), sum.Text+sum.Binary; got != want {
		t.Errorf("got %d messages, want %d", got, want)
	}
}

func lengthOf(v reflect.Value) int {
	if v.Kind() == reflect.Array {
		return v.Len()
	}
	return 0
}

func numberIn(v reflect.Value, i int) int64 {
	if v.Kind() == reflect.Array {
		v = v.Index(i)
	}
	if v.CanUint() {
		return int64(v.Uint())
	}
	return v.Int()
}

func TestViolationKindsAreBounded(t *testing.T) {
	var f Flow
	f.Violation(2)
	f.Violation(200)
	if got := f.Counts().Violations; got[2] != 1 || got[ViolationKinds-1] != 1 {
		t.Errorf("got %v", got)
	}
}

func TestLast(t *testing.T) {
	var f Flow
	if got := f.Last(); !got.IsZero() {
		t.Errorf("got %s before the first byte", got)
	}
	f.LastNanos.Store(epoch.UnixNano())
	if got := f.Last(); !got.Equal(epoch) {
		t.Errorf("got %s, want %s", got, epoch)
	}
	if got := f.Counts().Stall; got != time.Duration(0) {
		t.Errorf("got %s", got)
	}
}

func TestMessageSizeBounds(t *testing.T) {
	if bounds := MessageSizeBounds(); !slices.IsSorted(bounds[:]) {
		t.Errorf("got %v, want them in order", bounds)
	}
}

func TestSilence(t *testing.T) {
	var f Flow
	at := func(s int) time.Time { return epoch.Add(time.Duration(s) * time.Second) }
	want := func(now int, want time.Duration) {
		t.Helper()
		if got := f.Silence(epoch, at(now)); got != want {
			t.Errorf("after %d s: got %s, want %s", now, got, want)
		}
	}
	want(3, 3*time.Second)
	f.Heard(epoch, at(5))
	want(6, 5*time.Second)
	f.Heard(epoch, at(7))
	want(8, 5*time.Second)
	want(20, 13*time.Second)
	f.Heard(epoch, at(21))
	want(22, 14*time.Second)
	if got := f.Last(); !got.Equal(at(21)) {
		t.Errorf("got the last byte at %s", got)
	}
}
