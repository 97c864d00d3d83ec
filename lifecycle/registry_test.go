package lifecycle

import (
	"maps"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestRegistryHoldsTheLive(t *testing.T) {
	r := new(Registry)
	const count = 100
	open := make(map[string]*Connection)
	for range count {
		c := r.Open("", epoch)
		open[c.ID] = c
	}
	if len(open) != count {
		t.Fatalf("got %d different ids, want %d", len(open), count)
	}
	check := func() {
		t.Helper()
		all := make(map[string]*Connection)
		for c := range r.All() {
			all[c.ID] = c
		}
		if !maps.Equal(all, open) {
			t.Errorf("All yields %d connections, want the %d open", len(all), len(open))
		}
	}
	check()
	for id, c := range open {
		if r.Get(id) != c {
			t.Errorf("Get does not find %s", id)
		}
		c.Unused()
		if r.Get(id) != nil {
			t.Errorf("Get still finds %s", id)
		}
		delete(open, id)
		check()
	}
	if got := r.Get("nobody"); got != nil {
		t.Errorf("got %v, want nil", got)
	}
}

func TestAllCanBeLeft(t *testing.T) {
	r := new(Registry)
	for range 40 {
		r.Open("", epoch)
	}
	seen := 0
	for c := range r.All() {
		c.Unused() // the registry is not locked meanwhile
		if seen++; seen == 3 {
			break
		}
	}
	if left := len(slices.Collect(r.All())); left != 37 {
		t.Errorf("got %d left, want 37", left)
	}
}

func TestIDsCanBeMade(t *testing.T) {
	r := &Registry{NewID: func() string { return "one" }}
	if c := r.Open("", epoch); c.ID != "one" || r.Get("one") != c {
		t.Errorf("got %q", c.ID)
	}
}

func TestDeclaredKeysAreZeros(t *testing.T) {
	r := new(Registry)
	k := Key{Mode: ModeForward, Route: "chat", Upstream: "up"}
	r.Declare(k)
	got, there := r.Snapshot().Totals[k]
	if !there || got != (Total{}) {
		t.Errorf("got %+v, %t, want zeros", got, there)
	}
	c := at(r, PhaseRequest)
	c.Update(func(f *Facts) { f.Mode, f.Route, f.Upstream = k.Mode, k.Route, k.Upstream })
	c.Failed(&Failure{Phase: PhaseRoute}, 404)
	r.Declare(k)
	if got := r.Snapshot(); len(got.Totals) != 1 || got.Totals[k] != (Total{}) {
		t.Errorf("got %+v, want zeros still", got.Totals)
	}
}

// Connections of a route that a reload left as it was count as current, whatever their generation.
func TestSnapshotKnowsWhatAReloadChanged(t *testing.T) {
	r := new(Registry)
	r.SetGeneration(1, map[string]int{"same": 1, "changed": 1, "removed": 1})
	open := func(route string) {
		c := at(r, PhaseTransfer)
		c.Update(func(f *Facts) { f.Route = route })
		c.Begin(nobody, &Step{Phase: PhaseTransfer})
	}
	for _, route := range []string{"same", "changed", "removed"} {
		open(route)
	}
	r.SetGeneration(2, map[string]int{"same": 1, "changed": 2, "added": 2})
	for _, route := range []string{"same", "changed", "added"} {
		open(route)
	}
	for route, want := range map[string][2]int{"same": {2, 0}, "changed": {1, 1}, "removed": {0, 1}, "added": {1, 0}} {
		if got := r.Snapshot().Totals[Key{Route: route}]; got.Active != want[0] || got.Outdated != want[1] {
			t.Errorf("%s: got %d active and %d outdated, want %d and %d", route, got.Active, got.Outdated, want[0], want[1])
		}
	}
}

func TestSnapshot(t *testing.T) {
	r := new(Registry)
	r.SetGeneration(1, nil)
	chat := Key{Route: "chat", Upstream: "up"}
	open := func(p Phase, bytes uint64) *Connection {
		c := at(r, p)
		c.Update(func(f *Facts) { f.Route, f.Upstream = chat.Route, chat.Upstream })
		c.Begin(nobody, &Step{Phase: p})
		c.Flow(Upstream).Bytes.Add(bytes)
		c.Flow(Downstream).Bytes.Add(2 * bytes)
		return c
	}
	open(PhaseRequest, 0)
	old := open(PhaseTransfer, 1)
	r.SetGeneration(2, nil)
	current := open(PhaseTransfer, 10)
	closing := open(PhaseClose, 100)
	open(PhaseRoute, 0)
	failing := at(r, PhaseDNS) // and closing without ever having been open
	failing.Update(func(f *Facts) { f.Route, f.Upstream = chat.Route, chat.Upstream })
	failing.Begin(nobody, &Step{Phase: PhaseClose})

	check := func(active, outdated int, bytes uint64, phases map[Phase]int) {
		t.Helper()
		s := r.Snapshot()
		got := s.Totals[chat]
		if got.Active != active || got.Outdated != outdated || s.Open() != active+outdated {
			t.Errorf("got %d active, %d outdated, %d open, want %d and %d", got.Active, got.Outdated, s.Open(), active, outdated)
		}
		if up, down := got.Flows[Upstream].Bytes, got.Flows[Downstream].Bytes; up != bytes || down != 2*bytes {
			t.Errorf("got %d and %d bytes, want %d and twice that", up, down, bytes)
		}
		for _, p := range Phases() {
			if n, there := s.Phases[p]; !there || n != phases[p] {
				t.Errorf("%s: got %d, %t, want %d", p, n, there, phases[p])
			}
		}
	}
	check(2, 1, 111, map[Phase]int{PhaseRequest: 1, PhaseRoute: 1, PhaseTransfer: 2, PhaseClose: 2})
	current.Closed(Close{Cause: CauseClientClose})
	check(1, 1, 111, map[Phase]int{PhaseRequest: 1, PhaseRoute: 1, PhaseTransfer: 1, PhaseClose: 2})
	old.Closed(Close{Cause: CauseDrain})
	closing.Closed(Close{Cause: CauseDrain})
	failing.Failed(&Failure{Phase: PhaseDNS}, 502)
	check(0, 0, 111, map[Phase]int{PhaseRequest: 1, PhaseRoute: 1})
}

// TestTotalsNeverDip opens, feeds and closes connections, of each key one at a time, while others take
// snapshots: no sum may ever be smaller than before.
func TestTotalsNeverDip(t *testing.T) {
	r := new(Registry)
	var wg, readers sync.WaitGroup
	var stop atomic.Bool
	const workers, rounds, chunks = 4, 500, 50
	for range 2 {
		readers.Go(func() {
			before := make(map[Key]uint64)
			for !stop.Load() {
				for k, total := range r.Snapshot().Totals {
					if now := total.Flows[Upstream].Bytes; now < before[k] {
						t.Errorf("the total of %s went from %d to %d", k.Route, before[k], now)
						return
					}
					before[k] = total.Flows[Upstream].Bytes
				}
				for c := range r.All() {
					c.Facts()
				}
			}
		})
	}
	for w := range workers {
		wg.Go(func() {
			for range rounds {
				c := at(r, PhaseTransfer)
				c.Update(func(f *Facts) { f.Route = strconv.Itoa(w) })
				ctx, s := c.Begin(nobody, &Step{Phase: PhaseTransfer})
				for range chunks {
					c.Flow(Upstream).Bytes.Add(1)
					runtime.Gosched()
				}
				s.End(ctx, nil)
				c.Closed(Close{Cause: CauseClientClose})
			}
		})
	}
	wg.Wait()
	stop.Store(true)
	readers.Wait()
	s := r.Snapshot()
	for w := range workers {
		if got := s.Totals[Key{Route: strconv.Itoa(w)}]; got.Flows[Upstream].Bytes != rounds*chunks || got.Active != 0 {
			t.Errorf("route %d: got %d bytes, %d active, want %d and 0", w, got.Flows[Upstream].Bytes, got.Active, rounds*chunks)
		}
	}
}

func TestConnectionLeavesOnce(t *testing.T) {
	watcher := new(diary)
	r := &Registry{Observers: []Observer{watcher}}
	c := at(r, PhaseTransfer)
	c.Begin(nobody, &Step{Phase: PhaseTransfer})
	c.Flow(Upstream).Bytes.Add(7)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { c.Closed(Close{Cause: CauseClientClose}) })
		wg.Go(func() { c.Failed(&Failure{}, 0) })
	}
	wg.Wait()
	if len(watcher.done) != 1 {
		t.Errorf("the watcher was told %d times, want once", len(watcher.done))
	}
	if got := r.Snapshot().Totals[Key{}].Flows[Upstream].Bytes; got != 7 {
		t.Errorf("got %d bytes, want 7", got)
	}
}

