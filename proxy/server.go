package proxy

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"hash/maphash"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"wsproxy/lifecycle"
	"wsproxy/proxy/relay"
)

// Server proxies what its listeners accept. Its fields are set before Serve.
type Server struct {
	// Routes are those of the first table, made by Compile. Use replaces them all.
	Routes   []*Route
	Registry *lifecycle.Registry
	Engine   relay.Engine

	// Propagator carries the trace context. Nil: headers pass as they are.
	Propagator lifecycle.Propagator

	// HTTP wraps what handles a route's requests that are not upgrades, to observe it. trusted says
	// whether a request's trace context may be the parent. Nil: nothing.
	HTTP func(route *Route, trusted func(*http.Request) bool, next http.Handler) http.Handler

	// Log gets what no connection's record tells. Nil: slog.Default.
	Log *slog.Logger

	// Capacity is how much is taken on.
	Capacity Capacity

	// RetryAfter is what clients are told whom we can't serve now. Zero: 5 s. While a drain goes on they are
	// told its spread.
	RetryAfter time.Duration

	table    atomic.Pointer[Table]
	draining atomic.Pointer[Drain] // new upgrades are refused
	drain    atomic.Pointer[Drain] // of which every connection was told that was open then

	seeded sync.Once
	seed   maphash.Seed // of clients' identities

	mu        sync.Mutex // guards below
	room      *room
	sockets   []*socket
	listeners []*listener // and those whose socket has another one now
	closed    bool
	answering sync.WaitGroup  // requests that a handler has
	serving   sync.WaitGroup  // every goroutine and every connection that net/http has
	retiring  sync.WaitGroup  // listeners without a socket that still have clients
	ctx       context.Context // of all requests; ends with Close
	cancel    context.CancelCauseFunc
}

// Listener is a bound socket and how its clients are treated.
type Listener struct {
	net.Listener

	TLS            *tls.Config    // nil: plain
	TrustedProxies []netip.Prefix // hops whose forwarding headers are believed
	TrustTrace     bool           // the incoming trace context may be the parent
	Forward        *Forward       // nil: requests go where Routes say

	// ProxyProtocol wants a PROXY header, of version 1 or 2, before all else and from TrustedProxies
	// only. Clients then have the address that it tells; a connection without one is closed.
	ProxyProtocol bool

	// Limiter bounds what comes in here. Nil: nothing does.
	Limiter Limiter
}

const (
	headerBytes    = 16 << 10 // of a request or response head
	headTimeout    = 10 * time.Second
	tlsTimeout     = 10 * time.Second
	idleTimeout    = 2 * time.Minute // between the requests of a plain HTTP connection
	refusalTimeout = time.Second     // to write an answer on a connection that is being closed, and for the client to read it
	lingerBytes    = 256 << 10       // that such a client may still send
)

// Compile makes the first table, of Routes. It is called before the first Serve, which otherwise does it.
func (s *Server) Compile() error {
	generation := 0
	if s.Registry != nil {
		generation = s.Registry.Generation()
	}
	t, err := s.NewTable(generation, s.Routes)
	if err == nil {
		s.Use(t)
	}
	return err
}

// Serve accepts on l until Close or Leave, after which it returns nil. Any other end is its error.
func (s *Server) Serve(l Listener) error {
	serve, err := s.Open(l)
	if err != nil {
		return err
	}
	return serve()
}

// Open takes up a listener, unless the server is closed. What it returns serves it, as Serve does, and is
// called once.
func (s *Server) Open(l Listener) (serve func() error, err error) {
	if s.table.Load() == nil {
		if err := s.Compile(); err != nil {
			return nil, err
		}
	}
	sock := &socket{Listener: l.Listener, server: s, left: make(chan struct{})}
	in := newListener(s, l)
	sock.to = in
	if !s.add(sock, in) {
		l.Close()
		return func() error { return nil }, nil
	}
	return sock.serve, nil
}

// add takes up a listener, and its socket if that is new, unless the server is closed.
func (s *Server) add(sock *socket, l *listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if s.ctx == nil {
		s.room = newRoom(s.Capacity)
		s.ctx, s.cancel = context.WithCancelCause(context.Background())
	}
	if l.Forward != nil {
		l.Forward.compile(s)
	}
	if sock != nil {
		s.sockets = append(s.sockets, sock)
	}
	s.listeners = append(s.listeners, l)
	s.serving.Go(func() { l.http.Serve(l) })
	return true
}

