package telemetry

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// How many spans and how many log records wait for the collector at most: what some two thousand connections give that
// come and go at once. The SDK keeps records in a ring that a collection of garbage follows from one to the next.
const (
	spanLimit   = 16384
	recordLimit = 4096
)

// gate stands before a batch processor, whose queue then never overflows: what would not fit is
// counted and dropped here, exactly, while the SDK would drop it without telling us.
type gate struct {
	lifetime
	signal  signal
	limit   int64
	waiting atomic.Int64
	losses  *losses
}

// enter says whether there is room for one more item.
func (g *gate) enter() bool {
	if g.waiting.Add(1) > g.limit {
		g.waiting.Add(-1)
		g.losses.add(g.signal, lossQueueFull, 1)
		return false
	}
	return true
}

// export runs f for n items that have left the queue.
func (g *gate) export(ctx context.Context, n int, f func(context.Context) error) error {
	defer g.waiting.Add(int64(-n))
	return guarded(ctx, g.life, g.losses, g.signal, n, func(ctx context.Context) error { return g.patiently(ctx, f) })
}

const (
	holdAtMost = 2 * time.Minute // how long a batch waits for a collector that is away; the environment's export timeout wins
	leastPause = time.Second
	mostPause  = 10 * time.Second
)

// patiently runs f again while the collector is away, as it is when both start together: meanwhile the
// queue holds what comes. Once that is full, what has waited longest is given up. When the shutdown begins,
// what waits is tried once more.
func (g *gate) patiently(ctx context.Context, f func(context.Context) error) error {
	for pause := leastPause; ; pause = min(2*pause, mostPause) {
		last := g.hold.Err() != nil
		cut, err := g.attempts.cut(ctx, f)
		if err == nil || last || ctx.Err() != nil {
			return err
		}
		if cut {
			continue
		}
		if !isAway(err) || g.waiting.Load() >= g.limit {
			return err
		}
		otel.Handle(&exportError{signal: g.signal, why: lossOf(ctx, err), err: err}) // nothing is lost yet, but somebody should look
		select {
		case <-time.After(pause):
		case <-g.hold.Done():
		case <-ctx.Done():
			return err
		}
	}
}

// isAway says whether an export failed because nobody answered, not because of what was answered.
func isAway(err error) bool {
	if _, ok := errors.AsType[net.Error](err); ok || errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	code := status.Code(err)
	return code == codes.Unavailable || code == codes.DeadlineExceeded
}

// guarded runs an export under ctx and life, and counts n items lost if it fails.
func guarded(ctx, life context.Context, l *losses, s signal, n int, f func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(life, cancel)()
	err := f(ctx)
	if err == nil {
		return nil
	}
	why := lossOf(ctx, err)
	l.add(s, why, n)
	return &exportError{signal: s, why: why, err: err}
}

// divided puts what is apart from what is not: that goes out in two requests, of which one may fail. Most batches are
// of one kind.
func divided[T any](all []T, is func(*T) bool) (those, others []T) {
	n := 0
	for n < len(all) && is(&all[n]) == is(&all[0]) {
		n++
	}
	switch {
	case n < len(all):
	case n > 0 && is(&all[0]):
		return all, nil
	default:
		return nil, all
	}
	for i := range all {
		if is(&all[i]) {
			those = append(those, all[i])
		} else {
			others = append(others, all[i])
		}
	}
	return those, others
}

// exportError is a failed export, as the SDK hands it to the error handler.
type exportError struct {
	signal signal
	why    loss
	err    error
}

func (e *exportError) Error() string { return "export " + e.signal.String() + ": " + e.err.Error() }
func (e *exportError) Unwrap() error { return e.err }

// lifetime is how long exports go on.
type lifetime struct {
	life     context.Context // ends exports that outlive the shutdown; not a call's ctx
	hold     context.Context // ends the waits for a collector that is away, when the shutdown begins
	settings *Settings
	attempts *attempts // of the exporter; nil: nobody follows them
}

// followed is l for an exporter of its own.
func (l lifetime) followed() lifetime {
	l.attempts = &attempts{hold: l.hold}
	return l
}

