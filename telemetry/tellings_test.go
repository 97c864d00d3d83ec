package telemetry

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wsproxy/lifecycle"
)

// told collects the tellings that were told; hold keeps the first from being over.
type told struct {
	mu   sync.Mutex
	ids  []string
	hold chan struct{}
}

func (k *told) tell(e *telling) {
	if id := e.watcher.conn.ID; id == "first" {
		<-k.hold
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ids = append(k.ids, e.watcher.conn.ID)
}

func (k *told) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.ids)
}

func named(id string) *telling {
	return &telling{watcher: &watcher{conn: &lifecycle.Connection{ID: id}}}
}

func TestEndingsAreToldInOrderBeforeFlushReturns(t *testing.T) {
	k := &told{hold: make(chan struct{})}
	close(k.hold)
	e := newTellings(k.tell, func() {}, slog.Default())
	want := []string{"first", "b", "c", "d"}
	for _, id := range want {
		e.add(named(id))
	}
	e.flush()
	if !slices.Equal(k.ids, want) {
		t.Errorf("got %v, want %v", k.ids, want)
	}
	e.stop()
	e.add(named("late"))
	if got := k.ids[len(k.ids)-1]; got != "late" {
		t.Errorf("after stop: got %q told last, want late", got)
	}
	e.flush()
}

func TestNoEndingIsLostWhenTheQueueIsFull(t *testing.T) {
	k := &told{hold: make(chan struct{})}
	e := newTellings(k.tell, func() {}, slog.Default())
	e.add(named("first"))
	for e.pending() > 0 { // until the goroutine has taken it, and waits
	}
	for range tellingLimit {
		e.add(named("queued"))
	}
	e.add(named("beyond"))
	if !slices.Equal(k.ids, []string{"beyond"}) {
		t.Errorf("with a full queue: got %v, want the last told by its caller", k.ids)
	}
	close(k.hold)
	e.stop()
	if got := len(k.ids); got != tellingLimit+2 {
		t.Errorf("got %d told, want %d", got, tellingLimit+2)
	}
}

func (e *tellings) pending() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.waiting)
}

func TestFaultInOneEndingLeavesTheOthers(t *testing.T) {
	var out bytes.Buffer
	k := new(told)
	e := newTellings(func(x *telling) {
		if x.watcher.conn.ID == "bad" {
			panic("fault")
		}
		k.tell(x)
	}, func() {}, slog.New(slog.NewTextHandler(&out, nil)))
	e.add(named("bad"))
	e.add(named("good"))
	e.stop()
	if !slices.Equal(k.ids, []string{"good"}) || !strings.Contains(out.String(), "connection.id=bad") {
		t.Errorf("got %v told and the log %q, want good told and bad in the log", k.ids, out.String())
	}
}

// Nobody waits for others to come along: not a flush, and not as many as are told together.
func TestNoFlushAndNoCrowdWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := new(told)
		e := newTellings(k.tell, func() {}, slog.Default())
		defer e.stop()
		begun := time.Now()
		e.add(named("a"))
		e.flush()
		if k.count() != 1 || time.Since(begun) != 0 {
			t.Errorf("flush: got %d told after %v, want 1 at once", k.count(), time.Since(begun))
		}
		for range gatherMost {
			e.add(named("crowd"))
		}
		synctest.Wait()
		if k.count() != 1+gatherMost || time.Since(begun) != 0 {
			t.Errorf("crowd: got %d told after %v, want %d at once", k.count(), time.Since(begun), 1+gatherMost)
		}
		e.add(named("late"))
		synctest.Wait()
		if k.count() != 1+gatherMost {
			t.Errorf("one: got it told at once, want it to wait for others")
		}
		time.Sleep(gatherFor)
		synctest.Wait()
		if k.count() != 2+gatherMost {
			t.Errorf("one: got it not told after %v", gatherFor)
		}
	})
}
