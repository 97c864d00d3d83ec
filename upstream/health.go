package upstream

import (
	"context"
	"errors"
	"sync"
	"time"

	"wsproxy/lifecycle"
)

// Health is how targets are checked without being asked for by anyone.
type Health struct {
	Interval time.Duration // between two checks, give or take a tenth
	Timeout  time.Duration // of one
	Rise     int           // good checks in a row that make an unhealthy target healthy
	Fall     int           // bad ones that make a healthy one unhealthy

	// Check looks whether the target is fit. rtt is 0 where it did not measure any.
	Check func(ctx context.Context, at Location) (rtt time.Duration, err error)
}

// activeHealth is what checks told of an endpoint. The first one decides at once, the later ones by
// rise and fall.
type activeHealth struct {
	known   bool
	down    bool
	against int // checks in a row that speak against down as it is
	at      time.Time
	rtt     time.Duration
	failure *lifecycle.Failure
}

func (a *activeHealth) note(h *Health, rtt time.Duration, f *lifecycle.Failure, now time.Time) {
	a.at, a.failure = now, f
	if f == nil {
		a.rtt = rtt
	}
	bad := f != nil
	switch {
	case !a.known:
		a.known, a.down = true, bad
	case bad == a.down:
		a.against = 0
	default:
		enough := h.Fall
		if a.down {
			enough = h.Rise
		}
		if a.against++; a.against >= enough {
			a.down, a.against = bad, 0
		}
	}
}

// staff has every member checked and nobody else. checking is Run's.
func (p *Pool) staff(ctx context.Context, work *sync.WaitGroup, checking map[*endpoint]context.CancelFunc) {
	if p.settings.Health == nil {
		return
	}
	members := make(map[*endpoint]bool)
	p.book.mu.Lock()
	for _, t := range p.entries {
		for _, e := range t.members {
			members[e] = true
		}
	}
	p.book.mu.Unlock()
	for e, stop := range checking {
		if !members[e] {
			stop()
			delete(checking, e)
		}
	}
	for e := range members {
		if checking[e] == nil {
			ctx, stop := context.WithCancel(ctx)
			checking[e] = stop
			work.Go(func() { p.watch(ctx, e) })
		}
	}
}

// watch checks one endpoint again and again, and at once if it never was.
func (p *Pool) watch(ctx context.Context, e *endpoint) {
	p.book.mu.Lock()
	known := e.active.known
	p.book.mu.Unlock()
	if !known {
		p.check(ctx, e)
	}
	for pause(ctx, p.settings.Health.Interval) {
		p.check(ctx, e)
	}
}

var errCheckTimeout = errors.New("the check took too long")

// check checks an endpoint once.
func (p *Pool) check(ctx context.Context, e *endpoint) {
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return
	}
	h := p.settings.Health
	p.book.mu.Lock()
	at := e.at
	p.book.mu.Unlock()
	bounded, cancel := context.WithTimeoutCause(ctx, h.Timeout, errCheckTimeout)
	defer cancel()
	step := &lifecycle.Step{Phase: lifecycle.PhaseUpgrade}
	rtt, err := h.Check(bounded, at)
	if ctx.Err() != nil {
		return
	}
	var failure *lifecycle.Failure
	if err = step.End(bounded, err); err != nil {
		failure, _ = errors.AsType[*lifecycle.Failure](err)
	}
	now := time.Now()
	p.book.mu.Lock()
	was := e.active.down
	e.active.note(h, rtt, failure, now)
	if was && !e.active.down { // what connections told was of the time before
		e.passed = passiveHealth{ejections: e.passed.ejections}
	}
	if failure != nil {
		e.why = failure
	}
	changes := p.settle(now)
	p.book.mu.Unlock()
	if len(changes) > 0 {
		p.tell(changes)
		p.wake()
	}
}

// sideBySide runs f for all, and returns when all are done.
func sideBySide[T any](all []T, f func(T)) {
	var work sync.WaitGroup
	for _, one := range all {
		work.Go(func() { f(one) })
	}
	work.Wait()
}
