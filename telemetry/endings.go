package telemetry

import (
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"wsproxy/lifecycle"
)

// endingLimit is how many connections may wait for their end to be told. A burst beyond it is told by
// whoever ends the connection, which slows down what makes the burst.
const endingLimit = 1024

// A connection's end is told a moment later, together with those of others that end by then: a turn of the
// goroutine and a write of lines for each would cost more than the telling. Nobody waits for that: see flush.
const (
	gatherFor  = 5 * time.Millisecond
	gatherMost = 64
)

// endings tells of connections that are over, in the order in which they ended, in a goroutine of its
// own: whoever ends a connection may be an event loop, which has others to serve.
type endings struct {
	tell  func(*ending)
	after func() // called behind one or several of them
	log   *slog.Logger

	mu      sync.Mutex
	waiting []*ending
	spare   []*ending
	added   uint64 // to waiting, ever
	told    uint64 // of these
	stopped bool
	changed sync.Cond     // of any of the above
	hurry   chan struct{} // there is no more waiting for others
	done    sync.WaitGroup
}

// ending is a connection that is over.
type ending struct {
	watcher *watcher
	outcome lifecycle.Outcome
}

func newEndings(tell func(*ending), after func(), log *slog.Logger) *endings {
	e := &endings{tell: tell, after: after, log: log, hurry: make(chan struct{}, 1)}
	e.changed.L = &e.mu
	e.done.Go(e.run)
	return e
}

// add has an ending told, now if the queue is full or closed.
func (e *endings) add(x *ending) {
	e.mu.Lock()
	if e.stopped || len(e.waiting) >= endingLimit {
		e.mu.Unlock()
		e.tell(x)
		e.after()
		return
	}
	e.waiting = append(e.waiting, x)
	e.added++
	switch len(e.waiting) {
	case 1:
		e.changed.Broadcast()
	case gatherMost:
		e.urge()
	}
	e.mu.Unlock()
}

// flush returns when all that were added before have been told.
func (e *endings) flush() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for upTo := e.added; e.told < upTo; {
		e.urge()
		e.changed.Wait()
	}
}

// urge has what waits told now.
func (e *endings) urge() {
	select {
	case e.hurry <- struct{}{}:
	default:
	}
}

// stop tells what is left. Endings added later are told at once.
func (e *endings) stop() {
	e.mu.Lock()
	e.stopped = true
	e.urge()
	e.changed.Broadcast()
	e.mu.Unlock()
	e.done.Wait()
}

func (e *endings) run() {
	timer := time.NewTimer(gatherFor)
	defer timer.Stop()
	e.mu.Lock()
	defer e.mu.Unlock()
	for {
		for len(e.waiting) == 0 {
			if e.stopped {
				return
			}
			e.changed.Wait()
		}
		e.mu.Unlock()
		timer.Reset(gatherFor)
		select {
		case <-timer.C:
		case <-e.hurry:
		}
		e.mu.Lock()
		batch := e.waiting
		e.waiting = e.spare[:0]
		e.mu.Unlock()
		for _, x := range batch {
			e.guarded(x)
		}
		e.after()
		e.mu.Lock()
		e.told += uint64(len(batch))
		clear(batch)
		e.spare = batch
		e.changed.Broadcast()
	}
}

// guarded tells an ending. A fault of ours costs that telling alone.
func (e *endings) guarded(x *ending) {
	defer func() {
		if v := recover(); v != nil {
			e.log.Error("telling of a connection's end failed", "connection.id", x.watcher.conn.ID, "error", v, "stack", string(debug.Stack()))
		}
	}()
	e.tell(x)
}
