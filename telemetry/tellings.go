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
	outcome *lifecycle.Outcome // nil of one that was opened
	opened  time.Time
}

func (x *telling) tell() {
	if x.outcome != nil {
		x.watcher.ended(x.outcome)
	} else {
		x.watcher.upgraded(x.opened)
	}
}

func newTellings(tell func(*telling), after func(), log *slog.Logger) *tellings {
	t := &tellings{tell: tell, after: after, log: log, hurry: make(chan struct{}, 1)}
	t.changed.L = &t.mu
	t.done.Go(t.run)
	return t
}

// add has x told, now if the queue is full or closed.
func (t *tellings) add(x *telling) {
	t.mu.Lock()
	if t.stopped || len(t.waiting) >= tellingLimit {
		t.mu.Unlock()
		t.tell(x)
		t.after()
		return
	}
	t.waiting = append(t.waiting, x)
	t.added++
	switch len(t.waiting) {
	case 1:
		t.changed.Broadcast()
	case gatherMost:
		t.urge()
	}
	t.mu.Unlock()
}

// flush returns when all that were added before have been told.
func (t *tellings) flush() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for upTo := t.added; t.told < upTo; {
		t.urge()
		t.changed.Wait()
	}
}

// urge has what waits told now.
func (t *tellings) urge() {
	select {
	case t.hurry <- struct{}{}:
	default:
	}
}

// stop tells what is left. What is added later is told at once.
func (t *tellings) stop() {
	t.mu.Lock()
	t.stopped = true
	t.urge()
	t.changed.Broadcast()
	t.mu.Unlock()
	t.done.Wait()
}

func (t *tellings) run() {
	timer := time.NewTimer(gatherFor)
	defer timer.Stop()
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		for len(t.waiting) == 0 {
			if t.stopped {
				return
			}
			t.changed.Wait()
		}
		t.mu.Unlock()
		timer.Reset(gatherFor)
		select {
		case <-timer.C:
		case <-t.hurry:
		}
		t.mu.Lock()
		batch := t.waiting
		t.waiting = t.spare[:0]
		t.mu.Unlock()
		for _, x := range batch {
			t.guarded(x)
		}
		t.after()
		t.mu.Lock()
		t.told += uint64(len(batch))
		clear(batch)
		t.spare = batch
		t.changed.Broadcast()
	}
}

// guarded tells x. A fault of ours costs that telling alone.
func (t *tellings) guarded(x *telling) {
	defer func() {
		if v := recover(); v != nil {
			t.log.Error("telling of a connection failed", "connection.id", x.watcher.conn.ID, "error", v, "stack", string(debug.Stack()))
		}
	}()
	t.tell(x)
}
