package upstream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wsproxy/lifecycle"
)

// ward is what checks find: which addresses are ill.
type ward struct {
	mu     sync.Mutex
	ill    map[string]error
	checks map[string][]time.Time
	hang   bool
}

func (w *ward) check(ctx context.Context, at Location) (time.Duration, error) {
	w.mu.Lock()
	if w.checks == nil {
		w.checks = make(map[string][]time.Time)
	}
	w.checks[at.Address] = append(w.checks[at.Address], time.Now())
	err, hang := w.ill[at.Address], w.hang
	w.mu.Unlock()
	if hang {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	return 3 * time.Millisecond, err
}

func (w *ward) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

func (w *ward) health() *Health {
	return &Health{Interval: 10 * time.Second, Timeout: 2 * time.Second, Rise: 2, Fall: 3, Check: w.check}
}

var errIll = lifecycle.Failf(lifecycle.ReasonUpgradeRejected, "answered 503")

func TestRiseAndFall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		w := &ward{ill: map[string]error{"10.0.0.2:80": errIll}}
		p := NewPool(Settings{Targets: named("a", "b"), Health: w.health(), Changed: j.changed})
		if got, want := states(p), "10.0.0.1=unknown 10.0.0.2=unknown"; got != want {
			t.Errorf("before any check: got %s, want %s", got, want)
		}
		run(t, p)
		<-p.Checked()
		if got, want := states(p), "10.0.0.1=healthy 10.0.0.2=unhealthy"; got != want {
			t.Errorf("the first check decides: got %s, want %s", got, want)
		}
		j.told()
		for range 10 {
			if got := must(t, p, Request{}).At.Target; got != "a" {
				t.Errorf("got %s, want a", got)
			}
		}
		after := func(checks int) string {
			time.Sleep(time.Duration(checks) * 11 * time.Second)
			synctest.Wait()
			return j.told()
		}
		w.set(func() { w.ill = map[string]error{"10.0.0.1:80": errIll} })
		begun := time.Now()
		for j.told() == "" {
			time.Sleep(time.Second / 2)
			synctest.Wait()
		}
		if took := time.Since(begun); took < 9*time.Second || took > 23*time.Second {
			t.Errorf("b was healthy after %s, want it after two checks", took)
		}
		if got, want := after(2), "10.0.0.1:80 healthy>unhealthy upgrade_rejected"; got != want {
			t.Errorf("told %q, want %q", got, want)
		}
		w.set(func() { w.ill = map[string]error{"10.0.0.1:80": errIll, "10.0.0.2:80": errors.New("no")} })
		if got, want := after(4), "10.0.0.2:80 healthy>unhealthy bad_upgrade_response"; got != want {
			t.Errorf("told %q, want %q", got, want)
		}
		if _, ok := p.Pick(Request{}); ok {
			t.Error("got a target, want none: all are unhealthy")
		}
	})
}

func TestChecksKeepTheirInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &ward{}
		p := NewPool(Settings{Targets: named("a", "b", "c"), Health: w.health()})
		run(t, p)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		different := map[time.Duration]bool{}
		for address, at := range w.checks {
			if len(at) < 55 || len(at) > 67 {
				t.Errorf("%s: got %d checks in 10 minutes, want about 60", address, len(at))
			}
			for i := 1; i < len(at); i++ {
				gap := at[i].Sub(at[i-1])
				different[gap] = true
				if gap < 9*time.Second || gap > 11*time.Second {
					t.Errorf("%s: got %s between two checks, want 9 to 11 s", address, gap)
				}
			}
		}
		if len(different) < 50 {
			t.Errorf("got %d different gaps, want jitter", len(different))
		}
		if got := p.Status().Targets[0].Addresses[0]; got.RTT != 3*time.Millisecond || got.Checked.IsZero() || got.Failure != nil {
			t.Errorf("got %+v, want the latest check", got)
		}
	})
}

