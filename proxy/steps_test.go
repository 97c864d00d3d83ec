package proxy

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"wsproxy/lifecycle"
)

// journalOfSteps follows every connection and holds it to what must be so of each.
type journalOfSteps struct {
	lenient bool // internal faults are wanted

	mu       sync.Mutex
	accepted int
	left     int
	kinds    map[lifecycle.OutcomeKind]int
	wrong    []string
}

func (j *journalOfSteps) Watch(c *lifecycle.Connection) lifecycle.Watcher {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.accepted++
	return &followed{journal: j, connection: c}
}

type followed struct {
	journal    *journalOfSteps
	connection *lifecycle.Connection
	open       lifecycle.Phase // that has begun and not ended
	opened     bool
	failed     map[int]int // failing phases by attempt
	done       bool
}

func (f *followed) Begin(ctx context.Context, s *lifecycle.Step) context.Context {
	if f.open != lifecycle.PhaseNone || f.done {
		f.complain("%s begins in %s", s.Phase, f.open)
	}
	f.open = s.Phase
	f.opened = f.opened || s.Phase == lifecycle.PhaseTransfer
	return ctx
}

func (f *followed) End(_ context.Context, s *lifecycle.Step) {
	if f.open != s.Phase || f.done {
		f.complain("%s ends in %s", s.Phase, f.open)
	}
	f.open = lifecycle.PhaseNone
	if s.Failure != nil {
		if f.failed == nil {
			f.failed = make(map[int]int)
		}
		if f.failed[s.Attempt]++; f.failed[s.Attempt] > 1 {
			f.complain("attempt %d fails twice", s.Attempt)
		}
	}
}

func (f *followed) Done(o lifecycle.Outcome) {
	switch {
	case f.done:
		f.complain("done twice")
	case f.open != lifecycle.PhaseNone:
		f.complain("done in %s", f.open)
	case f.opened != (o.Kind == lifecycle.OutcomeClosed):
		f.complain("%s, opened %t", o.Kind, f.opened)
	case o.Kind == lifecycle.OutcomeClosed && (o.Close.Cause == lifecycle.CauseNone || o.Close.Cause == lifecycle.CauseInternal):
		f.complain("closed because of %q", o.Close.Cause)
	case (o.Kind == lifecycle.OutcomeFailed || o.Kind == lifecycle.OutcomeRejected) && (o.Failure == nil || len(f.failed) == 0):
		f.complain("%s without a failed phase", o.Kind)
	case o.Kind == lifecycle.OutcomeFailed && o.Failure.Reason == lifecycle.ReasonInternal && !f.journal.lenient:
		f.complain("our own fault: %v", o.Failure)
	}
	f.done = true
	j := f.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	j.left++
	if j.kinds == nil {
		j.kinds = make(map[lifecycle.OutcomeKind]int)
	}
	j.kinds[o.Kind]++
}

func (f *followed) complain(format string, args ...any) {
	f.journal.mu.Lock()
	defer f.journal.mu.Unlock()
	f.journal.wrong = append(f.journal.wrong, f.connection.ID+": "+fmt.Sprintf(format, args...))
}

// check is for when every connection has left.
func (j *journalOfSteps) check(t *testing.T) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, w := range j.wrong {
		t.Error(w)
	}
	sum := 0
	for _, n := range j.kinds {
		sum += n
	}
	if sum != j.accepted || j.left != j.accepted {
		t.Errorf("got %d accepted and %d ends, %v, want as many", j.accepted, j.left, j.kinds)
	}
}
