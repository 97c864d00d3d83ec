package upstream

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wsproxy/lifecycle"
)

var careful = Passive{Failures: 3, Eject: 10 * time.Second, Longest: time.Minute, Share: 0.5}

// at prefers a target by its name.
func at(name string) Request {
	return Request{Prefer: func(id string) bool { return strings.HasPrefix(id, name+" ") }}
}

// fails has three connections to a target fail at the same time.
func fails(t *testing.T, p *Pool, name string, why lifecycle.Reason) {
	t.Helper()
	var leases []*Lease
	for range 3 {
		leases = append(leases, must(t, p, at(name)))
	}
	for _, l := range leases {
		l.Failed(failedWith(why))
	}
}

// A target that has just died has the fewest connections of all, and must not get all new ones for it. A
// connection that was refused goes on to another target whatever the budget. One that a dying target accepted and
// left was sent: it is not, but the next ones know.
func TestDeadTargetAttractsNobody(t *testing.T) {
	for _, c := range []struct {
		name    string
		failure *lifecycle.Failure
		again   bool // at another target, without budget
	}{
		{"refused", failedWith(lifecycle.ReasonConnectionRefused), true},
		{"left in the handshake", &lifecycle.Failure{Phase: lifecycle.PhaseUpgrade, Reason: lifecycle.ReasonUpstreamGone}, false},
	} {
		t.Run(c.name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { playDeadTarget(t, c.failure, c.again) }) })
	}
}

func playDeadTarget(t *testing.T, why *lifecycle.Failure, again bool) {
	p := NewPool(Settings{Targets: named("a", "b", "c")})
	for range 30 {
		must(t, p, Request{}).Opened()
	}
	for _, target := range []string{"b", "c"} { // all have as many, and now a has none
		for range 10 {
			must(t, p, at(target)).Opened()
		}
	}
	first := must(t, p, Request{})
	if first.At.Target != "a" {
		t.Fatalf("got %s, want a", first.At.Target)
	}
	first.Failed(why)
	for range 50 {
		if got := must(t, p, Request{}).At.Target; got == "a" {
			t.Error("got the target that was not there a moment ago")
		}
		if !again {
			continue
		}
		if _, ok := p.Pick(Request{Tried: []string{first.ID}, Failed: why}); !ok {
			t.Error("got no target for a connection that was refused")
		}
	}
	if got := p.Status().Retries; got != 0 {
		t.Errorf("got %d retries that need budget, want none", got)
	}
	time.Sleep(avoidance)
	if got := must(t, p, Request{}).At.Target; got != "a" {
		t.Errorf("a second later: got %s, want a", got)
	}
	alone := NewPool(Settings{Targets: named("a")})
	must(t, alone, Request{}).Failed(why)
	must(t, alone, Request{})
}

