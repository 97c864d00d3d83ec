package telemetry

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/trace"
)

// events sends log events to the collector. A nil *events sends nothing.
type events struct {
	logger log.Logger
	*blanks
	lists  sync.Pool // of *list, for the attributes of one event
	drafts sync.Pool // of *draft
}

// draft is one event on its way to the processor, which keeps a copy.
type draft struct {
	record sdklog.Record
	wire   []byte
}

// blanks makes the records of events and hands them to the processor. The SDK's logger, made for
// attributes from anywhere, looks for keys that come twice with a map for every one of them. Ours come
// once. Nil: the logger is asked (OTEL_CONFIG_FILE).
type blanks struct {
	record  sdklog.Record // with the provider's resource and limits and our scope
	process func(context.Context, *sdklog.Record) error
	written bool // process takes records that are written already
}

func newBlanks(p sdklog.Processor, r *resource.Resource, version string) *blanks {
	b := &blanks{process: p.OnEmit}
	provider := sdklog.NewLoggerProvider(sdklog.WithResource(r), sdklog.WithProcessor(taker{&b.record}), sdklog.WithAllowKeyDuplication())
	provider.Logger(scopeName, log.WithInstrumentationVersion(version), log.WithSchemaURL(schemaURL)).Emit(context.Background(), log.Record{})
	return b
}

// taker is a processor that takes a copy of a record.
type taker struct{ to *sdklog.Record }

func (t taker) OnEmit(_ context.Context, r *sdklog.Record) error {
	*t.to = r.Clone()
	return nil
}

func (taker) Enabled(context.Context, sdklog.EnabledParameters) bool { return true }
func (taker) Shutdown(context.Context) error                         { return nil }
func (taker) ForceFlush(context.Context) error                       { return nil }

// list is an empty list for the attributes of an event; release takes it back.
func (e *events) list() *list {
	if l, ok := e.lists.Get().(*list); ok {
		return l
	}
	return new(make(list, 0, 48))
}

func (e *events) release(l *list) {
	clear(*l)
	*l = (*l)[:0]
	e.lists.Put(l)
}

// emit sends an event of the span that sc names, which happened at a time that may be a moment ago. It keeps no
// hold on attrs.
func (e *events) emit(at time.Time, sc trace.SpanContext, name string, level slog.Level, attrs list) {
	if e == nil {
		return
	}
	severity, now := log.Severity(int(level)+int(log.SeverityInfo)), time.Now()
	ctx := context.Background()
	if e.blanks == nil {
		var r log.Record
		r.SetEventName(name)
		r.SetTimestamp(at)
		r.SetObservedTimestamp(now)
		r.SetSeverity(severity)
		r.SetSeverityText(severityText(level))
		r.AddAttributes(attrs...)
		e.logger.Emit(trace.ContextWithSpanContext(ctx, sc), r)
		return
	}
	d, ok := e.drafts.Get().(*draft)
	if !ok {
		d = new(draft)
	}
	defer e.drafts.Put(d)
	r := &d.record
	*r = e.record
	if e.written {
		d.wire = appendRecord(d.wire[:0], at, now, severity, severityText(level), sc, name, attrs)
		r.SetEventName(writtenEvent)
		r.SetBody(attribute.StringValue(string(d.wire)))
	} else {
		r.SetEventName(name)
		r.SetTimestamp(at)
		r.SetObservedTimestamp(now)
		r.SetSeverity(severity)
		r.SetSeverityText(severityText(level))
		r.SetTraceID(sc.TraceID())
		r.SetSpanID(sc.SpanID())
		r.SetTraceFlags(sc.TraceFlags())
		r.SetAttributes(attrs...)
	}
	if err := e.process(ctx, r); err != nil {
		otel.Handle(err)
	}
}

func severityText(l slog.Level) string {
	if l == LevelNotice {
		return "NOTICE"
	}
	return l.String()
}
