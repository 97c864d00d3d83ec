package telemetry

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"wsproxy/lifecycle"
)

// system tells of the process's states: a log event for each, and a trace of the start with a span for
// each state left. Operational has none: it would be exported days later, and nothing waits for it.
type system struct {
	tel *Telemetry

	mu     sync.Mutex
	start  trace.Span // live until the process is operational; nil before
	parent trace.SpanContext
	now    lifecycle.Transition
}

func (y *system) entered(t lifecycle.Transition) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.left(t.At)
	y.now = t
	y.progress(t)
	attrs := []slog.Attr{slog.String("state", t.To.String()), slog.String("from", t.From.String())}
	l := list{keySystemState.String(t.To.String()), keySystemPreviousState.String(t.From.String())}
	if t.Cause != "" {
		attrs = append(attrs, slog.String("cause", text(t.Cause)))
		l.text(keySystemCause, t.Cause)
	}
	ctx := trace.ContextWithSpanContext(context.Background(), y.parent)
	y.tel.states.LogAttrs(ctx, slog.LevelInfo, "system state", attrs...)
	y.tel.events.emit(time.Now(), y.parent, eventSystemStateChanged, slog.LevelInfo, l)
}

// progress begins the start's trace with the first state and ends its root when the start is over.
func (y *system) progress(t lifecycle.Transition) {
	if y.tel.tracer == nil {
		return
	}
	if y.start == nil && !y.parent.IsValid() {
		_, y.start = y.tel.tracer.Start(context.Background(), spanWsproxyStart, trace.WithTimestamp(t.At))
		y.parent = y.start.SpanContext()
	}
	if y.start == nil {
		return
	}
	switch t.To {
	case lifecycle.StateDraining, lifecycle.StateStopped: // before it was operational
		y.start.SetStatus(codes.Error, "stopped before operational")
		fallthrough
	case lifecycle.StateOperational:
		y.start.SetAttributes(keySystemState.String(t.To.String()))
		y.start.End(trace.WithTimestamp(t.At))
		y.start = nil
	}
}

// left makes the span of the state that the process was in.
func (y *system) left(at time.Time) {
	if !y.parent.IsValid() || y.now.To == lifecycle.StateNone || y.now.To == lifecycle.StateOperational {
		return
	}
	l := list{keySystemState.String(y.now.To.String())}
	l.text(keySystemCause, y.now.Cause)
	ctx := trace.ContextWithSpanContext(context.Background(), y.parent)
	_, span := y.tel.tracer.Start(ctx, "state "+y.now.To.String(), trace.WithTimestamp(y.now.At), trace.WithAttributes(l...))
	span.End(trace.WithTimestamp(at))
}

// leave ends what is open before the last flush: the state stopped comes after it.
func (y *system) leave(at time.Time) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.left(at)
	y.now = lifecycle.Transition{}
	if y.start != nil {
		y.start.SetStatus(codes.Error, "stopped before operational")
		y.start.End(trace.WithTimestamp(at))
		y.start = nil
	}
}
