package telemetry

import (
	"bytes"
	"context"
	"sync"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protowire"
)

// writtenSpan is a span of ours that is over, in the wire format of opentelemetry/proto/trace/v1.
type writtenSpan struct {
	sdktrace.ReadOnlySpan // the blank one of by: what processors look at
	by                    *recording
	fields                []byte
}

// write leaves nothing in s that is needed any more.
func (s *span) write() *writtenSpan {
	s.wire = appendSpan(s.wire[:0], s)
	return &writtenSpan{s.by.blank, s.by, s.by.pages.clone(s.wire)}
}

// pages has the bytes of spans one behind the other, on pages that live as long as any of them: an allocation for
// some forty spans.
type pages struct {
	mu   sync.Mutex
	free []byte
}

const page = 16 << 10

func (p *pages) clone(b []byte) []byte {
	if len(b) > page/8 {
		return bytes.Clone(b)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(b) > len(p.free) {
		p.free = make([]byte, page)
	}
	n := copy(p.free, b)
	own := p.free[:n:n]
	p.free = p.free[n:]
	return own
}

func isWritten(s sdktrace.ReadOnlySpan) bool {
	_, is := s.(*writtenSpan)
	return is
}

// spansExporter has otlptrace's client send spans that are written already, as the fields unknown to an
// empty Span. A batch that others made goes the usual way; none is of both kinds.
type spansExporter struct {
	*otlptrace.Exporter
	client otlptrace.Client
	spans  []*tracepb.Span // for the export under way: batches come one at a time
}

func newSpansExporter(ctx context.Context, c otlptrace.Client) (*spansExporter, error) {
	e, err := otlptrace.New(ctx, c)
	if err != nil {
		return nil, err
	}
	return &spansExporter{Exporter: e, client: c}, nil
}

// ExportSpans implements sdktrace.SpanExporter.
func (e *spansExporter) ExportSpans(ctx context.Context, all []sdktrace.ReadOnlySpan) error {
	if len(all) == 0 || !isWritten(all[0]) {
		return e.Exporter.ExportSpans(ctx, all)
	}
	for i, s := range all {
		if i == len(e.spans) {
			e.spans = append(e.spans, new(tracepb.Span))
		}
		e.spans[i].ProtoReflect().SetUnknown(s.(*writtenSpan).fields)
	}
	return e.client.UploadTraces(ctx, all[0].(*writtenSpan).by.message(e.spans[:len(all)]))
}

// message is spans with what they have in common.
func (r *recording) message(spans []*tracepb.Span) []*tracepb.ResourceSpans {
	return []*tracepb.ResourceSpans{{
		Resource: resourceMessage(r.resource), SchemaUrl: r.resource.SchemaURL(),
		ScopeSpans: []*tracepb.ScopeSpans{{Scope: scopeMessage(r.scope), Spans: spans, SchemaUrl: r.scope.SchemaURL}},
	}}
}

// Flags of a Span and a Link: that it is known whether the parent is remote, and that it is.
const (
	flagRemoteKnown = uint32(tracepb.SpanFlags_SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK)
	flagRemote      = uint32(tracepb.SpanFlags_SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK)
)

// appendSpan writes the fields of a Span. Their numbers are of opentelemetry/proto/trace/v1/trace.proto.
func appendSpan(b []byte, s *span) []byte {
	b = appendIDs(b, 1, s.context)
	if s.context.TraceState().Len() > 0 {
		b = appendString(b, 3, s.context.TraceState().String())
	}
	if id := s.parent.SpanID(); id.IsValid() {
		b = appendBytes(b, 4, id[:])
	}
	b = appendString(b, 5, s.name)
	b = appendVarint(b, 6, uint64(spanKind(s.kind)))
	b = protowire.AppendTag(b, 7, protowire.Fixed64Type)
	b = protowire.AppendFixed64(b, uint64(s.begun.UnixNano()))
	b = protowire.AppendTag(b, 8, protowire.Fixed64Type)
	b = protowire.AppendFixed64(b, uint64(s.ended.UnixNano()))
	b = appendAttributes(b, 9, s.attrs)
	for _, l := range s.links {
		b = appendMessage(b, 13, func(b []byte) []byte {
			b = appendIDs(b, 1, l.SpanContext)
			b = appendAttributes(b, 4, l.Attributes)
			return appendFlags(b, 6, l.SpanContext.TraceFlags(), l.SpanContext)
		})
	}
	b = appendMessage(b, 15, func(b []byte) []byte {
		if s.status.Code != codes.Error {
			return b
		}
		b = appendString(b, 2, s.status.Description)
		return appendVarint(b, 3, uint64(tracepb.Status_STATUS_CODE_ERROR))
	})
	return appendFlags(b, 16, s.context.TraceFlags(), s.parent)
}

func appendFlags(b []byte, field protowire.Number, f trace.TraceFlags, parent trace.SpanContext) []byte {
	flags := uint32(f) | flagRemoteKnown
	if parent.IsRemote() {
		flags |= flagRemote
	}
	b = protowire.AppendTag(b, field, protowire.Fixed32Type)
	return protowire.AppendFixed32(b, flags)
}

func spanKind(k trace.SpanKind) tracepb.Span_SpanKind {
	switch k {
	case trace.SpanKindServer:
		return tracepb.Span_SPAN_KIND_SERVER
	case trace.SpanKindClient:
		return tracepb.Span_SPAN_KIND_CLIENT
	}
	return tracepb.Span_SPAN_KIND_INTERNAL
}
