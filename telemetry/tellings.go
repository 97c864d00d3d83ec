package telemetry

import (
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"wsproxy/lifecycle"
)

// tellingLimit is how much may wait to be told. A burst beyond it is told by whoever opens or ends the
// connection, which slows down what makes the burst.
const tellingLimit = 1024

// What happened is told a moment later, together with what else happens by then: a turn of the goroutine, code
// that is in no cache and a write of lines for each would cost more than the telling. Nobody waits for that: see
// flush.
const (
	gatherFor  = 5 * time.Millisecond
	gatherMost = 64
)

// tellings tells of connections that were opened or are over, in the order in which that happened, in a
// goroutine of its own: whoever opens one has a client that waits, whoever ends one may be an event loop,
// which has others to serve.
type tellings struct {
	tell  func(*telling)
	after func() // called behind one or several of them
	log   *slog.Logger

	mu      sync.Mutex
	waiting []*telling
	spare   []*telling
	added   uint64 // to waiting, ever
	told    uint64 // of these
	stopped bool
	changed sync.Cond     // of any of the above
	hurry   chan struct{} // there is no more waiting for others
	done    sync.WaitGroup
}

// telling is a connection that was opened or is over.
type telling struct {
	watcher *watcher
	opened  time.Time // of one that was opened; else zero
	outcome lifecycle.Outcome
}

func (x *telling) tell() {
	if x.opened.IsZero() {
		x.watcher.ended(&x.outcome)
	} else {
		x.watcher.upgraded(x.opened)
	}
}

func newTellings(tell func(*telling), after func(), log *slog.Logger) *tellings {
	e := &tellings{tell: tell, after: after, log: log, hurry: make(chan struct{}, 1)}
	e.changed.L = &e.mu
	e.done.Go(e.run)
	return e
}

// add has x told, now if the queue is full or closed.
func (e *tellings) add(x *telling) {
	e.mu.Lock()
	if e.stopped || len(e.waiting) >= tellingLimit {
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
func (e *tellings) flush() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for upTo := e.added; e.told < upTo; {
		e.urge()
		e.changed.Wait()
	}
}

// urge has what waits told now.
func (e *tellings) urge() {
	select {
	case e.hurry <- struct{}{}:
	default:
	}
}

// stop tells what is left. What is added later is told at once.
func (e *tellings) stop() {
	e.mu.Lock()
	e.stopped = true
	e.urge()
	e.changed.Broadcast()
	e.mu.Unlock()
	e.done.Wait()
}

func (e *tellings) run() {
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

// guarded tells x. A fault of ours costs that telling alone.
func (e *tellings) guarded(x *telling) {
	defer func() {
		if v := recover(); v != nil {
			e.log.Error("telling of a connection failed", "connection.id", x.watcher.conn.ID, "error", v, "stack", string(debug.Stack()))
		}
	}()
	e.tell(x)
}
