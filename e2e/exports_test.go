//go:build e2e

package e2e

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlptrace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// sink takes OTLP over HTTP in a collector's place and keeps every byte.
type sink struct {
	address string
	delay   atomic.Int64 // nanoseconds, before it answers

	mu     sync.Mutex
	bodies map[string][]byte // by path
	header http.Header       // of the last request
}

// The paths of OTLP over HTTP.
const (
	pathTraces  = "/v1/traces"
	pathMetrics = "/v1/metrics"
	pathLogs    = "/v1/logs"
)

func startSink(t *testing.T, delay time.Duration) *sink {
	t.Helper()
	s := &sink{bodies: make(map[string][]byte)}
	s.delay.Store(int64(delay))
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.address = server.Listener.Addr().String()
	return s
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err == nil && r.Header.Get("Content-Encoding") == "gzip" {
		var in *gzip.Reader
		if in, err = gzip.NewReader(bytes.NewReader(body)); err == nil {
			body, err = io.ReadAll(in)
		}
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	s.bodies[r.URL.Path] = append(s.bodies[r.URL.Path], body...)
	s.header = r.Header.Clone()
	s.mu.Unlock()
	select {
	case <-time.After(time.Duration(s.delay.Load())):
	case <-r.Context().Done(): // the sender has had enough
	}
}

// got is everything that has arrived for a path.
func (s *sink) got(path string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.bodies[path])
}

// spans are all that were exported. Messages of one type, one behind the other, are one message.
func (s *sink) spans(t *testing.T) (all []*otlptrace.Span) {
	t.Helper()
	var found collectortrace.ExportTraceServiceRequest
	if err := proto.Unmarshal(s.got(pathTraces), &found); err != nil {
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
