//go:build e2e

package e2e

import (
	"context"
	"encoding/hex"
	"testing"
	"time"

	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlptrace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"wsproxy/internal/otlpsink"
)

// sink takes OTLP over HTTP in a collector's place and keeps every byte.
type sink struct {
	*otlpsink.Sink
	address string
}

func startSink(t *testing.T, delay time.Duration) *sink {
	t.Helper()
	s := &sink{Sink: otlpsink.Start()}
	s.Delay.Store(int64(delay))
	t.Cleanup(s.Close)
	s.address = s.Listener.Addr().String()
	return s
}

// spans are all that were exported.
func (s *sink) spans(t *testing.T) (all []*otlptrace.Span) {
	t.Helper()
	var found collectortrace.ExportTraceServiceRequest
	if err := proto.Unmarshal(s.Got(otlpsink.Traces), &found); err != nil {
		t.Fatal(err)
	}
	for _, r := range found.ResourceSpans {
		for _, scope := range r.ScopeSpans {
			all = append(all, scope.Spans...)
		}
	}
	return all
}

// await returns the spans of a trace by their names once one is there.
func (s *sink) await(t *testing.T, id, name string) map[string]*otlptrace.Span {
	t.Helper()
	var found map[string]*otlptrace.Span
	eventually(t, "the span "+name, func(context.Context) error {
		found = make(map[string]*otlptrace.Span)
		for _, span := range s.spans(t) {
			if hex.EncodeToString(span.TraceId) == id {
				found[span.Name] = span
			}
		}
		if found[name] == nil {
			return errNotYet
		}
		return nil
	})
	return found
}
