package telemetry

import (
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// span is one of a connection's. One goroutine at a time has it, until its end: then it is an exporter's,
// or has been told and is used for another.
type span struct {
	// The blank one of recording: what it would answer and we do not is what a span has that has none of
	// it, such as events. That goes for methods which a later SDK adds, too.
	sdktrace.ReadOnlySpan
	by   *recording
	live trace.Span // made by the provider, which then has all that follows; else nil
	had  int        // how many of attrs live was begun with

	context, parent trace.SpanContext
	name            string
	kind            trace.SpanKind
	begun, ended    time.Time
	attrs           list // no key twice
	links           []sdktrace.Link
	status          sdktrace.Status
	wire            []byte // while it is written
}

var spans = sync.Pool{New: func() any { return &span{attrs: make(list, 0, 24)} }}

// newSpan is a span to put attributes into and then to begin: see tracing.
func newSpan() *span { return spans.Get().(*span) }

// release lets go of a span that nobody has any more.
func (s *span) release() {
	clear(s.attrs)
	clear(s.links)
	*s = span{attrs: s.attrs[:0], links: s.links[:0], wire: s.wire[:0]}
	spans.Put(s)
}

// rename gives the span its final name.
func (s *span) rename(name string) {
	s.name = name
	if s.live != nil {
		s.live.SetName(name)
	}
}

// fail says that what the span stands for failed.
func (s *span) fail(why string) {
	if s.live != nil {
		s.live.SetStatus(codes.Error, why)
		return
	}
	s.status = sdktrace.Status{Code: codes.Error, Description: why}
}

// end hands the span on, if it is sampled. It must not be used any more.
func (s *span) end(at time.Time) {
	s.ended = at
	switch {
	case s.live != nil:
		s.live.SetAttributes(s.attrs[s.had:]...)
		s.live.End(trace.WithTimestamp(at))
	case !s.context.IsSampled():
	case s.by.written:
		s.by.process(s.write())
	default:
		s.by.process(s)
		return
	}
	s.release()
}

// What exporters read.

func (s *span) Name() string                                { return s.name }
func (s *span) SpanContext() trace.SpanContext              { return s.context }
func (s *span) Parent() trace.SpanContext                   { return s.parent }
func (s *span) SpanKind() trace.SpanKind                    { return s.kind }
func (s *span) StartTime() time.Time                        { return s.begun }
func (s *span) EndTime() time.Time                          { return s.ended }
func (s *span) Attributes() []attribute.KeyValue            { return s.attrs }
func (s *span) Links() []sdktrace.Link                      { return s.links }
func (s *span) Status() sdktrace.Status                     { return s.status }
func (s *span) Resource() *resource.Resource                { return s.by.resource }
func (s *span) InstrumentationScope() instrumentation.Scope { return s.by.scope }
