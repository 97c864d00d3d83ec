package lifecycle_test

import (
	"context"
	"testing"
	"time"

	"wsproxy/lifecycle"
)

// setUp plays the phases of a direct connection, up to its transfer.
func setUp(r *lifecycle.Registry, steps *[5]lifecycle.Step) *lifecycle.Connection {
	c := r.Open("203.0.113.7:51000", time.Unix(1, 0))
	ctx := context.Background()
	for i, p := range []lifecycle.Phase{lifecycle.PhaseRequest, lifecycle.PhaseRoute, lifecycle.PhaseConnect, lifecycle.PhaseUpgrade} {
		steps[i] = lifecycle.Step{Phase: p}
		ctx, s := c.Begin(ctx, &steps[i])
		s.End(ctx, nil)
	}
	steps[4] = lifecycle.Step{Phase: lifecycle.PhaseTransfer}
	c.Begin(ctx, &steps[4])
	return c
}

func BenchmarkPhases(b *testing.B) {
	r := &lifecycle.Registry{NewID: func() string { return "id" }}
	var steps [5]lifecycle.Step
	b.ReportAllocs()
	for b.Loop() {
		setUp(r, &steps).Closed(lifecycle.Close{})
	}
}

func TestPhasesCostOneAllocationForAll(t *testing.T) {
	r := &lifecycle.Registry{NewID: func() string { return "id" }}
	var steps [5]lifecycle.Step
	if got := testing.AllocsPerRun(1000, func() { setUp(r, &steps).Closed(lifecycle.Close{}) }); got > 1 {
		t.Errorf("got %g allocations for a connection, want 1: its record", got)
	}
}

func TestSnapshotAllocatesNothingForAConnection(t *testing.T) {
	snapshot := func(n int) float64 {
		r := new(lifecycle.Registry)
		for range n {
			var steps [5]lifecycle.Step
			setUp(r, &steps).Update(func(f *lifecycle.Facts) { f.Route = "chat" })
		}
		if got := r.Snapshot(); got.Open() != n || got.Phases[lifecycle.PhaseTransfer] != n {
			t.Errorf("got %d open and %d in transfer, want %d", got.Open(), got.Phases[lifecycle.PhaseTransfer], n)
		}
		return testing.AllocsPerRun(100, func() { r.Snapshot() })
	}
	if few, many := snapshot(1), snapshot(1000); many > few {
		t.Errorf("got %g allocations with 1000 connections, want %g as with one", many, few)
	}
}
