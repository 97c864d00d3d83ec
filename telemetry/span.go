package telemetry

import (
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// span is one of a connection's. One goroutine at a time has it, until its end; after that nothing of it
// changes. No attribute may be given twice.
type span struct {
	// The blank one of recording: what it would answer and we do not is what a span has that has none of
	// it, such as events. That goes for methods which a later SDK adds, too.
	sdktrace.ReadOnlySpan
	by   *recording
	live trace.Span // made by the provider, which then has all that follows; else nil

	context, parent trace.SpanContext
	name            string
	kind            trace.SpanKind
	begun, ended    time.Time
	attrs           list
	links           []sdktrace.Link
	status          sdktrace.Status
}

// rename gives the span its final name.
func (s *span) rename(name string) {
	s.name = name
	if s.live != nil {
		s.live.SetName(name)
	}
}

// set adds attributes.
func (s *span) set(attrs list) {
	if s.live != nil {
		s.live.SetAttributes(attrs...)
		return
	}
	s.attrs = append(s.attrs, attrs...)
}

// fail says that what the span stands for failed.
func (s *span) fail(why string) {
	if s.live != nil {
		s.live.SetStatus(codes.Error, why)
		return
	}
	s.status = sdktrace.Status{Code: codes.Error, Description: why}
}

// end hands the span on, if it is sampled.
func (s *span) end(at time.Time) {
	if s.live != nil {
		s.live.End(trace.WithTimestamp(at))
		return
	}
	s.ended = at
	if s.context.IsSampled() {
		s.by.process(s)
	}
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
