package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"time"

	"wsproxy/lifecycle"
)

// servePlain handles a request that is not an upgrade. It has no connection record: its observer is an
// HTTP one.
func (s *Server) servePlain(w http.ResponseWriter, r *http.Request, in *inbound) {
	if !in.admit(seatPlain, false) {
		s.refusePlain(w, lifecycle.Fail(lifecycle.ReasonConnectionLimit, nil))
		return
	}
	defer in.seat.keep(seatIdle)
	if s.room.crowded() {
		w.Header().Set("Connection", "close")
	}
	route := s.table.Load().route(r)
	if route == nil {
		http.Error(w, "no route for this host and path", http.StatusNotFound)
		return
	}
	o := in.listener.origin(r)
	admission, err := route.admit(r.Context(), r, o, in)
	if err != nil {
		s.refusePlain(w, failure(err))
		return
	}
	if admission != nil {
		r = admission.Forward
	}
	s.serveObserved(route.plain, w, r, &visit{origin: o, in: in, admission: admission, route: route})
}

// serveObserved gives a handler what its observer looks for.
func (s *Server) serveObserved(h http.Handler, w http.ResponseWriter, r *http.Request, v *visit) {
	ctx := context.WithValue(r.Context(), visitKey{}, v)
	if s.Propagator != nil {
		ctx = s.Propagator.Extract(ctx, r.Header)
	}
	if v.route != nil {
		ctx = lifecycle.AllowBaggage(ctx, v.route.Baggage)
	}
	h.ServeHTTP(w, r.WithContext(ctx))
}

// refusePlain answers a request that is not had, and closes.
func (s *Server) refusePlain(w http.ResponseWriter, f *lifecycle.Failure) {
	status := statusFor(f)
	h := w.Header()
	h.Set("Connection", "close")
	h.Set("Cache-Control", "no-store")
	s.explain(h, f, status)
	http.Error(w, f.Reason.String(), status)
}

type visitKey struct{}

func visitOf(r *http.Request) *visit { return r.Context().Value(visitKey{}).(*visit) }

func trustedTrace(r *http.Request) bool { return visitOf(r).origin.trustTrace }

// newPlain makes the handler of a route's plain requests; idle closes the connections that it keeps.
func newPlain(s *Server, r *Route) (h http.Handler, idle func()) {
	h, idle = http.HandlerFunc(upgradeRequired), func() {}
	if !r.RejectHTTP {
		p := &plain{server: s, route: r, propagator: s.Propagator, log: s.log(), transports: make(map[string]*http.Transport)}
		h, idle = p, p.closeIdle
	}
	if s.HTTP != nil {
		h = s.HTTP(r, trustedTrace, h)
	}
	return h, idle
}

func upgradeRequired(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Upgrade", "websocket")
	h.Set("Connection", "Upgrade")
	h.Set("Sec-WebSocket-Version", "13")
	http.Error(w, "this route serves WebSockets only", http.StatusUpgradeRequired)
}

// plain passes requests on over the dialler that the route's WebSockets use.
type plain struct {
	server     *Server
	route      *Route
	propagator lifecycle.Propagator
	log        *slog.Logger

	mu         sync.Mutex
	transports map[string]*http.Transport // by target's id
}

func (p *plain) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v := visitOf(r)
	target, lease, ok := p.route.Upstream.Pick(Choice{Request: r, Client: v.origin.client})
	if !ok {
		w.Header().Set("Retry-After", p.server.retryAfter(lifecycle.Fail(lifecycle.ReasonNoUpstream, nil)))
		http.Error(w, "no upstream", http.StatusServiceUnavailable)
		return
	}
	defer lease.Failed(nil)
	rp := &httputil.ReverseProxy{
		Transport: p.transport(target),
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.Out.URL.Scheme, pr.Out.URL.Host = "http", target.Host
			pr.Out.Header.Del("Upgrade") // to h2c, say: what came of it would pass unseen
			pr.Out.Header.Del("Connection")
			pr.Out.Host = pr.In.Host
			if p.route.OwnHost {
				pr.Out.Host = target.Host
			}
			for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"} {
				pr.Out.Header[name] = pr.In.Header[name] // Rewrite has taken them out
			}
			v.origin.forward(pr.Out.Header, pr.In)
			v.request(pr.Out.Header)
			if p.propagator != nil {
				p.propagator.Inject(pr.Out.Context(), pr.Out.Header)
			}
		},
		ModifyResponse: func(resp *http.Response) error {
			v.response(resp.Header)
			lease.Opened()
			target.setCookie(resp.Header, v.origin)
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if f, ok := errors.AsType[*lifecycle.Failure](err); ok {
				lease.Failed(f)
			}
			p.failed(w, r, err)
		},
		ErrorLog: slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
	}
	rp.ServeHTTP(w, r)
}

// transport keeps the connections to one target. The dialler does TLS itself, so to net/http all is
// plain.
func (p *plain) transport(t Target) *http.Transport {
	p.mu.Lock()
	defer p.mu.Unlock()
	tr := p.transports[t.id()]
	if tr == nil {
		p.makeRoom()
		tr = &http.Transport{
			DialContext:           func(ctx context.Context, _, _ string) (net.Conn, error) { return p.dial(ctx, t) },
			MaxIdleConnsPerHost:   32,
			IdleConnTimeout:       90 * time.Second,
			ResponseHeaderTimeout: time.Minute,
			DisableCompression:    true, // bodies pass as they are
			DisableKeepAlives:     t.Single,
		}
		p.transports[t.id()] = tr
	}
	return tr
}

// dial opens a connection that may outlive the request, so it is counted by itself.
func (p *plain) dial(ctx context.Context, t Target) (net.Conn, error) {
	room := p.server.room
	if !room.socket(1) {
		p.closeIdle()
		if !room.socket(1) {
			return nil, lifecycle.Fail(lifecycle.ReasonConnectionLimit, nil)
		}
	}
	c, err := t.Dial(ctx)
	if err != nil {
		room.socket(-1)
		return nil, err
	}
	return &countedConn{Conn: c, closed: sync.OnceFunc(func() { room.socket(-1) })}, nil
}

// countedConn is a socket to a target that the room counts.
type countedConn struct {
	net.Conn
	closed func()
}

func (c *countedConn) Close() error {
	defer c.closed()
	return c.Conn.Close()
}

// transportsKept is for targets whose addresses come and go.
const transportsKept = 256

// makeRoom gives up some transport when there are too many; its requests under way go on.
func (p *plain) makeRoom() {
	for id, tr := range p.transports {
		if len(p.transports) < transportsKept {
			return
		}
		tr.CloseIdleConnections()
		delete(p.transports, id)
	}
}

func (p *plain) closeIdle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range p.transports {
		t.CloseIdleConnections()
	}
}

func (p *plain) failed(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		panic(http.ErrAbortHandler) // the client has left
	}
	status := http.StatusBadGateway
	if f, ok := errors.AsType[*lifecycle.Failure](err); ok {
		status = statusFor(f)
	} else if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		status = http.StatusGatewayTimeout
	}
	p.log.Debug("plain request failed", "route", p.route.Name, "error", err)
	http.Error(w, http.StatusText(status), status)
}
