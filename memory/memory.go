// Package memory gives back to the system what a busy time has left behind.
//
// A heap that nobody allocates from any more is not collected, and what was freed returns slowly: after a storm of
// handshakes an idle process keeps twice what its connections need, for as long as they are idle. The package does
// not change how the runtime collects while there is something to do.
package memory

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// every is how often the heap is looked at, which takes a few microseconds.
	every = 250 * time.Millisecond

	// quiet is how little is allocated between two looks by a process that is not busy.
	quiet = 1 << 20

	// worth is how much there must be to give back: a collection looks at all that is live.
	worth = 8 << 20
)

// Tidy gives memory back whenever the process has become quiet, until ctx ends.
func Tidy(ctx context.Context) { tidy(ctx, every, debug.FreeOSMemory) }

func tidy(ctx context.Context, every time.Duration, release func()) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	h := newHeap()
	before := h.read()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := h.read()
		if now.due(before) {
			release()
			now = h.read()
		}
		before = now
	}
}

// state is a heap at one moment, in bytes.
type state struct {
	allocated uint64 // ever
	objects   uint64 // live ones, and dead ones that were not swept yet
	live      uint64 // what the last collection found
	free      uint64 // empty, but not given back
}

// due reports whether a process that was in state before has become quiet with enough to give back. Less than a
// quarter of what is live is not worth a collection.
func (s state) due(before state) bool {
	spare := s.free + s.objects - min(s.live, s.objects)
	return s.allocated-before.allocated < quiet && spare > max(worth, s.live/4)
}

// heap reads states without allocating.
type heap struct{ samples [4]metrics.Sample }

func newHeap() *heap {
	return &heap{[4]metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
	}}
}

func (h *heap) read() state {
	metrics.Read(h.samples[:])
	return state{
		allocated: h.samples[0].Value.Uint64(),
		objects:   h.samples[1].Value.Uint64(),
		live:      h.samples[2].Value.Uint64(),
		free:      h.samples[3].Value.Uint64(),
	}
}