func TestOutcomes(t *testing.T) {
	failed := func(p Phase, reason Reason, status int) func(*Connection) {
		return func(c *Connection) { c.Failed(&Failure{Phase: p, Reason: reason}, status) }
	}
	closed := Close{Cause: CauseUpstreamClose, Initiator: InitiatorUpstream, Leg: LegUpstream, Code: 1000, Clean: true}
	cases := map[string]struct {
		end    func(*Connection)
		kind   OutcomeKind
		status int
	}{
		"relayed":                  {func(c *Connection) { c.Closed(closed) }, OutcomeClosed, 101},
		"invalid request":          {failed(PhaseRequest, ReasonRequestInvalid, 400), OutcomeRejected, 400},
		"slow request":             {failed(PhaseRequest, ReasonRequestTimeout, 408), OutcomeRejected, 408},
		"no route":                 {failed(PhaseRoute, ReasonNoRoute, 404), OutcomeRejected, 404},
		"limit":                    {failed(PhaseRoute, ReasonConnectionLimit, 429), OutcomeRejected, 429},
		"draining":                 {failed(PhaseRoute, ReasonDraining, 503), OutcomeRejected, 503},
		"client left while asking": {failed(PhaseRequest, ReasonClientGone, 0), OutcomeFailed, 0},
		"our fault in routing":     {failed(PhaseRoute, ReasonInternal, 500), OutcomeFailed, 500},
		"TLS handshake":            {failed(PhaseTLSAccept, ReasonTLSProtocol, 0), OutcomeFailed, 0},
		"lookup":                   {failed(PhaseDNS, ReasonDNSNotFound, 502), OutcomeFailed, 502},
		"upgrade refused":          {failed(PhaseUpgrade, ReasonUpgradeRejected, 403), OutcomeFailed, 403},
		"not a byte":               {(*Connection).Unused, OutcomeUnused, 0},
		"plain HTTP":               {(*Connection).Dismiss, OutcomeDismissed, 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				watcher := new(diary)
				r := &Registry{Observers: []Observer{watcher}}
				c := at(r, PhaseTransfer)
				if tc.kind == OutcomeClosed {
					c.Begin(nobody, &Step{Phase: PhaseTransfer})
				}
				c.Flow(Downstream).Text.Add(3)
				time.Sleep(time.Hour)
				tc.end(c)
				if len(watcher.done) != 1 {
					t.Fatalf("told %d times, want once", len(watcher.done))
				}
				got := watcher.done[0]
				if got.Kind != tc.kind || got.Status != tc.status || !got.At.Equal(time.Now()) {
					t.Errorf("got %s, %d at %s, want %s, %d now", got.Kind, got.Status, got.At, tc.kind, tc.status)
				}
				if open := tc.kind == OutcomeClosed; open != (got.Down.Messages() == 3) || open != (got.Close == closed) || open != (c.Closing() == closed) {
					t.Errorf("got %+v", got)
				}
				if (got.Failure != nil) != (tc.kind == OutcomeFailed || tc.kind == OutcomeRejected) {
					t.Errorf("got failure %v of a connection that is %s", got.Failure, got.Kind)
				}
				if n := len(slices.Collect(r.All())); n != 0 {
					t.Errorf("got %d live, want 0", n)
				}
			})
		})
	}
}
