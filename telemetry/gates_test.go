package telemetry

import (
	"context"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestQueueIsBoundedAndEveryLossCounted(t *testing.T) {
	life, kill := context.WithCancel(t.Context())
	l := newLosses()
	var reports int
	l.reportTo(func(signal, loss, int64) { reports++ })
	release := make(chan struct{})
	exported := 0
	slow := &slowExporter{InMemoryExporter: tracetest.NewInMemoryExporter(), wait: release, count: func(n int) { exported += n }}
	g := newSpanGate(slow, 1000, lifetime{life: life, hold: life, settings: &Settings{Env: env()}}, l)
	p := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(g))
	for range 5000 {
		_, span := p.Tracer("x").Start(t.Context(), "x")
		span.End()
	}
	if got := l.counts[signalTraces][lossQueueFull].Load(); got != 4000 {
		t.Errorf("dropped: got %d, want 4000", got)
	}
	if reports != 1 {
		t.Errorf("reports: got %d, want 1 in 10 s", reports)
	}
	close(release)
	if err := p.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if exported != 1000 || g.waiting.Load() != 0 {
		t.Errorf("got %d exported and %d waiting, want 1000 and 0", exported, g.waiting.Load())
	}
	kill()
}

// slowExporter waits before its first export.
type slowExporter struct {
	*tracetest.InMemoryExporter
	wait  chan struct{}
	count func(int)
}

func (e *slowExporter) ExportSpans(_ context.Context, s []sdktrace.ReadOnlySpan) error {
	<-e.wait
	e.count(len(s))
	return nil
}

// TestQueueHoldsWhileTheCollectorIsAway has it appear a minute after the start.
func TestQueueHoldsWhileTheCollectorIsAway(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		lost int64
	}{
		"refused":     {&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, 0},
		"unavailable": {status.Error(codes.Unavailable, "no"), 0},
		"forbidden":   {status.Error(codes.PermissionDenied, "no"), 10}, // an answer is an answer
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, start := newLosses(), time.Now()
				late := &lateExporter{InMemoryExporter: tracetest.NewInMemoryExporter(), from: start.Add(time.Minute), err: test.err}
				g := newSpanGate(late, 1000, lifetime{life: t.Context(), hold: t.Context(), settings: &Settings{Env: env()}}, l)
				p := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(g))
				for range 20 {
					_, span := p.Tracer("x").Start(t.Context(), "x")
					span.End()
					time.Sleep(6100 * time.Millisecond) // longer than a batch takes to be full
				}
				time.Sleep(time.Minute)
				if got := l.counts[signalTraces][lossExportFailed].Load(); got != test.lost {
					t.Errorf("lost: got %d, want %d", got, test.lost)
				}
				if got := int64(len(late.GetSpans())); got != 20-test.lost {
					t.Errorf("exported: got %d, want %d", got, 20-test.lost)
				}
				p.Shutdown(t.Context())
			})
		})
	}
}

// lateExporter fails until it is there.
type lateExporter struct {
	*tracetest.InMemoryExporter
	from time.Time
	err  error
}

func (e *lateExporter) ExportSpans(ctx context.Context, s []sdktrace.ReadOnlySpan) error {
	if time.Now().Before(e.from) {
		return e.err
	}
	return e.InMemoryExporter.ExportSpans(ctx, s)
}

// TestShutdownWaitsForNoCollector: what waits for one that is away is tried once more, and given up.
func TestShutdownWaitsForNoCollector(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, start := newLosses(), time.Now()
		hold, hurry := context.WithCancel(t.Context())
		late := &lateExporter{InMemoryExporter: tracetest.NewInMemoryExporter(), from: start.Add(time.Hour), err: &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}}
		p := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(newSpanGate(late, 1000, lifetime{life: t.Context(), hold: hold, settings: &Settings{Env: env()}}, l)))
		for range 3 {
			_, span := p.Tracer("x").Start(t.Context(), "x")
			span.End()
			time.Sleep(6 * time.Second)
		}
		stopped := time.Now()
		hurry()
		p.Shutdown(t.Context())
		if took := time.Since(stopped); took > 0 || l.counts[signalTraces][lossExportFailed].Load() != 3 {
			t.Errorf("got %v and %d lost, want no wait and all 3", took, l.counts[signalTraces][lossExportFailed].Load())
		}
	})
}

// handed counts what a processor is given.
type handed struct {
	sdktrace.SpanProcessor
	n atomic.Int64
}

func (h *handed) OnEnd(sdktrace.ReadOnlySpan) { h.n.Add(1) }

func TestSpansAreHandedOnTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newSpanGate(discard{}, 1000, lifetime{life: t.Context(), hold: t.Context(), settings: &Settings{Env: env()}}, newLosses())
		h := &handed{SpanProcessor: g.SpanProcessor}
		g.SpanProcessor = h
		defer g.Shutdown(t.Context())
		span := tracetest.SpanStub{SpanContext: trace.NewSpanContext(trace.SpanContextConfig{TraceFlags: trace.FlagsSampled})}.Snapshot()
		want := func(when string, n int64) {
			t.Helper()
			if got := h.n.Load(); got != n {
				t.Errorf("%s: got %d handed on, want %d", when, got, n)
			}
		}
		for range spansHeld - 1 {
			g.OnEnd(span)
		}
		want("below the limit", 0)
		g.OnEnd(span)
		want("at the limit", spansHeld)
		g.OnEnd(span)
		time.Sleep(spansHeldFor - time.Nanosecond)
		want("before its time", spansHeld)
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		want("in time", spansHeld+1)
		g.OnEnd(span)
		g.ForceFlush(t.Context())
		want("flushed", spansHeld+2)
	})
}
