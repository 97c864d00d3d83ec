package lifecycle

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var startStates = []State{StateCreated, StateInitialized, StateInterfacesReady, StateTimeValid, StatePolicyValid,
	StateUpstreamsChecked, StateOperational}

func enter(t *testing.T, y *System, states ...State) {
	t.Helper()
	for _, s := range states {
		if err := y.Enter(s, ""); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStateTransitions(t *testing.T) {
	all := append([]State{StateNone}, States()...)
	golden(t, "states.txt", table(all, func(s State) []State { return stateTransitions[s] }))
}

func TestEveryPairOfStates(t *testing.T) {
	ways := map[State][]State{StateNone: nil}
	for queue := []State{StateNone}; len(queue) > 0; queue = queue[1:] {
		for _, next := range stateTransitions[queue[0]] {
			if _, known := ways[next]; !known {
				ways[next] = append(slices.Clone(ways[queue[0]]), next)
				queue = append(queue, next)
			}
		}
	}
	for from := range stateCount {
		way, reachable := ways[from]
		if !reachable {
			t.Errorf("%s is out of reach", from)
		}
		for to := range stateCount {
			var y System
			enter(t, &y, way...)
			err := y.Enter(to, "")
			if legal := slices.Contains(stateTransitions[from], to); legal != (err == nil) {
				t.Errorf("%s → %s: legal %t, error %v", from, to, legal, err)
			} else if !legal && (y.State() != from || len(y.History()) != len(way)) {
				t.Errorf("%s → %s was refused and left %s", from, to, y.State())
			}
		}
	}
}

func TestReady(t *testing.T) {
	var y System
	check := func(want bool) {
		t.Helper()
		if y.Ready() != want {
			t.Errorf("%s: got %t, want %t", y.State(), !want, want)
		}
	}
	check(false)
	for _, s := range startStates {
		enter(t, &y, s)
		check(s == StateOperational)
	}
	enter(t, &y, StateReloading)
	check(true)
	enter(t, &y, StateOperational, StateUpgrading)
	check(true) // until the new process serves, this one does
	enter(t, &y, StateOperational, StateDraining)
	check(false)
	enter(t, &y, StateStopped)
	check(false)
}

func TestHistoryKeepsTheStartAndTheLatest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var y System
		enter(t, &y, startStates...)
		started := time.Now()
		const reloads = 200
		for i := range reloads {
			time.Sleep(time.Minute)
			y.Enter(StateReloading, fmt.Sprint("reload ", i))
			y.Enter(StateOperational, "")
		}
		h := y.History()
		if len(h) != historyBound {
			t.Errorf("got %d transitions, want %d", len(h), historyBound)
		}
		for i, s := range startStates {
			if h[i].To != s || !h[i].At.Equal(started) {
				t.Errorf("transition %d: got %s at %s, want %s at the start", i, h[i].To, h[i].At, s)
			}
		}
		latest := h[len(h)-2]
		want := Transition{From: StateOperational, To: StateReloading, At: time.Now(), Cause: fmt.Sprint("reload ", reloads-1)}
		if !latest.At.Equal(want.At) || latest.Cause != want.Cause || latest.From != want.From || latest.To != want.To {
			t.Errorf("got %+v, want %+v", latest, want)
		}
		h[0].To = StateStopped
		if y.History()[0].To != StateCreated {
			t.Error("History gives its own transitions away")
		}
	})
}

// TestObserversHearInOrder has another transition come while an observer is being told of the first,
// and of the past.
func TestObserversHearInOrder(t *testing.T) {
	var y System
	enter(t, &y, startStates[0])
	var next sync.WaitGroup
	var heard []State
	var mu sync.Mutex
	y.Observe(func(tr Transition) {
		if tr.To < StateOperational {
			next.Go(func() { y.Enter(tr.To+1, "") })
			for range 10_000 >> tr.To {
				runtime.Gosched() // let it be told too early, if it can be
			}
		}
		y.State() // may be asked
		mu.Lock()
		heard = append(heard, tr.To)
		mu.Unlock()
	})
	next.Wait()
	if !slices.Equal(heard, startStates) {
		t.Errorf("got %v, want %v", heard, startStates)
	}
}
