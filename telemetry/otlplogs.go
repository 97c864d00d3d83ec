package telemetry

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/trace"
	collogspb "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// writtenEvent is the event name of a record that is written already: its body is that, in the wire format
// of opentelemetry/proto/logs/v1, and it has nothing else of its own.
const writtenEvent = "\x00written"

func isWrittenRecord(r *sdklog.Record) bool { return r.EventName() == writtenEvent }

// logsExporter has the library's exporter send records that are written already. That exporter sends only
// what it makes of records itself: so it is given as many that are empty, which it counts and which are
// little work, and what it makes of them is replaced on its way out: see instead. A batch that others made goes
// the usual way; none is of both kinds.
type logsExporter struct {
	sdklog.Exporter

	// For the export under way: batches come one at a time.
	buf   []byte
	empty []sdklog.Record
}

// newLogsExporter takes what an exporter's New returned, that was told of instead.
func newLogsExporter(e sdklog.Exporter, err error) (sdklog.Exporter, error) {
	if err != nil {
		return nil, err
	}
	return &logsExporter{Exporter: e}, nil
}

// Export implements sdklog.Exporter.
func (e *logsExporter) Export(ctx context.Context, all []sdklog.Record) error {
	if len(all) == 0 || !isWrittenRecord(&all[0]) {
		return e.Exporter.Export(ctx, all)
	}
	if len(e.empty) < len(all) {
		e.empty = make([]sdklog.Record, len(all))
	}
	return e.Exporter.Export(context.WithValue(ctx, insteadKey{}, e.message(all)), e.empty[:len(all)])
}

// message is what was written, with what it has in common.
func (e *logsExporter) message(records []sdklog.Record) *collogspb.ExportLogsServiceRequest {
	e.buf = e.buf[:0]
	for i := range records {
		e.buf = appendString(e.buf, 2, records[i].Body().AsString())
	}
	resource, scope := records[0].Resource(), records[0].InstrumentationScope()
	in := &logspb.ScopeLogs{Scope: scopeMessage(scope), SchemaUrl: scope.SchemaURL}
	in.ProtoReflect().SetUnknown(e.buf)
	return &collogspb.ExportLogsServiceRequest{ResourceLogs: []*logspb.ResourceLogs{{
		Resource: resourceMessage(resource), SchemaUrl: resource.SchemaURL(), ScopeLogs: []*logspb.ScopeLogs{in},
	}}}
}

// exportTimeout is how long the library gives an attempt over HTTP.
const exportTimeout = 10 * time.Second

// insteadKey is where a ctx has the request that is to be sent.
type insteadKey struct{}

// instead is for gRPC.
func instead(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if r := ctx.Value(insteadKey{}); r != nil {
		req = r
	}
	return invoke(ctx, method, req, reply, cc, opts...)
}

// insteadHTTP is for HTTP.
type insteadHTTP struct{ http.RoundTripper }

func (t insteadHTTP) RoundTrip(req *http.Request) (*http.Response, error) {
	r, ok := req.Context().Value(insteadKey{}).(*collogspb.ExportLogsServiceRequest)
	if !ok {
		return t.RoundTripper.RoundTrip(req)
	}
	req.Body.Close()
	body, err := proto.Marshal(r)
	if err != nil {
		return nil, err
	}
	req = req.Clone(req.Context())
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	req.Body, _ = req.GetBody()
	req.ContentLength = int64(len(body))
	return t.RoundTripper.RoundTrip(req)
}

// appendRecord writes the fields of a LogRecord. Their numbers are of opentelemetry/proto/logs/v1/logs.proto.
func appendRecord(b []byte, at, observed time.Time, severity log.Severity, text string, sc trace.SpanContext, name string, attrs []attribute.KeyValue) []byte {
	b = protowire.AppendTag(b, 1, protowire.Fixed64Type)
	b = protowire.AppendFixed64(b, uint64(at.UnixNano()))
	b = appendVarint(b, 2, uint64(severity))
	b = appendString(b, 3, text)
	b = appendBytes(b, 5, nil) // no body
	b = appendAttributes(b, 6, attrs)
	if sc.IsValid() {
		b = protowire.AppendTag(b, 8, protowire.Fixed32Type)
		b = protowire.AppendFixed32(b, uint32(sc.TraceFlags()))
		b = appendIDs(b, 9, sc)
	}
	b = protowire.AppendTag(b, 11, protowire.Fixed64Type)
	b = protowire.AppendFixed64(b, uint64(observed.UnixNano()))
	return appendString(b, 12, name)
}