// TestWhatCounts plays connections to one of two targets: three failures in a row eject it.
func TestWhatCounts(t *testing.T) {
	fail := func(p lifecycle.Phase, r lifecycle.Reason, status int) func(*Lease) {
		return func(l *Lease) { l.Failed(&lifecycle.Failure{Phase: p, Reason: r, Status: status}) }
	}
	closed := func(c lifecycle.Cause, spoke bool) func(*Lease) {
		return func(l *Lease) {
			l.Opened()
			l.Closed(lifecycle.Close{Cause: c}, spoke)
		}
	}
	refused := fail(lifecycle.PhaseConnect, lifecycle.ReasonConnectionRefused, 0)
	reset := closed(lifecycle.CauseUpstreamReset, false)
	fine := closed(lifecycle.CauseClientClose, true)
	cases := map[string]struct {
		play    []func(*Lease)
		egress  bool
		ejected bool
	}{
		"refused":                         {play: []func(*Lease){refused, refused, refused}, ejected: true},
		"refused twice":                   {play: []func(*Lease){refused, refused}},
		"refused, with one good between":  {play: []func(*Lease){refused, refused, fine, refused}},
		"opens count against a run":       {play: []func(*Lease){refused, refused, func(l *Lease) { l.Opened() }, refused}},
		"reset before the first message":  {play: []func(*Lease){reset, reset, reset}, ejected: true},
		"reset after a message":           {play: []func(*Lease){reset, reset, closed(lifecycle.CauseUpstreamReset, true), reset}},
		"a clean close, again and again":  {play: []func(*Lease){closed(lifecycle.CauseUpstreamClose, false), closed(lifecycle.CauseUpstreamClose, false), closed(lifecycle.CauseUpstreamClose, false), closed(lifecycle.CauseUpstreamClose, false)}},
		"FIN without a Close":             {play: []func(*Lease){closed(lifecycle.CauseUpstreamGone, false), closed(lifecycle.CauseUpstreamGone, false), closed(lifecycle.CauseUpstreamGone, false)}},
		"clients that leave":              {play: []func(*Lease){closed(lifecycle.CauseClientReset, false), closed(lifecycle.CauseClientGone, false), closed(lifecycle.CauseClientReset, false)}},
		"clients that give up":            {play: []func(*Lease){fail(lifecycle.PhaseUpgrade, lifecycle.ReasonClientGone, 0), fail(lifecycle.PhaseConnect, lifecycle.ReasonClientGone, 0), fail(lifecycle.PhaseDNS, lifecycle.ReasonClientGone, 0)}},
		"answers of the application":      {play: []func(*Lease){fail(lifecycle.PhaseUpgrade, lifecycle.ReasonUpgradeRejected, 401), fail(lifecycle.PhaseUpgrade, lifecycle.ReasonUpgradeRejected, 404), fail(lifecycle.PhaseUpgrade, lifecycle.ReasonUpgradeRejected, 429)}},
		"a 401 is a sign of life":         {play: []func(*Lease){refused, refused, fail(lifecycle.PhaseUpgrade, lifecycle.ReasonUpgradeRejected, 401), refused}},
		"503":                             {play: []func(*Lease){fail(lifecycle.PhaseUpgrade, lifecycle.ReasonUpgradeRejected, 503), fail(lifecycle.PhaseUpgrade, lifecycle.ReasonUpgradeRejected, 503), fail(lifecycle.PhaseUpgrade, lifecycle.ReasonUpgradeRejected, 500)}, ejected: true},
		"hangs":                           {play: []func(*Lease){fail(lifecycle.PhaseUpgrade, lifecycle.ReasonUpgradeTimeout, 0), refused, fail(lifecycle.PhaseTLS, lifecycle.ReasonTLSTimeout, 0)}, ejected: true},
		"dials and resets are two things": {play: []func(*Lease){refused, refused, reset, reset}},
		"the egress is refused":           {play: []func(*Lease){refused, refused, refused}, egress: true},
		"the egress refuses":              {play: []func(*Lease){fail(lifecycle.PhaseProxy, lifecycle.ReasonProxyRefused, 403), fail(lifecycle.PhaseProxy, lifecycle.ReasonProxyAuthRequired, 407), fail(lifecycle.PhaseProxy, lifecycle.ReasonProxyTimeout, 0)}, egress: true},
		"the egress can't reach it":       {play: []func(*Lease){fail(lifecycle.PhaseProxy, lifecycle.ReasonProxyRefused, 502), fail(lifecycle.PhaseProxy, lifecycle.ReasonSOCKSConnectionRefused, 0), fail(lifecycle.PhaseProxy, lifecycle.ReasonProxyRefused, 504)}, egress: true, ejected: true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			targets := named("a", "b")
			targets[0].Egress, targets[1].Egress = c.egress, c.egress
			p := NewPool(Settings{Targets: targets, Passive: careful})
			var leases []*Lease // all at once, or the others would be picked after the first failure
			for range c.play {
				leases = append(leases, must(t, p, at("a")))
			}
			for i, play := range c.play {
				play(leases[i])
			}
			if got := states(p) == "10.0.0.1=ejected 10.0.0.2=healthy"; got != c.ejected {
				t.Errorf("got %s, want ejected: %v", states(p), c.ejected)
			}
		})
	}
}

func TestEjectionGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		p := NewPool(Settings{Targets: named("a", "b"), Passive: careful, Changed: j.changed})
		run(t, p)
		for n, want := range []time.Duration{10, 20, 40, 60, 60} {
			fails(t, p, "a", lifecycle.ReasonConnectTimeout)
			if got, want := j.told(), "10.0.0.1:80 healthy>ejected connect_timeout"; got != want {
				t.Fatalf("ejection %d: told %q, want %q", n, got, want)
			}
			if got := must(t, p, at("a")).At.Target; got != "b" {
				t.Errorf("ejection %d: got %s, want b", n, got)
			}
			time.Sleep(want*time.Second - 1)
			synctest.Wait()
			if got := j.told(); got != "" {
				t.Errorf("ejection %d: told %q before its time", n, got)
			}
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			if got, want := j.told(), "10.0.0.1:80 ejected>healthy"; got != want {
				t.Errorf("ejection %d: told %q, want %q", n, got, want)
			}
		}
		time.Sleep(time.Minute + time.Second) // well for long: it is trusted again
		fails(t, p, "a", lifecycle.ReasonConnectTimeout)
		if got, want := p.Status().Targets[0].Addresses[0].EjectedUntil, time.Now().Add(10*time.Second); !got.Equal(want) {
			t.Errorf("ejected until %s, want %s", got, want)
		}
	})
}

