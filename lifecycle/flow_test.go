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
