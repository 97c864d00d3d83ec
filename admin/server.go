package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"wsproxy/lifecycle"
)

const (
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second // no request has a body worth waiting for
	idleTimeout   = time.Minute
	writeTimeout  = 30 * time.Second // for an answer; profiles take the time asked for on top
	closeTimeout  = time.Second      // for answers under way when Close is called, and again to give up
	maxHeader     = 16 << 10
)

// Server is the admin API. Its fields are set before Start.
type Server struct {
	Registry *lifecycle.Registry
	System   *lifecycle.System

	// Metrics answers /metrics; nil: 404.
	Metrics http.Handler

	// Access says who may use the port. SetAccess changes it.
	Access Access

	// Address is the configured one. Its host is a legal Host header, besides the listener's own.
	Address string

	Version string

	// Logs has its levels shown and changed; nil: it has none.
	Logs Logs

	// Egress tells of the egress proxies. Nil: there are none.
	Egress func() []lifecycle.EgressStatus

	// Workers tells of the event loops. Nil: there are none.
	Workers func() []lifecycle.Worker

	// Control changes the process, Events are what /api/events and /api/stream tell. Nil: 404.
	Control Control
	Events  *Events

	// Upstreams tells of the targets. Nil: there are none.
	Upstreams func() []lifecycle.UpstreamStatus

	// Log gets panics and the HTTP server's own complaints; nil: nobody does.
	Log *slog.Logger

	access atomic.Pointer[Access]

	mu        sync.Mutex
	listener  net.Listener
	http      *http.Server
	closed    chan struct{} // made by the first Close, closed when it is through
	closeErr  error         // of that one
	end       chan struct{} // closed at the beginning of Close; nil before Start
	serving   sync.WaitGroup
	streams   atomic.Int32
	streaming sync.WaitGroup
	clients   sync.WaitGroup // connections; added to only while serving
}

// Start serves on l, which is the server's from now on. Only the first call does; a later one, and one
// after Close, closes l.
func (s *Server) Start(l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == l {
		return
	}
	if s.listener != nil || s.closed != nil {
		l.Close()
		return
	}
	s.listener, s.end = l, make(chan struct{})
	if s.Events != nil {
		s.System.Observe(s.Events.State)
	}
	s.access.CompareAndSwap(nil, &s.Access)
	s.http = &http.Server{
		Handler:           s.handler(l.Addr()),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.log().Handler(), slog.LevelWarn),
		ConnState:         s.count,
	}
	s.serving.Go(func() {
		if err := s.http.Serve(secured{l, &s.access}); !errors.Is(err, http.ErrServerClosed) {
			s.log().Error("admin listener failed", "address", l.Addr().String(), "error", err)
		}
	})
}

func (s *Server) count(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.clients.Add(1)
	case http.StateClosed, http.StateHijacked:
		s.clients.Done()
	}
}

// Close lets answers under way finish for a second and cuts off the rest. Its error tells of one that
// would not end even so.
func (s *Server) Close() error {
	s.mu.Lock()
	first := s.closed == nil
	if first {
		s.closed = make(chan struct{})
		if s.end != nil {
			close(s.end)
		}
	}
	s.mu.Unlock()
	if first {
		s.closeErr = s.stop()
		close(s.closed)
	}
	<-s.closed
	return s.closeErr
}

func (s *Server) stop() error {
	if s.http == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		s.http.Close()
	}
	s.serving.Wait()
	s.streaming.Wait()
	gone := make(chan struct{})
	go func() {
		s.clients.Wait()
		close(gone)
	}()
	select {
	case <-gone:
		return nil
	case <-time.After(closeTimeout):
		return errors.New("close admin server: a request does not end")
	}
}

// ending is closed when the server closes.
func (s *Server) ending() <-chan struct{} { return s.end }

func (s *Server) log() *slog.Logger {
	if s.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Log
}

func (s *Server) handler(at net.Addr) http.Handler {
	next, change := s.routes()
	guard := &guard{access: &s.access, hosts: legalHosts(at, s.Address), change: change, next: next}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := &answerWriter{ResponseWriter: w}
		defer s.rescue(answer, r)
		// Not the server's WriteTimeout, because net/http/pprof refuses profiles longer than that.
		http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cross-Origin-Resource-Policy", "same-origin")
		guard.ServeHTTP(answer, r)
	})
}

