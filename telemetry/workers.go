package telemetry

import (
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"

	"wsproxy/lifecycle"
)

// workers observes the event loops. How busy one is, is a share of the time since it was last asked.
type workers struct {
	sets *sets[int]

	mu   sync.Mutex
	last map[int]workerShare
}

type workerShare struct {
	at    time.Time
	busy  time.Duration // until then
	share float64
}

// shareWindow is the least time that a share is taken over: several readers may ask one after the other.
const shareWindow = 500 * time.Millisecond

func newWorkers() *workers {
	return &workers{sets: newSets(workerAttributes), last: make(map[int]workerShare)}
}

func workerAttributes(id int) list { return list{keyWorkerID.Int(id)} }

func (w *workers) observe(o metric.Observer, on *instruments, all []lifecycle.Worker, now time.Time) {
	for _, l := range all {
		under := w.sets.of(l.ID).observe
		o.ObserveInt64(on.workerConnections, int64(l.Connections), under...)
		o.ObserveFloat64(on.workerBusy, w.share(l, now), under...)
		o.ObserveInt64(on.workerWakeups, int64(l.Wakeups), under...)
		o.ObserveInt64(on.workerEvents, int64(l.Events), under...)
		o.ObserveFloat64(on.workerTurnLongest, l.LongestTurn.Seconds(), under...)
	}
}

func (w *workers) share(l lifecycle.Worker, now time.Time) float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	last, known := w.last[l.ID]
	elapsed := now.Sub(last.at)
	switch {
	case !known:
		w.last[l.ID] = workerShare{at: now, busy: l.Busy}
		return 0
	case elapsed < shareWindow:
		return last.share
	}
	share := min((l.Busy-last.busy).Seconds()/elapsed.Seconds(), 1)
	w.last[l.ID] = workerShare{at: now, busy: l.Busy, share: share}
	return share
}