// Change has the clients that l.Listener, which is being served, accepts from now on treated as l says.
// Those before are treated as they were; of their plain HTTP connections, which may have further requests,
// the idle ones are closed.
func (s *Server) Change(l Listener) {
	s.mu.Lock()
	i := slices.IndexFunc(s.sockets, func(sock *socket) bool { return sock.Listener == l.Listener })
	var sock *socket
	if i >= 0 {
		sock = s.sockets[i]
	}
	s.mu.Unlock()
	in := newListener(s, l)
	if sock != nil && s.add(nil, in) {
		s.retire(sock.turn(in))
	}
}

// Leave closes l's socket. Whoever was accepted goes on: TLS handshakes, requests, open connections.
func (s *Server) Leave(l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sockets = slices.DeleteFunc(s.sockets, func(sock *socket) bool {
		if sock.Listener != l {
			return false
		}
		s.retiring.Add(1) // until its listener counts
		sock.awaited = true
		sock.leave()
		return true
	})
}

// LeaveAll is Leave for every socket.
func (s *Server) LeaveAll() {
	s.mu.Lock()
	sockets := slices.Clone(s.sockets)
	s.mu.Unlock()
	for _, sock := range sockets {
		s.Leave(sock.Listener)
	}
}

// AwaitLeft returns when no client is left, other than upgraded ones, that came through a socket that was
// left, or with ctx's error.
func (s *Server) AwaitLeft(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		s.retiring.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// enter counts a goroutine of the server, unless that is closed.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.serving.Add(1)
	}
	return !s.closed
}

// answer counts a request that a handler has, unless the server is closed: nobody waits for it then.
func (s *Server) answer() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.answering.Add(1)
	}
	return !s.closed
}

// awaitAnswers gives the requests under way, whose context has ended, a moment to be answered.
func (s *Server) awaitAnswers() {
	answered := make(chan struct{})
	go func() {
		s.answering.Wait()
		close(answered)
	}()
	select {
	case <-answered:
	case <-time.After(refusalTimeout):
	}
}

// retire lets a listener that gets no new clients end when it has none.
func (s *Server) retire(l *listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || l == nil {
		return
	}
	s.retiring.Add(1)
	s.serving.Go(func() {
		defer s.retiring.Done()
		l.leave()
		if l.Forward != nil {
			l.Forward.idle()
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.listeners = slices.DeleteFunc(s.listeners, func(o *listener) bool { return o == l && !s.closed })
	})
}

// Close stops accepting and ends every connection that is not yet upgraded, with an answer. Upgraded ones
// belong to the engine. It returns when no goroutine of the server is left.
func (s *Server) Close() error {
	s.draining.CompareAndSwap(nil, new(Drain))
	s.mu.Lock()
	s.closed = true
	sockets, listeners, cancel := s.sockets, s.listeners, s.cancel
	s.mu.Unlock()
	if cancel != nil {
		cancel(lifecycle.Fail(lifecycle.ReasonCanceled, errShutDown))
	}
	var errs []error
	for _, sock := range sockets {
		errs = append(errs, sock.leave())
	}
	s.awaitAnswers()
	for _, l := range listeners {
		errs = append(errs, l.Close(), l.http.Close())
	}
	s.serving.Wait()
	if t := s.table.Load(); t != nil {
		t.closeIdle(nil)
	}
	for _, l := range listeners {
		if l.Forward != nil {
			l.Forward.idle()
		}
	}
	return errors.Join(errs...)
}

var errShutDown = errors.New("the proxy is shutting down")

func (s *Server) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

func (s *Server) log() *slog.Logger { return cmp.Or(s.Log, slog.Default()) }

type inboundKey struct{}

func connContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, inboundKey{}, c.(*inbound))
}

// connState follows what net/http does with a connection.
func (s *Server) connState(c net.Conn, state http.ConnState) {
	in := c.(*inbound)
	switch state {
	case http.StateNew:
		s.serving.Add(1)
		if s.isClosed() { // too late for net/http's own Close to see it
			in.Close()
		}
	case http.StateIdle:
		in.idle()
	case http.StateHijacked, http.StateClosed:
		s.serving.Done()
		in.listener.busy.Done()
	}
}