// patience is how long a batch may take, in milliseconds by the environment.
func (l lifetime) patience(variable string) time.Duration {
	return time.Duration(l.settings.size(variable, int(holdAtMost.Milliseconds()))) * time.Millisecond
}

// spanGate gathers spans for a moment: the SDK's processor wakes its goroutine for each that it is given, which
// would cost as much as what it does with it.
type spanGate struct {
	gate
	sdktrace.SpanProcessor

	mu    sync.Mutex
	held  []sdktrace.ReadOnlySpan
	timer *time.Timer // hands on what is held
}

const (
	spansHeld    = 64
	spansHeldFor = 10 * time.Millisecond
)

func (g *spanGate) OnEnd(s sdktrace.ReadOnlySpan) {
	if !s.SpanContext().IsSampled() || !g.enter() {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held = append(g.held, s)
	switch len(g.held) {
	case 1:
		g.timer.Reset(spansHeldFor)
	case spansHeld:
		g.handOn()
	}
}

// handOn is called with mu.
func (g *spanGate) handOn() {
	for _, s := range g.held {
		g.SpanProcessor.OnEnd(s)
	}
	clear(g.held)
	g.held = g.held[:0]
	g.timer.Stop()
}

func (g *spanGate) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.handOn()
}

func (g *spanGate) ForceFlush(ctx context.Context) error {
	g.release()
	return g.SpanProcessor.ForceFlush(ctx)
}

func (g *spanGate) Shutdown(ctx context.Context) error {
	g.release()
	return g.SpanProcessor.Shutdown(ctx)
}

type spanExporter struct {
	sdktrace.SpanExporter
	gate *gate
}

func (e *spanExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	written, others := divided(spans, func(s *sdktrace.ReadOnlySpan) bool { return isWritten(*s) })
	return errors.Join(e.export(ctx, written), e.export(ctx, others))
}

func (e *spanExporter) export(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if len(spans) == 0 {
		return nil
	}
	return e.gate.export(ctx, len(spans), func(ctx context.Context) error { return e.SpanExporter.ExportSpans(ctx, spans) })
}

// newSpanGate batches spans for e. The environment's queue size wins.
func newSpanGate(e sdktrace.SpanExporter, limit int, l lifetime, losses *losses) *spanGate {
	g := &spanGate{gate: gate{lifetime: l, signal: signalTraces, limit: int64(limit), losses: losses}}
	g.SpanProcessor = sdktrace.NewBatchSpanProcessor(&spanExporter{e, &g.gate}, sdktrace.WithMaxQueueSize(limit), sdktrace.WithExportTimeout(l.patience("OTEL_BSP_EXPORT_TIMEOUT")))
	g.timer = time.AfterFunc(time.Hour, g.release)
	g.timer.Stop()
	return g
}

type logGate struct {
	gate
	sdklog.Processor
}

func (g *logGate) OnEmit(ctx context.Context, r *sdklog.Record) error {
	if !g.enter() {
		return nil
	}
	return g.Processor.OnEmit(ctx, r)
}

type logExporter struct {
	sdklog.Exporter
	gate *gate
}

func (e *logExporter) Export(ctx context.Context, records []sdklog.Record) error {
	written, others := divided(records, isWrittenRecord)
	return errors.Join(e.export(ctx, written), e.export(ctx, others))
}

func (e *logExporter) export(ctx context.Context, records []sdklog.Record) error {
	if len(records) == 0 {
		return nil
	}
	return e.gate.export(ctx, len(records), func(ctx context.Context) error { return e.Exporter.Export(ctx, records) })
}

func newLogGate(e sdklog.Exporter, limit int, l lifetime, losses *losses) *logGate {
	g := &logGate{gate: gate{lifetime: l, signal: signalLogs, limit: int64(limit), losses: losses}}
	g.Processor = sdklog.NewBatchProcessor(&logExporter{e, &g.gate}, sdklog.WithMaxQueueSize(limit), sdklog.WithExportTimeout(l.patience("OTEL_BLRP_EXPORT_TIMEOUT")))
	return g
}
