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
	resource *resource.Resource
	scope    instrumentation.Scope
	blank    sdktrace.ReadOnlySpan // answers for what our spans have not
}

// newRecording hands the spans to p. It is nil where the environment limits what a span may have: the
// SDK knows how to cut.
func newRecording(s sdktrace.Sampler, p sdktrace.SpanProcessor, r *resource.Resource, version string) *recording {
	limits := sdktrace.NewSpanLimits()
	if limits.AttributeValueLengthLimit >= 0 || limits.AttributeCountLimit < sdktrace.DefaultAttributeCountLimit || limits.LinkCountLimit < sdktrace.DefaultLinkCountLimit {
		return nil
	}
	scope := instrumentation.Scope{Name: scopeName, Version: version, SchemaURL: schemaURL}
	return &recording{
		sampler: s, process: p.OnEnd, resource: r, scope: scope,
		blank: tracetest.SpanStub{Resource: r, InstrumentationScope: scope}.Snapshot(),
	}
}

// root begins a trace, or goes on with a client's that is trusted. The sampler decides on it.
func (t *tracing) root(client trace.SpanContext, name string, kind trace.SpanKind, at time.Time, attrs list, links ...trace.Link) *span {
	if t.recording == nil {
		return t.live(client, false, name, kind, at, attrs, links)
	}
	s := t.span(client, name, kind, at, attrs, links)
	config := trace.SpanContextConfig{TraceID: client.TraceID(), SpanID: newSpanID(), TraceFlags: client.TraceFlags()}
	if !client.IsValid() {
		config.TraceID = newTraceID()
	}
	result := t.recording.sampler.ShouldSample(sdktrace.SamplingParameters{
		ParentContext: trace.ContextWithRemoteSpanContext(context.Background(), client),
		TraceID:       config.TraceID, Name: name, Kind: kind, Attributes: attrs, Links: links,
	})
	config.TraceFlags = config.TraceFlags.WithSampled(result.Decision == sdktrace.RecordAndSample)
	config.TraceState = result.Tracestate
	s.context = trace.NewSpanContext(config)
	s.attrs = append(s.attrs, result.Attributes...)
	return s
}

// child begins a span under one of ours. What a sampler decided on its trace goes for it, too.
func (t *tracing) child(parent trace.SpanContext, name string, kind trace.SpanKind, at time.Time, attrs list, links ...trace.Link) *span {
	if t.recording == nil {
		return t.live(parent, false, name, kind, at, attrs, links)
	}
	s := t.span(parent, name, kind, at, attrs, links)
	s.context = parent.WithSpanID(newSpanID())
	return s
}

// linked begins a trace of a part of a connection that is sampled.
func (t *tracing) linked(name string, kind trace.SpanKind, at time.Time, attrs list, links ...trace.Link) *span {
	if t.recording == nil {
		return t.live(trace.SpanContext{}, true, name, kind, at, attrs, links)
	}
	s := t.span(trace.SpanContext{}, name, kind, at, attrs, links)
	s.context = trace.NewSpanContext(trace.SpanContextConfig{TraceID: newTraceID(), SpanID: newSpanID(), TraceFlags: trace.FlagsSampled})
	return s
}

func (t *tracing) span(parent trace.SpanContext, name string, kind trace.SpanKind, at time.Time, attrs list, links []trace.Link) *span {
	s := &span{ReadOnlySpan: t.recording.blank, by: t.recording, parent: parent, name: name, kind: kind, begun: at, attrs: attrs}
	for _, l := range links {
		s.links = append(s.links, sdktrace.Link{SpanContext: l.SpanContext, Attributes: l.Attributes})
	}
	return s
}

// live has the provider make a span.
func (t *tracing) live(parent trace.SpanContext, linked bool, name string, kind trace.SpanKind, at time.Time, attrs list, links []trace.Link) *span {
	ctx := trace.ContextWithSpanContext(context.Background(), parent)
	if linked {
		ctx = context.WithValue(ctx, linkedKey{}, true)
	}
	_, made := t.tracer.Start(ctx, name, trace.WithSpanKind(kind), trace.WithTimestamp(at), trace.WithAttributes(attrs...), trace.WithLinks(links...))
	return &span{live: made, context: made.SpanContext(), name: name}
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
