package telemetry

import (
	"container/heap"
	"sync"
	"time"
)

const (
	cutsPerTurn = 512                   // segments ended at once, so that a storm's
	turnPause   = 10 * time.Millisecond // segments do not overflow the span queue half a minute later
)

// scheduler ends the segments of all open connections when they are due, in one goroutine: no timer
// and no goroutine per connection.
type scheduler struct {
	settings Segments

	mu   sync.Mutex
	heap transfers

	wake    chan struct{} // the first to be due has changed
	stopped chan struct{}
	once    sync.Once
	wg      sync.WaitGroup
}

func newScheduler(s Segments) *scheduler {
	y := &scheduler{settings: s, wake: make(chan struct{}, 1), stopped: make(chan struct{})}
	y.wg.Go(y.run)
	return y
}

// stop ends the goroutine. Connections still open have no further segments.
func (y *scheduler) stop() {
	if y == nil {
		return
	}
	y.once.Do(func() { close(y.stopped) })
	y.wg.Wait()
}

// begin starts segment 0 of w's connection.
func (y *scheduler) begin(w *watcher, at time.Time) *transfer {
	t := &transfer{watcher: w, begun: at, length: y.settings.First, index: -1}
	if !y.settings.Off {
		y.push(t, at.Add(t.length))
	}
	return t
}

// end ends t's last segment, which is told by t.last.
func (y *scheduler) end(t *transfer, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over, t.ended, t.total = true, at, t.sums()
	y.mu.Lock()
	defer y.mu.Unlock()
	if t.index >= 0 {
		heap.Remove(&y.heap, t.index)
	}
}

func (y *scheduler) push(t *transfer, due time.Time) {
	y.mu.Lock()
	t.due = due
	heap.Push(&y.heap, t)
	first := t.index == 0
	y.mu.Unlock()
	if first {
		select {
		case y.wake <- struct{}{}:
		default:
		}
	}
}

// run ends segments until the scheduler is stopped.
func (y *scheduler) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		due, more := y.due(time.Now())
		for _, t := range due {
			y.next(t)
		}
		timer.Reset(more)
		select {
		case <-timer.C:
		case <-y.wake:
		case <-y.stopped:
			return
		}
	}
}

// due takes out what is due, at most cutsPerTurn, and says how long until there is more to do.
func (y *scheduler) due(now time.Time) ([]*transfer, time.Duration) {
	y.mu.Lock()
	defer y.mu.Unlock()
	var due []*transfer
	for len(y.heap) > 0 && !y.heap[0].due.After(now) {
		if len(due) == cutsPerTurn {
			return due, turnPause
		}
		due = append(due, heap.Pop(&y.heap).(*transfer))
	}
	if len(y.heap) == 0 {
		return due, y.settings.Longest
	}
	return due, y.heap[0].due.Sub(now)
}

// next ends t's segment and schedules the one after it.
func (y *scheduler) next(t *transfer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return
	}
	now := time.Now()
	t.cut(now, t.sums(), false)
	t.length = min(2*t.length, y.settings.Longest)
	y.push(t, now.Add(t.length))
}

// transfers is a heap, first due first.
type transfers []*transfer

func (h transfers) Len() int           { return len(h) }
func (h transfers) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h transfers) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *transfers) Push(x any) {
	t := x.(*transfer)
	t.index = len(*h)
	*h = append(*h, t)
}

func (h *transfers) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	(*h)[last], *h = nil, (*h)[:last]
	t.index = -1
	return t
}
