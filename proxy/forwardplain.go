package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"time"

	"wsproxy/lifecycle"
)

// forwardPlain passes requests in absolute form on that are not upgrades.
type forwardPlain struct {
	server *Server
	*Forward
	transport *http.Transport
}

// newForwardPlain makes the handler of plain requests; idle closes the connections that it keeps. It
// may keep few of them: the targets are everybody's choice.
func newForwardPlain(s *Server, fw *Forward) (h http.Handler, idle func()) {
	p := &forwardPlain{server: s, Forward: fw, transport: &http.Transport{
		DialContext:           fw.dialPlain,
		MaxIdleConns:          256,
		MaxIdleConnsPerHost:   4,
		IdleConnTimeout:       30 * time.Second,
		ResponseHeaderTimeout: time.Minute,
		DisableCompression:    true, // bodies pass as they are
	}}
	h = p
	if s.HTTP != nil {
		h = s.HTTP(fw.route, trustedTrace, h)
	}
	return h, p.transport.CloseIdleConnections
}

func (fw *Forward) dialPlain(ctx context.Context, _, address string) (net.Conn, error) {
	to, err := parseDestination(address, 80)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, fw.route.Handshake)
	defer cancel()
	return fw.Dial(ctx, to.host, to.port)
}

func (p *forwardPlain) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	to, err := absolute(r)
	f := p.permitsHTTP(r.Context(), r, visitOf(r).origin.client, to, err)
	if f == nil && p.server.draining.Load() != nil {
		f = lifecycle.Fail(lifecycle.ReasonDraining, nil)
	}
	if f != nil {
		f.Phase = lifecycle.PhaseRoute
		p.refuse(w, f)
		return
	}
	rp := &httputil.ReverseProxy{
		Transport: p.transport,
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.Out.URL.Scheme, pr.Out.URL.Host, pr.Out.URL.User = "http", to.String(), nil
			pr.Out.Header.Del("Upgrade") // to h2c, say: what came of it would pass unseen
			pr.Out.Header.Del("Connection")
			pr.Out.Host = pr.In.Host
			for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"} {
				pr.Out.Header[name] = pr.In.Header[name] // Rewrite has taken them out
			}
			if p.server.Propagator != nil {
				p.server.Propagator.Inject(pr.Out.Context(), pr.Out.Header)
			}
		},
		ErrorHandler: p.failed,
		ErrorLog:     slog.NewLogLogger(p.server.log().Handler(), slog.LevelDebug),
	}
	rp.ServeHTTP(w, r)
}

func (p *forwardPlain) failed(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		panic(http.ErrAbortHandler) // the client has left
	}
	f, ok := errors.AsType[*lifecycle.Failure](err)
	if !ok {
		f = &lifecycle.Failure{Phase: lifecycle.PhaseUpgrade, Reason: lifecycle.ReasonUpstreamGone, Err: err}
		if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
			f.Reason = lifecycle.ReasonUpgradeTimeout
		}
	}
	p.server.log().Debug("plain request failed", "route", ForwardRoute, "error", err)
	p.refuse(w, f)
}

// refuse answers in the place of the target.
func (p *forwardPlain) refuse(w http.ResponseWriter, f *lifecycle.Failure) {
	status := p.status(f)
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	switch status {
	case http.StatusProxyAuthRequired:
		h.Set("Proxy-Authenticate", p.challenge())
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		h.Set("Retry-After", p.server.retryAfter(f))
	}
	w.WriteHeader(status)
	w.Write(problemOf(nil, f, status))
}
