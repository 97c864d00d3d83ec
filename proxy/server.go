package proxy

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"wsproxy/lifecycle"
	"wsproxy/proxy/relay"
)

// Server proxies what its listeners accept. Its fields are set before Serve.
type Server struct {
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

	// RetryAfter is what clients are told when we are draining. Zero: 5 s.
	RetryAfter time.Duration

	draining atomic.Bool
	drain    atomic.Pointer[Drain] // of which every connection was told that was open then

	mu        sync.Mutex // guards below
	mux       *http.ServeMux
	listeners []*listener
	closed    bool
	serving   sync.WaitGroup  // every goroutine and every connection that net/http has
	ctx       context.Context // of all requests; ends with Close
	cancel    context.CancelCauseFunc
}

// Listener is a bound socket and how its clients are treated.
type Listener struct {
	net.Listener

	TLS            *tls.Config    // nil: plain
	TrustedProxies []netip.Prefix // hops whose forwarding headers are believed
	TrustTrace     bool           // the incoming trace context may be the parent
}

const (
	headerBytes    = 16 << 10 // of a request or response head
	headTimeout    = 10 * time.Second
	tlsTimeout     = 10 * time.Second
	idleTimeout    = 2 * time.Minute // between the requests of a plain HTTP connection
	refusalTimeout = time.Second     // to write an answer on a connection that is being closed, and for the client to read it
	lingerBytes    = 256 << 10       // that such a client may still send
)

// Compile checks the routes and makes them ready. It is called once, before the first Serve.
func (s *Server) Compile() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.compile()
}

func (s *Server) compile() error {
	mux := http.NewServeMux()
	for _, r := range s.Routes {
		if err := r.compile(s); err != nil {
			return err
		}
		if err := r.register(mux); err != nil {
			return err
		}
	}
	s.mux = mux
	return nil
}

// Serve accepts on l until Close. It returns nil after Close, else what broke the listener.
func (s *Server) Serve(l Listener) error {
	in := newListener(s, l)
	h := &http.Server{
		Handler:                      http.HandlerFunc(s.serveHTTP),
		ReadHeaderTimeout:            headTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               headerBytes,
		BaseContext:                  func(net.Listener) context.Context { return s.ctx },
		ConnState:                    s.connState,
		ConnContext:                  connContext,
		ErrorLog:                     slog.NewLogLogger(s.log().Handler(), slog.LevelDebug),
		DisableGeneralOptionsHandler: true,
		Protocols:                    new(http.Protocols),
	}
	h.Protocols.SetHTTP1(true)
	in.http = h
	ok, err := s.add(in)
	if !ok {
		l.Close()
		return err
	}
	defer s.serving.Done()
	s.serving.Go(in.accept)
	err = h.Serve(in)
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// add takes up a listener, unless the server is closed or its routes are bad. While it serves it
// counts as a goroutine of the server.
func (s *Server) add(l *listener) (ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false, nil
	}
	if s.mux == nil {
		if err := s.compile(); err != nil {
			return false, err
		}
	}
	if s.ctx == nil {
		s.ctx, s.cancel = context.WithCancelCause(context.Background())
	}
	s.listeners = append(s.listeners, l)
	s.serving.Add(1)
	return true, nil
}

// Close stops accepting and ends every connection that is not yet upgraded. Upgraded ones belong to
// the engine. It returns when no goroutine of the server is left.
func (s *Server) Close() error {
	s.draining.Store(true)
	s.mu.Lock()
	s.closed = true
	listeners, cancel := s.listeners, s.cancel
	s.mu.Unlock()
	if cancel != nil {
		cancel(lifecycle.Fail(lifecycle.ReasonCanceled, errShutDown))
	}
	var errs []error
	for _, l := range listeners {
		errs = append(errs, l.Close(), l.http.Close())
	}
	s.serving.Wait()
	for _, r := range s.Routes {
		if r.idle != nil {
			r.idle()
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
	}
}
