// Package ledger, for tests, follows every connection and holds it to what must be so of each: phases come
// one after the other, each that begins ends, an attempt fails in one phase, and the outcome is what the phases
// say. It knows nothing of telemetry, so that telemetry's sums can be held against its own.
package ledger

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"testing"

	"wsproxy/lifecycle"
)

// Failed is a phase and the reason that a connection, or an attempt, failed for.
type Failed struct {
	Phase  lifecycle.Phase
	Reason lifecycle.Reason
}

// Sums are what a Ledger has counted.
type Sums struct {
	Accepted int
	Left     int
	Kinds    map[lifecycle.OutcomeKind]int
	Causes   map[lifecycle.Cause]int
	Failures map[Failed]int // of connections, those that were refused included
	Phases   map[Failed]int // of phases: a connection that is dialled again has several, one without a request none
}

// Ledger is a lifecycle.Observer. The zero value is ready.
type Ledger struct {
	Lenient bool // internal faults are wanted

	mu    sync.Mutex
	sums  Sums
	wrong []string
}

// Watch implements lifecycle.Observer.
func (l *Ledger) Watch(c *lifecycle.Connection) lifecycle.Watcher {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sums.Accepted++
	return &entry{ledger: l, connection: c}
}

// Check reports what was not as it must be. It is for when every connection has left.
func (l *Ledger) Check(t testing.TB) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.wrong {
		t.Error(w)
	}
	sum := 0
	for _, n := range l.sums.Kinds {
		sum += n
	}
	if sum != l.sums.Accepted || l.sums.Left != l.sums.Accepted {
		t.Errorf("got %d accepted and %d ends, %v, want as many", l.sums.Accepted, l.sums.Left, l.sums.Kinds)
	}
}

// Sums are those by now.
func (l *Ledger) Sums() Sums {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sums
	s.Kinds, s.Causes, s.Failures, s.Phases = maps.Clone(s.Kinds), maps.Clone(s.Causes), maps.Clone(s.Failures), maps.Clone(s.Phases)
	return s
}

// entry is one connection's.
type entry struct {
	ledger     *Ledger
	connection *lifecycle.Connection
	open       lifecycle.Phase // that has begun and not ended
	opened     bool
	failed     map[int]int // failing phases by attempt
	phases     []Failed
	done       bool
}

func (e *entry) Begin(ctx context.Context, s *lifecycle.Step) context.Context {
	if e.open != lifecycle.PhaseNone || e.done {
		e.complain("%s begins in %s", s.Phase, e.open)
	}
	e.open = s.Phase
	e.opened = e.opened || s.Phase == lifecycle.PhaseTransfer
	return ctx
}

func (e *entry) End(_ context.Context, s *lifecycle.Step) {
	if e.open != s.Phase || e.done {
		e.complain("%s ends in %s", s.Phase, e.open)
	}
	e.open = lifecycle.PhaseNone
	if s.Failure == nil {
		return
	}
	if e.failed == nil {
		e.failed = make(map[int]int)
	}
	if e.failed[s.Attempt]++; e.failed[s.Attempt] > 1 {
		e.complain("attempt %d fails twice", s.Attempt)
	}
	e.phases = append(e.phases, Failed{s.Phase, s.Failure.Reason})
}

func (e *entry) Done(o lifecycle.Outcome) {
	switch {
	case e.done:
		e.complain("done twice")
	case e.open != lifecycle.PhaseNone:
		e.complain("done in %s", e.open)
	case e.opened != (o.Kind == lifecycle.OutcomeClosed):
		e.complain("%s, opened %t", o.Kind, e.opened)
	case o.Kind == lifecycle.OutcomeClosed && (o.Close.Cause == lifecycle.CauseNone || o.Close.Cause == lifecycle.CauseInternal):
		e.complain("closed because of %q", o.Close.Cause)
	case (o.Kind == lifecycle.OutcomeFailed || o.Kind == lifecycle.OutcomeRejected) && (o.Failure == nil || len(e.failed) == 0):
		e.complain("%s without a failed phase", o.Kind)
	case o.Kind == lifecycle.OutcomeFailed && o.Failure.Reason == lifecycle.ReasonInternal && !e.ledger.Lenient:
		e.complain("our own fault: %v", o.Failure)
	}
	e.done = true
	l := e.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sums.Left++
	count(&l.sums.Kinds, o.Kind)
	if o.Kind == lifecycle.OutcomeUnused || o.Kind == lifecycle.OutcomeDismissed {
		return
	}
	for _, f := range e.phases {
		count(&l.sums.Phases, f)
	}
	switch {
	case o.Kind == lifecycle.OutcomeClosed:
		count(&l.sums.Causes, o.Close.Cause)
	case o.Failure != nil:
		count(&l.sums.Failures, Failed{o.Failure.Phase, o.Failure.Reason})
	}
}

func (e *entry) complain(format string, args ...any) {
	e.ledger.mu.Lock()
	defer e.ledger.mu.Unlock()
	e.ledger.wrong = append(e.ledger.wrong, e.connection.ID+": "+fmt.Sprintf(format, args...))
}

func count[K comparable](m *map[K]int, k K) {
	if *m == nil {
		*m = make(map[K]int)
	}
	(*m)[k]++
}
