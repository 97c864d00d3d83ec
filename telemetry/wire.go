package telemetry

import (
	"math"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/trace"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/protobuf/encoding/protowire"
)

// What spans and log records have in common in OTLP's wire format. A message for every attribute and every value, as the
// exporters make them, costs more than the spans and the records themselves.

func resourceMessage(r *resource.Resource) *resourcepb.Resource {
	m := new(resourcepb.Resource)
	m.ProtoReflect().SetUnknown(appendAttributes(nil, 1, r.Attributes()))
	return m
}

func scopeMessage(s instrumentation.Scope) *commonpb.InstrumentationScope {
	return &commonpb.InstrumentationScope{Name: s.Name, Version: s.Version}
}

// appendIDs writes the ids of c as two fields, the span's behind the trace's.
func appendIDs(b []byte, field protowire.Number, c trace.SpanContext) []byte {
	traceID, spanID := c.TraceID(), c.SpanID()
	b = appendBytes(b, field, traceID[:])
	return appendBytes(b, field+1, spanID[:])
}

// appendAttributes writes a repeated KeyValue (opentelemetry/proto/common/v1/common.proto); field is below 16.
func appendAttributes(b []byte, field protowire.Number, attrs []attribute.KeyValue) []byte {
	for i := range attrs {
		a := &attrs[i]
		if n := size(&a.Value); n > 0 && 4+len(a.Key)+n < 0x80 { // every length takes one byte
			b = append(b, byte(field)<<3|byte(protowire.BytesType), byte(4+len(a.Key)+n), keyTag, byte(len(a.Key)))
			b = append(b, a.Key...)
			b = appendValue(append(b, valueTag, byte(n)), &a.Value)
			continue
		}
		b = appendMessage(b, field, func(b []byte) []byte {
			b = appendString(b, 1, string(a.Key))
			return appendMessage(b, 2, func(b []byte) []byte { return appendValue(b, &a.Value) })
		})
	}
	return b
}

// The tags of a KeyValue's fields.
const (
	keyTag   = 1<<3 | byte(protowire.BytesType)
	valueTag = 2<<3 | byte(protowire.BytesType)
)

// size is how many bytes appendValue writes, 0 if that is not known before or many.
func size(v *attribute.Value) int {
	switch v.Type() {
	case attribute.BOOL:
		return 2
	case attribute.INT64:
		return 1 + protowire.SizeVarint(uint64(v.AsInt64()))
	case attribute.FLOAT64:
		return 9
	case attribute.STRING:
		if n := len(v.AsString()); n < 0x80 {
			return 2 + n
		}
	}
	return 0
}

// appendValue writes an AnyValue. Attributes of ours have no other types; of an unknown one the text is
// written.
func appendValue(b []byte, v *attribute.Value) []byte {
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
