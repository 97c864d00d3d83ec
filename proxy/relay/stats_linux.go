package relay

import (
	"sync/atomic"
	"time"

	"wsproxy/lifecycle"
)

// stats are what a loop counts of itself. The loop writes, anyone may read.
type stats struct {
	wakeups, events atomic.Uint64
	busy            atomic.Int64 // nanoseconds
	window          atomic.Int64 // number of the window that longest is of
	longest, before atomic.Int64 // nanoseconds of the longest turn in this window and in the one before
}

// window is how long the longest turn is remembered at least.
const window = 15 * time.Second

func (s *stats) turn(events int, begun, ended time.Time) {
	took := int64(ended.Sub(begun))
	s.events.Add(uint64(events))
	s.busy.Add(took)
	if now := ended.UnixNano() / int64(window); now != s.window.Load() {
		before := s.longest.Swap(0)
		if now != s.window.Load()+1 {
			before = 0
		}
		s.before.Store(before)
		s.window.Store(now)
	}
	if took > s.longest.Load() {
		s.longest.Store(took)
	}
}

func (s *stats) worker(now time.Time) lifecycle.Worker {
	w := lifecycle.Worker{Busy: time.Duration(s.busy.Load()), Wakeups: s.wakeups.Load(), Events: s.events.Load()}
	switch now.UnixNano()/int64(window) - s.window.Load() {
	case 0:
		w.LongestTurn = time.Duration(max(s.longest.Load(), s.before.Load()))
	case 1:
		w.LongestTurn = time.Duration(s.longest.Load())
	}
	return w
}
