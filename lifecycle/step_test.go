package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

var (
	epoch  = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	nobody = context.Background()
)

// diary is an Observer and Watcher that writes down what it is told.
type diary struct {
	name  string
	lines []string
	steps []*Step
	ended []*Step
	done  []Outcome
}

type diaryKey struct{}

func (d *diary) Watch(*Connection) Watcher { return d }

func (d *diary) Begin(ctx context.Context, s *Step) context.Context {
	before, _ := ctx.Value(diaryKey{}).(string)
	d.lines = append(d.lines, fmt.Sprintf("%s begin %s in %q", d.name, s.Phase, before))
	d.steps = append(d.steps, s)
	return context.WithValue(ctx, diaryKey{}, before+d.name)
}

func (d *diary) End(ctx context.Context, s *Step) {
	in, _ := ctx.Value(diaryKey{}).(string)
	d.lines = append(d.lines, fmt.Sprintf("%s end %s in %q: %s", d.name, s.Phase, in, s.Reason()))
	d.ended = append(d.ended, s)
}

func (d *diary) Done(o Outcome) { d.done = append(d.done, o) }

// at opens a connection and takes it through the phases before p.
func at(r *Registry, p Phase) *Connection {
	c := r.Open("203.0.113.7:51000", time.Now())
	for _, before := range []Phase{PhaseRequest, PhaseRoute, PhaseConnect, PhaseUpgrade, PhaseTransfer, PhaseClose} {
		if before >= p {
			break
		}
		ctx, s := c.Begin(nobody, &Step{Phase: before})
		s.End(ctx, nil)
	}
	return c
}

func mustPanic(t *testing.T, what string, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s: no panic", what)
		}
	}()
	f()
}

func TestStepEndsOnce(t *testing.T) {
	for name, c := range map[string]*Connection{"connection": at(new(Registry), PhaseRequest), "nil connection": nil} {
		ctx, s := c.Begin(nobody, &Step{Phase: PhaseRequest})
		if err := s.End(ctx, nil); err != nil {
			t.Errorf("%s: got %v, want nil", name, err)
		}
		mustPanic(t, name, func() { s.End(ctx, nil) })
		mustPanic(t, name, func() { s.EndAt(ctx, time.Now(), errors.New("late")) })
		if s.Failure != nil {
			t.Errorf("%s: the second end left a failure", name)
		}
	}
}

func TestPhasesDoNotOverlap(t *testing.T) {
	c := at(new(Registry), PhaseRoute)
	ctx, route := c.Begin(nobody, &Step{Phase: PhaseRoute})
	mustPanic(t, "dns during route", func() { c.Begin(ctx, &Step{Phase: PhaseDNS}) })
	route.End(ctx, nil)
	if _, s := c.Begin(nobody, &Step{Phase: PhaseDNS}); s.Phase != PhaseDNS {
		t.Errorf("got %s, want dns after the end of route", s.Phase)
	}
}

func TestObserversAreToldInOrder(t *testing.T) {
	one, two := &diary{name: "1"}, &diary{name: "2"}
	r := &Registry{Observers: []Observer{one, two}}
	c := r.Open("", time.Now())
	ctx, s := c.Begin(nobody, &Step{Phase: PhaseRequest})
	s.End(ctx, Fail(ReasonRequestInvalid, nil))
	lines := slices.Concat(one.lines, two.lines)
	want := []string{`1 begin request in ""`, `1 end request in "12": request_invalid`,
		`2 begin request in "1"`, `2 end request in "12": request_invalid`}
	if !slices.Equal(lines, want) {
		t.Errorf("got %q, want %q", lines, want)
	}
	if one.steps[0] != s || two.ended[0] != s {
		t.Error("the observers were told of another step")
	}
}

