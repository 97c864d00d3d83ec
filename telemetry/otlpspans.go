package telemetry

import (
	"context"
	"errors"
	"math"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protowire"
)

// spansExporter exports our spans without a message for every attribute and every value, which cost more
// than the spans themselves: it writes them in the wire format of opentelemetry/proto/trace/v1 and has
// otlptrace's client send them, as the fields unknown to an empty Span. What others made goes the usual
// way.
type spansExporter struct {
	*otlptrace.Exporter
	client otlptrace.Client

	// Of the export under way. Batches come one at a time.
	buf   []byte
	ends  []int
	spans []tracepb.Span
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
	var by *recording
	var others []sdktrace.ReadOnlySpan
	e.buf, e.ends = e.buf[:0], e.ends[:0]
	for _, s := range all {
		ours, ok := s.(*span)
		if !ok {
			others = append(others, s)
			continue
		}
		by = ours.by
		e.buf = appendSpan(e.buf, ours)
		e.ends = append(e.ends, len(e.buf))
	}
	var errs []error
	if len(others) > 0 {
		errs = append(errs, e.Exporter.ExportSpans(ctx, others))
	}
	if by != nil {
		errs = append(errs, e.client.UploadTraces(ctx, e.message(by)))
	}
	return errors.Join(errs...)
}

// message is what was written, with what it has in common.
func (e *spansExporter) message(by *recording) []*tracepb.ResourceSpans {
	if len(e.spans) < len(e.ends) {
		e.spans = make([]tracepb.Span, len(e.ends))
	}
	list := make([]*tracepb.Span, len(e.ends))
	begin := 0
	for i, end := range e.ends {
		list[i] = &e.spans[i]
		list[i].ProtoReflect().SetUnknown(e.buf[begin:end:end])
		begin = end
	}
	resource := new(resourcepb.Resource)
	resource.ProtoReflect().SetUnknown(appendAttributes(nil, 1, by.resource.Attributes()))
	return []*tracepb.ResourceSpans{{
		Resource: resource, SchemaUrl: by.resource.SchemaURL(),
		ScopeSpans: []*tracepb.ScopeSpans{{
			Scope: &commonpb.InstrumentationScope{Name: by.scope.Name, Version: by.scope.Version},
			Spans: list, SchemaUrl: by.scope.SchemaURL,
		}},
	}}
}

// Flags of a Span and a Link: that it is known whether the parent is remote, and that it is.
const (
	flagRemoteKnown = uint32(tracepb.SpanFlags_SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK)
	flagRemote      = uint32(tracepb.SpanFlags_SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK)
)

// appendSpan writes the fields of a Span. Their numbers are of opentelemetry/proto/trace/v1/trace.proto.
func appendSpan(b []byte, s *span) []byte {
	b = appendIDs(b, s.context)
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
			b = appendIDs(b, l.SpanContext)
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

// appendIDs writes the first two fields of a Span or a Link.
func appendIDs(b []byte, c trace.SpanContext) []byte {
	traceID, spanID := c.TraceID(), c.SpanID()
	b = appendBytes(b, 1, traceID[:])
	return appendBytes(b, 2, spanID[:])
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

// appendAttributes writes a repeated KeyValue (opentelemetry/proto/common/v1/common.proto).
func appendAttributes(b []byte, field protowire.Number, attrs []attribute.KeyValue) []byte {
	for i := range attrs {
		b = appendMessage(b, field, func(b []byte) []byte {
			b = appendString(b, 1, string(attrs[i].Key))
			return appendMessage(b, 2, func(b []byte) []byte { return appendValue(b, attrs[i].Value) })
		})
	}
	return b
}

// appendValue writes an AnyValue. Attributes of ours have no other types; of an unknown one the text is
// written.
func appendValue(b []byte, v attribute.Value) []byte {
	switch v.Type() {
	case attribute.BOOL:
		return appendVarint(b, 2, protowire.EncodeBool(v.AsBool()))
	case attribute.INT64:
		return appendVarint(b, 3, uint64(v.AsInt64()))
	case attribute.FLOAT64:
		b = protowire.AppendTag(b, 4, protowire.Fixed64Type)
		return protowire.AppendFixed64(b, math.Float64bits(v.AsFloat64()))
	case attribute.STRINGSLICE:
		return appendMessage(b, 5, func(b []byte) []byte {
			for _, s := range v.AsStringSlice() {
				b = appendMessage(b, 1, func(b []byte) []byte { return appendString(b, 1, s) })
			}
			return b
		})
	case attribute.STRING:
		return appendString(b, 1, v.AsString())
	}
	return appendString(b, 1, v.String())
}

// appendMessage writes a field whose length is known only behind it. Most are below 128 bytes, which
// takes one; others are moved.
func appendMessage(b []byte, field protowire.Number, write func([]byte) []byte) []byte {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	begin := len(b) + 1
	b = write(append(b, 0))
	n := len(b) - begin
	if n < 0x80 {
		b[begin-1] = byte(n)
		return b
	}
	more := protowire.SizeVarint(uint64(n)) - 1
	for range more {
		b = append(b, 0)
	}
	copy(b[begin+more:], b[begin:begin+n])
	protowire.AppendVarint(b[:begin-1], uint64(n))
	return b
}

func appendString(b []byte, field protowire.Number, s string) []byte {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return protowire.AppendString(b, s)
}

func appendBytes(b []byte, field protowire.Number, v []byte) []byte {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return protowire.AppendBytes(b, v)
}

func appendVarint(b []byte, field protowire.Number, v uint64) []byte {
	b = protowire.AppendTag(b, field, protowire.VarintType)
	return protowire.AppendVarint(b, v)
}
