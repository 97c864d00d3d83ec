// Package otlpsink takes OTLP over HTTP in a collector's place and keeps every byte, for tests. It does not read
// what it takes.
package otlpsink

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"time"
)

// The paths of OTLP over HTTP.
const (
	Traces  = "/v1/traces"
	Metrics = "/v1/metrics"
	Logs    = "/v1/logs"
)

// Sink is a collector on loopback. Close ends it.
type Sink struct {
	*httptest.Server
	Delay atomic.Int64 // nanoseconds, before it takes what it got; a sender that has left by then has sent nothing

	mu     sync.Mutex
	bodies map[string][]byte // by path
	header http.Header       // of the last request
}

// Start begins to take what is sent to URL.
func Start() *Sink {
	s := &Sink{bodies: make(map[string][]byte)}
	s.Server = httptest.NewServer(s)
	return s
}

// ServeHTTP takes one export.
func (s *Sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
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
	select {
	case <-time.After(time.Duration(s.Delay.Load())):
	case <-r.Context().Done(): // the sender has had enough
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bodies[r.URL.Path] = append(s.bodies[r.URL.Path], body...)
	s.header = r.Header.Clone()
}

// Got is everything that has arrived for a path; for all of them if it is empty. Messages of one type, one behind
// the other, are one message.
func (s *Sink) Got(path string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if path != "" {
		return bytes.Clone(s.bodies[path])
	}
	var all []byte
	for _, b := range s.bodies {
		all = append(all, b...)
	}
	return all
}

// Header is that of the last request.
func (s *Sink) Header() http.Header {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.header
}
