package lifecycle

import (
	"errors"
	"sync"
	"testing"
)

func TestNilConnectionRecordsNothing(t *testing.T) {
	c := FromContext(nobody)
	if c != nil {
		t.Fatalf("got %v, want no connection", c)
	}
	ctx, s := c.Begin(nobody, &Step{Phase: PhaseConnect}) // in no order at all
	if ctx != nobody || s.Begun.IsZero() {
		t.Errorf("got %v begun at %s, want the same ctx and a time", ctx, s.Begun)
	}
	if err := s.End(ctx, Fail(ReasonConnectTimeout, nil)); err == nil || s.Reason() != ReasonConnectTimeout || s.Failure.Phase != PhaseConnect {
		t.Errorf("got %v, want a failed connect", err)
	}
	c.NextAttempt()
	c.Update(func(*Facts) { t.Error("Update called back") })
	c.Closed(Close{})
	c.Failed(&Failure{}, 502)
	c.Unused()
	c.Dismiss()
	if got := c.TraceID(); got != "" {
		t.Errorf("got %q, want no trace", got)
	}
}

func TestConnectionTravelsInContext(t *testing.T) {
	c := new(Registry).Open("", epoch)
	if got := FromContext(NewContext(nobody, c)); got != c {
		t.Errorf("got %v, want %v", got, c)
	}
}

func TestFacts(t *testing.T) {
	r := new(Registry)
	r.SetGeneration(3, nil)
	c := r.Open("203.0.113.7:51000", epoch)
	c.Update(func(f *Facts) { f.Route = "chat" })
	c.SetTrace("4bf9", "")
	if got, want := c.Facts(), (Facts{Client: "203.0.113.7:51000", Generation: 3, Route: "chat"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := c.TraceID(); got != "4bf9" {
		t.Errorf("got %q, want 4bf9", got)
	}
	if got, want := c.Closing(), (Close{Code: NoCode}); got != want {
		t.Errorf("closing: got %+v, want %+v", got, want)
	}
}

func TestAttemptsAreCounted(t *testing.T) {
	c := at(new(Registry), PhaseDNS)
	for want := 1; want <= 300; want++ {
		ctx, s := c.Begin(nobody, &Step{Phase: PhaseConnect})
		s.End(ctx, errors.New("refused"))
		if s.Attempt != want {
			t.Fatalf("got attempt %d, want %d", s.Attempt, want)
		}
		c.NextAttempt()
	}
	marks := c.Timeline()
	if got := marks[len(marks)-1].Attempt; got != 255 {
		t.Errorf("got %d in the mark, want it to stay at 255", got)
	}
	_, s := c.Begin(nobody, &Step{Phase: PhaseClose})
	if s.Attempt != 0 {
		t.Errorf("close: got attempt %d, want none", s.Attempt)
	}
}

func TestStop(t *testing.T) {
	drain, admin := StopRequest{Cause: CauseDrain}, StopRequest{Cause: CauseAdmin, Code: 1008}
	cases := map[string]struct {
		before, after []StopRequest // OnStop
		want          []StopRequest
	}{
		"never":              {nil, nil, nil},
		"while relaying":     {nil, []StopRequest{drain}, []StopRequest{drain}},
		"before it is open":  {[]StopRequest{drain}, nil, []StopRequest{drain}},
		"twice before":       {[]StopRequest{drain, admin}, nil, []StopRequest{admin}},
		"before and after":   {[]StopRequest{drain}, []StopRequest{admin}, []StopRequest{drain, admin}},
		"twice while it may": {nil, []StopRequest{drain, admin}, []StopRequest{drain, admin}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c := new(Registry).Open("", epoch)
			for _, r := range tc.before {
				c.Stop(r)
			}
			var got []StopRequest
			c.OnStop(func(r StopRequest) {
				got = append(got, r)
				c.Closing() // no lock is held
			})
			for _, r := range tc.after {
				c.Stop(r)
			}
			c.OnStop(func(r StopRequest) { t.Errorf("%v was told again", r) })
			if len(got) != len(tc.want) {
				t.Fatalf("got %v, want %v", got, tc.want)
			}
			for i := range got {
				if got[i] != tc.want[i] {
					t.Errorf("got %v, want %v", got, tc.want)
				}
			}
		})
	}
}

// TestStopIsNeverLost lets Stop race with OnStop.
func TestStopIsNeverLost(t *testing.T) {
	for range 200 {
		c := new(Registry).Open("", epoch)
		stopped := make(chan StopRequest, 2)
		var wg sync.WaitGroup
		wg.Go(func() { c.Stop(StopRequest{Cause: CauseDrain}) })
		wg.Go(func() { c.OnStop(func(r StopRequest) { stopped <- r }) })
		wg.Wait()
		if len(stopped) != 1 {
			t.Fatalf("told %d times, want once", len(stopped))
		}
	}
}

func TestAbnormal(t *testing.T) {
	wished := map[Cause]bool{CauseDrain: true, CauseForcedStop: true, CauseReload: true, CauseAdmin: true, CauseTunnelEnd: true}
	for _, cause := range Causes() {
		for _, clean := range []bool{true, false} {
			if got, want := (Close{Cause: cause, Clean: clean}).Abnormal(), !clean && !wished[cause]; got != want {
				t.Errorf("%s, clean %t: got %t, want %t", cause, clean, got, want)
			}
		}
	}
}