// A check that hangs ends at its time-out, with that as the reason; Checked waits for it and no longer.
func TestHangingCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &ward{hang: true}
		p := NewPool(Settings{Targets: named("a"), Health: w.health()})
		run(t, p)
		begun := time.Now()
		<-p.Checked()
		if got := time.Since(begun); got != 2*time.Second {
			t.Errorf("checked after %s, want 2s", got)
		}
		a := p.Status().Targets[0].Addresses[0]
		if a.State != lifecycle.TargetUnhealthy || a.Failure == nil || a.Failure.Reason != lifecycle.ReasonUpgradeTimeout {
			t.Errorf("got %s, %v, want unhealthy for upgrade_timeout", a.State, a.Failure)
		}
	})
}

// Addresses that a lookup finds are checked, those that it loses are not any more.
func TestChecksFollowLookups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &ward{ill: map[string]error{"10.0.0.3:80": errIll}}
		d := &directory{names: map[string][]string{"chat.test": {"10.0.0.1", "10.0.0.2"}}}
		p := NewPool(Settings{Targets: []Target{{Name: "chat", Address: "chat.test:80"}}, Resolver: d, ResolveInterval: 10 * time.Second, Health: w.health()})
		run(t, p)
		d.set(func() { d.names["chat.test"] = []string{"10.0.0.2", "10.0.0.3"} })
		time.Sleep(12 * time.Second)
		synctest.Wait()
		if got, want := states(p), "10.0.0.2=healthy 10.0.0.3=unhealthy"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if got := p.Status().Targets[0].State; got != lifecycle.TargetDegraded {
			t.Errorf("the target: got %s, want degraded", got)
		}
		w.set(func() { clear(w.checks) })
		time.Sleep(time.Minute)
		w.set(func() {
			if n := len(w.checks["10.0.0.1:80"]); n != 0 || len(w.checks["10.0.0.3:80"]) < 5 {
				t.Errorf("got %d checks of the address that is gone, and %d of the new one", n, len(w.checks["10.0.0.3:80"]))
			}
		})
	})
}

// However many targets an upstream has, a bounded number of checks is under way.
func TestChecksAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &ward{hang: true}
		var names []string
		for n := range 100 {
			names = append(names, fmt.Sprint(n))
		}
		p := NewPool(Settings{Targets: named(names...), Health: w.health()})
		run(t, p)
		w.set(func() {
			if len(w.checks) != checksAtOnce {
				t.Errorf("got %d checks under way, want %d", len(w.checks), checksAtOnce)
			}
		})
		<-p.Checked()
		w.set(func() {
			if len(w.checks) != 100 {
				t.Errorf("got %d targets checked, want 100", len(w.checks))
			}
		})
	})
}

// A target that checks find to be back is not left out for what connections told before.
func TestRiseEndsEjection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &ward{}
		p := NewPool(Settings{Targets: named("a", "b"), Health: w.health(), Passive: Passive{Failures: 3, Eject: time.Hour, Longest: time.Hour, Share: 0.5}})
		run(t, p)
		w.set(func() { w.ill = map[string]error{"10.0.0.1:80": errIll} })
		fails(t, p, "a", lifecycle.ReasonConnectionRefused)
		if got, want := states(p), "10.0.0.1=ejected 10.0.0.2=healthy"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		time.Sleep(time.Minute)
		if got, want := states(p), "10.0.0.1=unhealthy 10.0.0.2=healthy"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		w.set(func() { w.ill = nil })
		time.Sleep(time.Minute)
		if got, want := states(p), "10.0.0.1=healthy 10.0.0.2=healthy"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

func TestSlowStartAfterUnhealthy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		w := &ward{ill: map[string]error{"10.0.0.1:80": errIll}}
		p := NewPool(Settings{Targets: named("a", "b"), Health: w.health(), SlowStart: 20 * time.Second, Changed: j.changed})
		run(t, p)
		j.told()
		w.set(func() { w.ill = nil })
		time.Sleep(time.Minute)
		synctest.Wait()
		if got, want := j.told(), "10.0.0.1:80 unhealthy>slow_start, 10.0.0.1:80 slow_start>healthy"; got != want {
			t.Errorf("told %q, want %q", got, want)
		}
	})
}
