package demo

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"wsproxy/lifecycle"
)

// pass runs a connection that is refused in its route phase through the registry.
func pass(registry *lifecycle.Registry, client string) *lifecycle.Connection {
	c := registry.Open(client, time.Now())
	ctx, request := c.Begin(context.Background(), &lifecycle.Step{Phase: lifecycle.PhaseRequest})
	request.End(ctx, nil)
	ctx, route := c.Begin(context.Background(), &lifecycle.Step{Phase: lifecycle.PhaseRoute})
	failure, _ := errors.AsType[*lifecycle.Failure](route.End(ctx, lifecycle.Fail(lifecycle.ReasonNoRoute, nil)))
	c.SetTrace("trace of "+client, "")
	c.Update(func(f *lifecycle.Facts) { f.Path = "/of/" + client })
	c.Failed(failure, 404)
	return c
}

func TestRecorderTellsAStory(t *testing.T) {
	var r Recorder
	c := pass(&lifecycle.Registry{Observers: []lifecycle.Observer{&r}}, "a")
	s, err := r.Story(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if s.ID != c.ID || s.TraceID != "trace of a" || s.Facts.Path != "/of/a" || s.Accepted != c.Accepted {
		t.Errorf("got %+v, want the connection's own facts", s)
	}
	if len(s.Steps) != 2 || s.Steps[0].Phase != lifecycle.PhaseRequest || s.Steps[1].Reason() != lifecycle.ReasonNoRoute {
		t.Errorf("got steps %v, want request and a failed route", s.Steps)
	}
	if s.Outcome.Kind != lifecycle.OutcomeRejected || s.Outcome.Status != 404 {
		t.Errorf("got outcome %+v, want rejected with 404", s.Outcome)
	}
}

func TestRecorderWaitsForAStory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Recorder
		registry := &lifecycle.Registry{Observers: []lifecycle.Observer{&r}}
		told := make(chan *Story, 1)
		go func() {
			s, _ := r.Story(t.Context(), "b")
			told <- s
		}()
		synctest.Wait()
		pass(registry, "a")
		synctest.Wait()
		want := pass(registry, "b")
		if s := <-told; s == nil || s.ID != want.ID {
			t.Errorf("got %+v, want the story of b", s)
		}
	})
}

func TestRecorderHandsAStoryOutOnce(t *testing.T) {
	var r Recorder
	registry := &lifecycle.Registry{Observers: []lifecycle.Observer{&r}}
	first, second := pass(registry, "a"), pass(registry, "a")
	for _, want := range []*lifecycle.Connection{second, first} {
		if s, err := r.Story(t.Context(), "a"); err != nil || s.ID != want.ID {
			t.Errorf("got %+v, %v, want %s", s, err, want.ID)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s, err := r.Story(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %+v, %v, want %v", s, err, context.Canceled)
	}
}

func TestRecorderForgetsTheOldest(t *testing.T) {
	r := Recorder{Keep: 3}
	registry := &lifecycle.Registry{Observers: []lifecycle.Observer{&r}}
	for i := range 10 {
		pass(registry, fmt.Sprint(i))
	}
	if len(r.stories) != 3 || r.stories[0].Client != "7" {
		t.Errorf("got %d stories from %s on, want 3 from 7 on", len(r.stories), r.stories[0].Client)
	}
}

func TestRecorderLeavesOutWhatIsNoStory(t *testing.T) {
	var r Recorder
	registry := &lifecycle.Registry{Observers: []lifecycle.Observer{&r}}
	registry.Open("a", time.Now()).Unused()
	registry.Open("b", time.Now()).Dismiss()
	if len(r.stories) != 0 {
		t.Errorf("got %d stories, want none", len(r.stories))
	}
}
