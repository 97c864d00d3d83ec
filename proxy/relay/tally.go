package relay

import (
	"context"
	"sync"
)

// tally counts the connections of an engine. Unlike a WaitGroup it may be waited for while connections
// come and go, and nobody is left behind when the wait is given up.
type tally struct {
	mu    sync.Mutex
	open  int
	empty chan struct{} // closed when open falls to 0
}

func (t *tally) add() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open++; t.open == 1 {
		t.empty = make(chan struct{})
	}
}

func (t *tally) done() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open--; t.open == 0 {
		close(t.empty)
	}
}

// wait returns when none is open, or with ctx's error.
func (t *tally) wait(ctx context.Context) error {
	t.mu.Lock()
	open, empty := t.open, t.empty
	t.mu.Unlock()
	if open == 0 {
		return nil
	}
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