// Failures that lie far apart are no run.
func TestOldFailuresDoNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPool(Settings{Targets: named("a", "b"), Passive: careful})
		for range 10 {
			must(t, p, at("a")).Failed(failedWith(lifecycle.ReasonConnectionRefused))
			time.Sleep(runGap + time.Second)
		}
		if got, want := states(p), "10.0.0.1=healthy 10.0.0.2=healthy"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

// However much fails, no more than the share is out.
func TestShareThatMayBeOut(t *testing.T) {
	for share, want := range map[float64]int{0: 0, 0.2: 1, 0.5: 2, 0.6: 3, 1: 5} {
		passive := careful
		passive.Share = share
		names := []string{"a", "b", "c", "d", "e"}
		p := NewPool(Settings{Targets: named(names...), Passive: passive})
		for _, name := range names {
			fails(t, p, name, lifecycle.ReasonConnectionRefused)
		}
		if got := strings.Count(states(p), "ejected"); got != want {
			t.Errorf("share %.1f: got %d of 5 ejected, want %d", share, got, want)
		}
		must(t, p, Request{}) // even if all are: they may work
	}
	p := NewPool(Settings{Targets: named("a"), Passive: careful})
	for range 100 {
		must(t, p, Request{}).Failed(failedWith(lifecycle.ReasonConnectionRefused))
	}
	if got := states(p); got != "10.0.0.1=healthy" {
		t.Errorf("the only target: got %s, want it left alone", got)
	}
}

// Retries are a part of the handshakes under way at most, however many connections want one.
func TestRetryBudget(t *testing.T) {
	p := NewPool(Settings{Targets: named("a", "b"), RetryBudget: 0.2})
	var first []*Lease
	for range 100 {
		first = append(first, must(t, p, Request{}))
	}
	var retries []*Lease
	for _, l := range first {
		if r, ok := p.Pick(Request{Tried: []string{l.ID}}); ok {
			retries = append(retries, r)
		}
	}
	s := p.Status()
	if len(retries) < 20 || len(retries) > 25 || s.Retries != len(retries) || s.RetriesRefused != uint64(100-len(retries)) {
		t.Errorf("got %d retries (%+v), want a fifth of those under way", len(retries), s)
	}
	retries[0].Opened() // it is no retry under way any more
	if _, ok := p.Pick(Request{Tried: []string{first[0].ID}}); !ok {
		t.Error("got no retry when one had succeeded, want one")
	}
	for _, l := range append(first, retries...) {
		l.Failed(nil)
	}
	quiet := NewPool(Settings{Targets: named("a", "b")})
	for n := range 4 {
		_, ok := quiet.Pick(Request{Tried: []string{"a 10.0.0.1:80"}})
		if want := n < leastRetries; ok != want {
			t.Errorf("retry %d of a quiet proxy: got %v, want %v", n, ok, want)
		}
	}
}

// What is known of the targets that both have, and their connections, goes over to the next pool.
func TestNextPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := NewPool(Settings{Targets: named("a", "b", "c"), Passive: careful})
		var open []*Lease
		for range 9 {
			open = append(open, must(t, old, Request{}))
		}
		fails(t, old, "b", lifecycle.ReasonConnectionRefused)
		targets := named("a", "b", "x", "d")
		targets[0].Weight = 2
		next := NewPool(Settings{Targets: append(targets[:2:2], targets[3]), Passive: careful})
		if got, want := states(old), "10.0.0.1=healthy 10.0.0.2=ejected 10.0.0.3=healthy"; got != want {
			t.Errorf("a pool that has not taken over changed the other: got %s, want %s", got, want)
		}
		next.TakeOver(old)
		if got, want := states(next), "10.0.0.1=healthy 10.0.0.2=ejected 10.0.0.4=healthy"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if got := openOf(next); got["a"] != 3 || got["b"] != 3 || got["d"] != 0 {
			t.Errorf("got %v open, want 3 for a and b", got)
		}
		if got := must(t, next, Request{}).At.Target; got != "d" {
			t.Errorf("got %s, want d, which has none yet", got)
		}
		for _, l := range open {
			l.Opened()
			l.Closed(lifecycle.Close{}, true)
		}
		if got := openOf(next); got["a"] != 0 || got["b"] != 0 || got["d"] != 1 {
			t.Errorf("got %v open when the old connections had left, want the one to d", got)
		}
		if n := len(next.book.endpoints); n != 3 {
			t.Errorf("got %d endpoints remembered, want 3: nobody has anything to do with c", n)
		}
		if got := next.Status().Targets[0].Addresses[0].Weight; got != 2 {
			t.Errorf("got weight %v, want the new one, 2", got)
		}
	})
}