func TestTimeline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := new(Registry).Open("", time.Now())
		accepted := time.Now()
		step := func(p Phase, pause time.Duration, err error) {
			ctx, s := c.Begin(nobody, &Step{Phase: p})
			time.Sleep(pause)
			s.End(ctx, err)
		}
		step(PhaseRequest, time.Millisecond, nil)
		time.Sleep(time.Microsecond)
		step(PhaseRoute, 0, nil)
		step(PhaseDNS, 2*time.Millisecond, nil)
		step(PhaseConnect, 3*time.Millisecond, Fail(ReasonConnectionRefused, nil))
		c.NextAttempt()
		begun := time.Now()
		time.Sleep(10 * time.Millisecond)
		// Noted before: reported when the dial has returned.
		ctx, s := c.Begin(nobody, &Step{Phase: PhaseConnect, Begun: begun})
		s.EndAt(ctx, begun.Add(4*time.Millisecond), nil)
		if got := s.Duration(); got != 4*time.Millisecond {
			t.Errorf("noted step took %s, want 4ms", got)
		}
		_, running := c.Begin(nobody, &Step{Phase: PhaseUpgrade, Begun: begun.Add(4 * time.Millisecond)})
		if got := running.Duration(); got != 6*time.Millisecond {
			t.Errorf("running step has taken %s, want 6ms", got)
		}
		const ms, us = time.Millisecond, time.Microsecond
		want := []Mark{
			{PhaseRequest, 0, ReasonNone, 0, ms},
			{PhaseRoute, 0, ReasonNone, ms + us, 0},
			{PhaseDNS, 1, ReasonNone, ms + us, 2 * ms},
			{PhaseConnect, 1, ReasonConnectionRefused, 3*ms + us, 3 * ms},
			{PhaseConnect, 2, ReasonNone, 6*ms + us, 4 * ms},
			{PhaseUpgrade, 2, ReasonNone, 10*ms + us, -1},
		}
		if got := c.Timeline(); !slices.Equal(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
		if c.Accepted != accepted || c.Phase() != PhaseUpgrade {
			t.Errorf("got %s in %s, want %s in upgrade", c.Accepted, c.Phase(), accepted)
		}
		c.Timeline()[0].Phase = PhaseClose
		if c.Timeline()[0].Phase != PhaseRequest {
			t.Error("Timeline gives its own marks away")
		}
	})
}

func TestNotedEndBeforeBeginIsNoRunningStep(t *testing.T) {
	c := at(new(Registry), PhaseRequest)
	ctx, s := c.Begin(nobody, &Step{Phase: PhaseRequest, Begun: epoch})
	s.EndAt(ctx, epoch.Add(-time.Second), nil)
	if got := c.Timeline()[0].Duration; got != 0 {
		t.Errorf("got %s, want 0", got)
	}
}

func TestFault(t *testing.T) {
	was, put := errors.New("was"), Fail(ReasonUpstreamGone, errors.New("put in"))
	cases := map[string]struct {
		fault  func(err error) error
		err    error
		reason Reason
		wraps  error
	}{
		"lets pass":             {func(err error) error { return err }, nil, ReasonNone, nil},
		"lets a failure pass":   {func(err error) error { return err }, Fail(ReasonUpgradeTimeout, was), ReasonUpgradeTimeout, was},
		"makes success fail":    {func(error) error { return put }, nil, ReasonUpstreamGone, put.Err},
		"replaces a failure":    {func(error) error { return put }, Fail(ReasonUpgradeTimeout, was), ReasonUpstreamGone, put.Err},
		"makes failure succeed": {func(error) error { return nil }, Fail(ReasonUpgradeTimeout, was), ReasonNone, nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				watcher := new(diary)
				r := &Registry{Observers: []Observer{watcher}, Fault: func(ctx context.Context, s *Step, err error) error {
					if s.Phase != PhaseUpgrade {
						return err
					}
					if ctx.Value(diaryKey{}) == nil || !s.Ended.IsZero() {
						t.Errorf("fault of %s: a ctx without what Begin put in, or a step that has ended", s.Phase)
					}
					time.Sleep(500 * time.Millisecond)
					return tc.fault(err)
				}}
				c := at(r, PhaseUpgrade)
				ctx, s := c.Begin(nobody, &Step{Phase: PhaseUpgrade})
				err := s.End(ctx, tc.err)
				if s.Reason() != tc.reason || s.Duration() != 500*time.Millisecond {
					t.Errorf("got %q after %s, want %q after 500ms", s.Reason(), s.Duration(), tc.reason)
				}
				checkFailure(t, err, s, tc.wraps)
				if last := watcher.ended[len(watcher.ended)-1]; last != s {
					t.Errorf("the watcher heard of %v last, want %v", last, s)
				}
			})
		})
	}
}

func checkFailure(t *testing.T, err error, s *Step, wraps error) {
	t.Helper()
	if s.Reason() == ReasonNone {
		if err != nil { // and no typed nil
			t.Errorf("got %#v, want nil", err)
		}
		return
	}
	f, ok := errors.AsType[*Failure](err)
	if !ok || f != s.Failure || f.Phase != s.Phase || !errors.Is(err, wraps) {
		t.Errorf("got %#v, want the step's failure around %v", err, wraps)
	}
	if !strings.HasPrefix(err.Error(), s.Reason().String()+": ") {
		t.Errorf("got %q, want the reason first", err)
	}
}

func TestTryThatLostIsNoFailure(t *testing.T) {
	cases := map[string]struct {
		try  Try
		want Reason
	}{
		"won":    {Try{Won: true}, ReasonNone},
		"lost":   {Try{}, ReasonNone},
		"failed": {Try{Err: syscall.ECONNREFUSED}, ReasonConnectionRefused},
	}
	for name, tc := range cases {
		if got := tc.try.Reason(); got != tc.want {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
	}
}
