package relay

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// stage is an engine on a network.
type stage struct {
	name    string
	network network
	tls     bool
	fake    bool // time is testing/synctest's
	engine  func(t testing.TB) Engine
}

func goroutines(testing.TB) Engine { return &Goroutines{} }

// stages are all there are; those of event loops are added where there are any.
func stages(t testing.TB) []stage {
	all := []stage{
		{name: "goroutines, in memory", network: inMemory, fake: true, engine: goroutines},
		{name: "goroutines, in memory, TLS", network: secured(inMemory), tls: true, fake: true, engine: goroutines},
	}
	return append(all, realStages(t)...)
}

// realStages are those with sockets.
func realStages(testing.TB) []stage {
	all := []stage{
		{name: "goroutines", network: onLoopback, engine: goroutines},
		{name: "goroutines, TLS", network: secured(onLoopback), tls: true, engine: goroutines},
	}
	if loops != nil {
		all = append(all,
			stage{name: "loops", network: onLoopback, engine: loops},
			stage{name: "loops, TLS", network: secured(onLoopback), tls: true, engine: loops},
		)
	}
	return all
}

// run calls f with an engine that is waited for and closed behind it.
func (s stage) run(t *testing.T, f func(t *testing.T, e Engine)) {
	t.Helper()
	body := func(t *testing.T) {
		e := s.engine(t)
		defer e.Close()
		f(t, e)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := e.Wait(ctx); err != nil {
			t.Errorf("wait for the engine: %v", err)
		}
	}
	if s.fake {
		synctest.Test(t, body)
	} else {
		body(t)
	}
}

// inBubble runs f with goroutines, in memory and in fake time.
func inBubble(t *testing.T, f func(t *testing.T, e Engine)) {
	stage{network: inMemory, fake: true, engine: goroutines}.run(t, f)
}

// took checks how long something took in fake time.
func took(t testing.TB, since time.Time, want time.Duration) {
	t.Helper()
	if got := time.Since(since); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func expired(t testing.TB) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
