package telemetry

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"time"

	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

// tracing makes the spans of connections. The SDK's own are made for spans that are added to while
// something runs, under a lock, with a context and a queue for each: a connection's are known when they
// end. So only what has to be there before, the ids and whether a trace is sampled, is decided at the
// start, and the rest handed to the processor in one piece.
//
// A provider whose sampler and processors are not ours (OTEL_CONFIG_FILE) makes them itself.
type tracing struct {
	tracer    trace.Tracer
	recording *recording // nil: the provider makes them
}

// recording is what the SDK would use for a span that it makes.
type recording struct {
	sampler  sdktrace.Sampler
	process  func(sdktrace.ReadOnlySpan)
	written  bool // process takes spans that are written already
	resource *resource.Resource
	scope    instrumentation.Scope
	pages    pages
	blank    sdktrace.ReadOnlySpan // sampled; answers for what our spans have not
}

// newRecording hands the spans to p. It is nil where the environment limits what a span may have: the
// SDK knows how to cut.
func newRecording(s sdktrace.Sampler, p sdktrace.SpanProcessor, r *resource.Resource, version string) *recording {
	limits := sdktrace.NewSpanLimits()
	if limits.AttributeValueLengthLimit >= 0 || limits.AttributeCountLimit < sdktrace.DefaultAttributeCountLimit || limits.LinkCountLimit < sdktrace.DefaultLinkCountLimit {
		return nil
	}
	sampled := trace.NewSpanContext(trace.SpanContextConfig{TraceFlags: trace.FlagsSampled})
	scope := instrumentation.Scope{Name: scopeName, Version: version, SchemaURL: schemaURL}
	return &recording{
		sampler: s, process: p.OnEnd, resource: r, scope: scope,
		blank: tracetest.SpanStub{SpanContext: sampled, Resource: r, InstrumentationScope: scope}.Snapshot(),
	}
}

// root has s begin a trace, or go on with a client's that is trusted. The sampler decides on it.
func (t *tracing) root(s *span, client trace.SpanContext, name string, kind trace.SpanKind, at time.Time, links ...trace.Link) {
	if t.recording == nil {
		t.live(s, client, false, name, kind, at, links)
		return
	}
	t.begin(s, client, name, kind, at, links)
	config := trace.SpanContextConfig{TraceID: client.TraceID(), SpanID: newSpanID(), TraceFlags: client.TraceFlags()}
	ctx := context.Background()
	if client.IsValid() {
		ctx = trace.ContextWithRemoteSpanContext(ctx, client)
	} else {
		config.TraceID = newTraceID()
	}
	result := t.recording.sampler.ShouldSample(sdktrace.SamplingParameters{
		ParentContext: ctx, TraceID: config.TraceID, Name: name, Kind: kind, Attributes: s.attrs, Links: links,
	})
	config.TraceFlags = config.TraceFlags.WithSampled(result.Decision == sdktrace.RecordAndSample)
	config.TraceState = result.Tracestate
	s.context = trace.NewSpanContext(config)
	s.attrs = append(s.attrs, result.Attributes...)
}

// child has s begin under a span of ours. What a sampler decided on its trace goes for it, too.
func (t *tracing) child(s *span, parent trace.SpanContext, name string, kind trace.SpanKind, at time.Time, links ...trace.Link) {
	if t.recording == nil {
		t.live(s, parent, false, name, kind, at, links)
		return
	}
	t.begin(s, parent, name, kind, at, links)
	s.context = parent.WithSpanID(newSpanID())
}

// linked has s begin a trace of a part of a connection that is sampled.
func (t *tracing) linked(s *span, name string, kind trace.SpanKind, at time.Time, links ...trace.Link) {
	if t.recording == nil {
		t.live(s, trace.SpanContext{}, true, name, kind, at, links)
		return
	}
	t.begin(s, trace.SpanContext{}, name, kind, at, links)
	s.context = trace.NewSpanContext(trace.SpanContextConfig{TraceID: newTraceID(), SpanID: newSpanID(), TraceFlags: trace.FlagsSampled})
}

// begin gives s what it has from its begin, but for its context.
func (t *tracing) begin(s *span, parent trace.SpanContext, name string, kind trace.SpanKind, at time.Time, links []trace.Link) {
	s.ReadOnlySpan, s.by, s.parent, s.name, s.kind, s.begun = t.recording.blank, t.recording, parent, name, kind, at
	for _, l := range links {
		s.links = append(s.links, sdktrace.Link{SpanContext: l.SpanContext, Attributes: l.Attributes})
	}
}

// live has the provider make the span.
func (t *tracing) live(s *span, parent trace.SpanContext, linked bool, name string, kind trace.SpanKind, at time.Time, links []trace.Link) {
	ctx := trace.ContextWithSpanContext(context.Background(), parent)
	if linked {
		ctx = context.WithValue(ctx, linkedKey{}, true)
	}
	_, s.live = t.tracer.Start(ctx, name, trace.WithSpanKind(kind), trace.WithTimestamp(at), trace.WithAttributes(s.attrs...), trace.WithLinks(links...))
	s.context, s.name, s.had = s.live.SpanContext(), name, len(s.attrs)
}

func newTraceID() (id trace.TraceID) {
	for !id.IsValid() {
		binary.NativeEndian.PutUint64(id[:8], rand.Uint64())
		binary.NativeEndian.PutUint64(id[8:], rand.Uint64())
	}
	return id
}

func newSpanID() (id trace.SpanID) {
	for !id.IsValid() {
		binary.NativeEndian.PutUint64(id[:], rand.Uint64())
	}
	return id
}
