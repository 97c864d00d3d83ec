// Package memory has the heap collected as suits a proxy: less often while it is small and busy, once more when the
// process has become quiet, and always before it is more than its container may have.
//
// A proxy with few connections has some megabytes that are live, and the runtime would collect them each time that as
// much was allocated, which handshakes do within a hundred. And a heap that nobody allocates from any more is not
// collected, and what was freed returns slowly: after a storm of handshakes an idle process keeps twice what its
// connections need, for as long as they are idle.
package memory

import (
	"context"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

const (
	// every is how often the heap is looked at, which takes a few microseconds.
	every = 250 * time.Millisecond

	// quiet is how little is allocated between two looks by a process that is not busy.
	quiet = 1 << 20

	// worth is how much there must be to give back: a collection looks at all that is live.
	worth = 8 << 20
)

// room is how large a heap may become before it is collected, however little of it is live. It costs as much memory
// while there is much to do.
const room = 64 << 20

// Limit makes nine tenths of what the process' control group may have, if that is limited, the runtime's limit.
// GOMEMLIMIT goes before. It returns the limit in force, 0 if there is none.
func Limit() (bytes int64, err error) { return limit(memlimit.FromCgroup) }

func limit(of memlimit.Provider) (int64, error) {
	bytes, err := memlimit.Set(memlimit.WithProvider(of))
	if bytes == math.MaxInt64 {
		return 0, err
	}
	return bytes, err
}

// Tidy collects in this way until ctx ends. What GOGC says goes before.
func Tidy(ctx context.Context) {
	percent := func(int) {}
	if os.Getenv("GOGC") == "" {
		defer debug.SetGCPercent(debug.SetGCPercent(usual))
		percent = func(p int) { debug.SetGCPercent(p) }
	}
	tidy(ctx, every, debug.FreeOSMemory, percent)
}

func tidy(ctx context.Context, every time.Duration, release func(), percent func(int)) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	h := newHeap()
	before, set := h.read(), usual
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
		if p := now.percent(); p > set+set/8 || p < set-set/8 {
			percent(p)
			set = p
		}
		before = now
	}
}

// GOGC in percent: what may be allocated until the next collection, of what is live. The runtime lets any heap grow to
// 4 MiB times that, which is room at most.
const (
	usual = 100
	most  = 100 * room / (4 << 20)
)

// percent is the GOGC that gives a heap the room it may have, and never less than usual.
func (s state) percent() int {
	if s.live >= room/2 {
		return usual
	}
	return int(min((room-s.live)*100/max(s.live, 1), most))
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
