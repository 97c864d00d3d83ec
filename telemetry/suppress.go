package telemetry

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const (
	repeatsPerPeriod = 10               // lines of one kind that pass in a period
	repeatPeriod     = 10 * time.Second //
	repeatKinds      = 512              // kinds remembered; beyond them all are forgotten at once
)

// suppressor holds back warnings and errors that repeat. A kind is level and message: what varies is in
// the attributes. The first line after a pause says how many were left out.
type suppressor struct {
	total atomic.Int64

	mu    sync.Mutex
	kinds map[lineKind]*repeats
}

type lineKind struct {
	level   slog.Level
	message string
}

type repeats struct {
	since   time.Time
	passed  int
	omitted int64
}

func newSuppressor() *suppressor { return &suppressor{kinds: make(map[lineKind]*repeats)} }

// pass says whether a line may be written and how many of its kind were not before it.
func (s *suppressor) pass(k lineKind, now time.Time) (ok bool, omitted int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.kinds[k]
	if r == nil {
		if len(s.kinds) >= repeatKinds {
			clear(s.kinds)
		}
		r = &repeats{since: now}
		s.kinds[k] = r
	}
	if now.Sub(r.since) >= repeatPeriod {
		omitted = r.omitted
		*r = repeats{since: now}
	}
	if r.passed >= repeatsPerPeriod {
		r.omitted++
		s.total.Add(1)
		return false, 0
	}
	r.passed++
	return true, omitted
}

// over returns a handler that passes on to next what is not held back.
func (s *suppressor) over(next slog.Handler) slog.Handler { return limited{next, s} }

type limited struct {
	slog.Handler
	by *suppressor
}

func (h limited) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelWarn {
		return h.Handler.Handle(ctx, r)
	}
	ok, omitted := h.by.pass(lineKind{r.Level, r.Message}, r.Time)
	if !ok {
		return nil
	}
	if omitted > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int64("suppressed", omitted))
	}
	return h.Handler.Handle(ctx, r)
}

func (h limited) WithAttrs(a []slog.Attr) slog.Handler { return limited{h.Handler.WithAttrs(a), h.by} }
func (h limited) WithGroup(name string) slog.Handler   { return limited{h.Handler.WithGroup(name), h.by} }
