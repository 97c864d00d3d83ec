package telemetry

import (
	"log/slog"
	"runtime/debug"
	"sync"

	"wsproxy/lifecycle"
)

// endingLimit is how many connections may wait for their end to be told. A burst beyond it is told by
// whoever ends the connection, which slows down what makes the burst.
const endingLimit = 1024

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
	changed sync.Cond // of any of the above
	done    sync.WaitGroup
}

// ending is a connection that is over.
type ending struct {
	watcher *watcher
	outcome lifecycle.Outcome
}

func newEndings(tell func(*ending), after func(), log *slog.Logger) *endings {
	e := &endings{tell: tell, after: after, log: log}
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
	if len(e.waiting) == 1 {
		e.changed.Broadcast()
	}
	e.mu.Unlock()
}

// flush returns when all that were added before have been told.
func (e *endings) flush() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for upTo := e.added; e.told < upTo; {
		e.changed.Wait()
	}
}

// stop tells what is left. Endings added later are told at once.
func (e *endings) stop() {
	e.mu.Lock()
	e.stopped = true
	e.changed.Broadcast()
	e.mu.Unlock()
	e.done.Wait()
}

func (e *endings) run() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for {
		for len(e.waiting) == 0 {
			if e.stopped {
				return
			}
			e.changed.Wait()
		}
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