// rescue answers 500 to a request that panicked, or breaks an answer off that has begun.
func (s *Server) rescue(w *answerWriter, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if p != http.ErrAbortHandler {
		s.log().Error("admin request panicked", "path", r.URL.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	}
	if w.begun || p == http.ErrAbortHandler {
		panic(http.ErrAbortHandler)
	}
	clear(w.Header()) // they were of another answer
	problem{Status: http.StatusInternalServerError}.write(w)
}

// page is a path of the API.
type page struct {
	path, about string
	answer      http.HandlerFunc
}

func (s *Server) pages() []page {
	return []page{
		{"/healthz", "200 while the process runs", s.healthz},
		{"/readyz", "200 while new connections are welcome, else 503", s.readyz},
		{"/metrics", "metrics in Prometheus's format", s.metrics},
		{"/api/state", "the process: its state and how it came there, connections by phase, resources", s.state},
		{"/api/connections", "live connections; route, upstream, phase, client, sort (age, bytes, -age, -bytes), limit, cursor", s.connections},
		{"/api/connections/{id}", "one live connection", s.connection},
		{"/api/connections/{id}/tap", "a WebSocket: the headers of a connection's frames as they pass", s.tap},
		{"/api/egress", "egress proxies, and what dials through them have shown", s.egress},
		{"/api/routes", "routes in force, with their open connections", s.routesInForce},
		{"/api/events", "the latest ends of connections, with their phases; limit", s.events},
		{"/api/stream", "a WebSocket: connections opened, closed and failed, and states of the process, as they happen", s.stream},
		{"/api/log-level", "what is logged; PUT changes the levels that are given", s.logLevel},
		{"/api/upstreams", "targets: state, addresses, open connections, the latest check", s.upstreams},
		{"/api/openapi.json", "this API as an OpenAPI document", s.openAPI},
		{"/debug/pprof/", "profiles, for go tool pprof", profiles},
	}
}

// changes are the requests that change something, as "METHOD /path".
func (s *Server) changes() []page {
	all := []page{
		{"PUT /api/log-level", "changes the levels that are given", s.logLevel},
		{"DELETE /api/connections", "closes the connections that route, upstream, phase and client find; code, reason", s.closeMany},
		{"DELETE /api/connections/{id}", "closes a connection; code, reason", s.closeOne},
	}
	if s.Control != nil {
		all = append(all,
			page{"POST /api/reload", "reads the configuration again", s.reload},
			page{"POST /api/drain", "asks open connections to leave, of a route, an upstream, or a share", s.drain})
	}
	return all
}

// routes makes the handler of all requests, and the one that knows only the changes.
func (s *Server) routes() (all http.Handler, change *http.ServeMux) {
	mux, change := http.NewServeMux(), http.NewServeMux()
	for _, p := range s.pages() {
		mux.HandleFunc(p.path, p.answer)
	}
	for _, p := range s.changes() {
		mux.HandleFunc(p.path, p.answer)
		change.HandleFunc(p.path, p.answer)
	}
	mux.HandleFunc("/{$}", s.index)
	mux.HandleFunc("/", notFound)
	return mux, change
}

func (s *Server) index(w http.ResponseWriter, _ *http.Request) {
	type entry struct {
		Path  string `json:"path"`
		About string `json:"about"`
	}
	var all []entry
	for _, p := range append(s.pages(), s.changes()...) {
		all = append(all, entry{p.path, p.about})
	}
	writeJSON(w, list[entry]{Items: all})
}

func (s *Server) metrics(w http.ResponseWriter, r *http.Request) {
	if s.Metrics == nil {
		problem{Status: http.StatusNotFound, Detail: "metrics are not exported here"}.write(w)
		return
	}
	s.Metrics.ServeHTTP(w, r)
}

func notFound(w http.ResponseWriter, _ *http.Request) {
	problem{Status: http.StatusNotFound, Detail: "the paths there are: GET /"}.write(w)
}
