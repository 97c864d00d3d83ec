package memory

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"testing"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

const mib = 1 << 20

func TestDueWhenQuietWithEnoughToGiveBack(t *testing.T) {
	for _, c := range []struct {
		name        string
		before, now state
		want        bool
	}{
		{"garbage after a storm", state{allocated: 900 * mib}, state{allocated: 900 * mib, objects: 60 * mib, live: 34 * mib}, true},
		{"freed but kept", state{allocated: 900 * mib}, state{allocated: 900 * mib, objects: 34 * mib, live: 34 * mib, free: 20 * mib}, true},
		{"the storm goes on", state{allocated: 900 * mib}, state{allocated: 908 * mib, objects: 60 * mib, live: 34 * mib}, false},
		{"little in all", state{allocated: 9 * mib}, state{allocated: 9 * mib, objects: 9 * mib, live: 4 * mib}, false},
		{"little beside what is live", state{allocated: 9000 * mib}, state{allocated: 9000 * mib, objects: 1100 * mib, live: 1000 * mib}, false},
		{"swept below what was live", state{allocated: 90 * mib}, state{allocated: 90 * mib, objects: 30 * mib, live: 34 * mib, free: 7 * mib}, false},
	} {
		if got := c.now.due(c.before); got != c.want {
			t.Errorf("%s: due is %t, want %t", c.name, got, c.want)
		}
	}
}

func TestPercentGivesASmallHeapRoom(t *testing.T) {
	for _, c := range []struct {
		live uint64
		want int
	}{{0, 1600}, {1 * mib, 1600}, {4 * mib, 1500}, {8 * mib, 700}, {24 * mib, 166}, {32 * mib, 100}, {900 * mib, 100}} {
		if got := (state{live: c.live}).percent(); got != c.want {
			t.Errorf("%d MiB live: got %d %%, want %d", c.live/mib, got, c.want)
		}
	}
}

func TestLimitIsTheControlGroupsUnlessTheEnvironmentHasOne(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	of := func() (uint64, error) { return 1000 * mib, nil }
	if got, err := limit(of); got != 900*mib || err != nil || debug.SetMemoryLimit(-1) != 900*mib {
		t.Errorf("got %d MiB, %v and %d in force, want nine tenths of 1000", got/mib, err, debug.SetMemoryLimit(-1)/mib)
	}
	if got, err := limit(func() (uint64, error) { return 0, memlimit.ErrNoLimit }); got != 0 || err != nil {
		t.Errorf("without a limit: got %d, %v", got, err)
	}
	debug.SetMemoryLimit(700 * mib) // as the runtime has done
	t.Setenv("GOMEMLIMIT", "700MiB")
	if got, err := limit(of); got != 700*mib || err != nil || debug.SetMemoryLimit(-1) != 700*mib {
		t.Errorf("with GOMEMLIMIT: got %d MiB, %v, want its 700", got/mib, err)
	}
}

// TestRoomFollowsTheHeap lets a heap become large and small again.
func TestRoomFollowsTheHeap(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	set := make(chan int)
	var running sync.WaitGroup
	running.Go(func() {
		tidy(ctx, time.Millisecond, func() {}, func(p int) {
			select {
			case set <- p:
			case <-ctx.Done():
			}
		})
	})
	defer running.Wait()
	defer cancel()
	await := func(want func(int) bool) {
		t.Helper()
		for deadline := time.After(time.Minute); ; {
			runtime.GC() // which says what is live
			select {
			case p := <-set:
				if want(p) {
					return
				}
			case <-deadline:
				t.Fatal("nothing was set for a minute")
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	await(func(p int) bool { return p > 2*usual })
	large := make([]byte, room)
	await(func(p int) bool { return p == usual })
	runtime.KeepAlive(large)
	await(func(p int) bool { return p > 2*usual })
}

// TestStormIsGivenBack makes garbage that no collection has looked at, and waits for it to be gone.
func TestStormIsGivenBack(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	storm()
	before := released()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { tidy(ctx, time.Millisecond, debug.FreeOSMemory, func(int) {}) })
	defer running.Wait()
	defer cancel()
	for deadline := time.Now().Add(time.Minute); released() < before+storms*3/4; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d MiB given back, want %d", int64(released()-before)/mib, storms/mib)
		}
	}
}

const storms = 64 * mib

var kept []byte

func storm() {
	for range storms / mib {
		kept = make([]byte, mib)
		for i := 0; i < len(kept); i += 4096 {
			kept[i] = 1
		}
	}
	kept = nil
}

// released is what of the heap the system has back.
func released() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

func TestReadingDoesNotAllocate(t *testing.T) {
	h := newHeap()
	if n := testing.AllocsPerRun(100, func() { h.read() }); n != 0 {
		t.Errorf("%v allocations for a look, want 0", n)
	}
}
