package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"wsproxy/access"
	"wsproxy/config"
	"wsproxy/egress"
	"wsproxy/proxy"
	"wsproxy/proxy/frame"
	"wsproxy/proxy/relay"
	"wsproxy/tlsconf"
	"wsproxy/upstream"
)

// listenerSettings makes the listeners, not yet bound.
func (gen *generation) listenerSettings() ([]proxy.Listener, error) {
	var all []proxy.Listener
	for i, c := range gen.cfg.Listeners {
		l := proxy.Listener{TrustTrace: c.Trust.TraceContext, ProxyProtocol: c.Trust.ProxyProtocol, Limiter: gen.limiter("listener "+string(c.Address), listenerLimits(c.Limits))}
		for _, n := range c.Trust.Proxies {
			l.TrustedProxies = append(l.TrustedProxies, n.Prefix)
		}
		if c.Mode == config.ModeForward {
			l.Forward = gen.forward.Forward
		}
		var err error
		if l.TLS, err = gen.serverTLS(c.TLS); err != nil {
			return nil, fmt.Errorf("listeners[%d].tls: %w", i, err)
		}
		all = append(all, l)
	}
	return all, nil
}

func (gen *generation) serverTLS(c *config.ServerTLS) (*tls.Config, error) {
	if c == nil {
		return nil, nil
	}
	s := tlsconf.Server{ClientCA: string(c.ClientCA), MinVersion: c.MinVersion.Uint16()}
	for _, p := range c.Certificates {
		s.Certificates = append(s.Certificates, tlsconf.Pair{Cert: string(p.Cert), Key: string(p.Key)})
	}
	return gen.tls.Server(s)
}

// group is an upstream: its targets, and how they are reached.
type group struct {
	name      string
	effective effectiveGroup
	policy    upstream.Policy
	pool      *upstream.Pool // from start on
	targets   []config.Target
	tls       func() *tls.Config
	egress    *egress.Proxy
}

// effectiveGroup is an upstream with its egress.
type effectiveGroup struct {
	upstream config.Upstream
	egress   []config.Egress // and its fallbacks
}

// start makes the pool. Open connections of the former one, if there was one, count.
func (g *group) start(former *group) {
	if g.pool != nil {
		return
	}
	var names []string
	for _, t := range g.targets {
		names = append(names, t.Text)
	}
	pool := upstream.NewPool(g.policy, names...)
	if former != nil {
		pool.TakeOver(former.pool)
	}
	g.pool = pool
}

func (gen *generation) group(u config.Upstream) (*group, error) {
	g := &group{name: u.Name, targets: u.Targets, effective: effectiveGroup{upstream: u}}
	var err error
	if g.policy, err = upstream.ParsePolicy(string(u.Balance)); err != nil {
		return nil, err
	}
	if g.tls, err = gen.clientTLS(u.TLS); err != nil {
		return nil, err
	}
	g.effective.egress = gen.egressChain(u.Egress)
	g.egress = gen.egresses[u.Egress]
	return g, nil
}

func (gen *generation) clientTLS(c *config.ClientTLS) (func() *tls.Config, error) {
	if c == nil {
		c = &config.ClientTLS{}
	}
	return gen.tls.Client(tlsconf.Client{
		CA: string(c.CA), Cert: string(c.Cert), Key: string(c.Key),
		ServerName: c.ServerName, MinVersion: c.MinVersion.Uint16(), Insecure: c.Insecure,
	})
}

func (gen *generation) route(r config.Route, g *group) (*servedRoute, error) {
	var list []string
	for _, o := range r.Origins {
		list = append(list, string(o))
	}
	origins, err := access.ParseOrigins(list)
	if err != nil {
		return nil, err
	}
	guard, err := gen.guard(r.Auth)
	if err != nil {
		return nil, err
	}
	p := policy(r.Timeouts, r.Keepalive)
	p.OnUpstreamLost, p.FIN = frame.CloseCode(r.OnUpstreamLost.Code()), r.OnUpstreamLost == config.UpstreamLostFIN
	p.Sizes = frame.Limits{Frame: uint64(r.Limits.MaxFrame), Message: uint64(r.Limits.MaxMessage)}
	p.Rates = relay.Rates{
		Messages: r.Limits.MessagesPerSecond, Bytes: float64(r.Limits.BytesPerSecond), Throttle: r.Limits.OnExcess == config.OnExcessThrottle,
	}
	kind, name := r.Identity.Parts()
	route := &proxy.Route{
		Name: r.Name, Match: r.Match, Origin: origins.Allow, Limiter: gen.limiter("route "+r.Name, routeLimits(r.Limits)),
		RejectHTTP: r.HTTP == config.PlainHTTPReject, OwnHost: !r.PreserveHost, ServerTiming: r.ServerTiming,
		Framing: framing(r.Framing), Retries: r.Retries, Handshake: time.Duration(r.Timeouts.Handshake),
		Policy: p, Identity: proxy.Identity{Kind: kind, Name: name},
		Upstream: gen.upstream(g, cmp.Or(gen.egresses[r.Egress], g.egress), dialTimeouts(r.Timeouts)),
	}
	route.RequestHeaders, route.ResponseHeaders = headerRules(r.Headers.Request), headerRules(r.Headers.Response)
	served := &servedRoute{Route: route, guard: guard}
	if guard != nil {
		route.Auth = guard.admit
	}
	return served, nil
}

func headerRules(c config.HeaderRules) proxy.HeaderRules {
	return proxy.HeaderRules{Set: c.Set, Add: c.Add, Remove: c.Remove}
}

// upstream is a group as one route sees it: its targets are shared, the timeouts are the route's.
func (gen *generation) upstream(g *group, through *egress.Proxy, timeouts egress.Timeouts) proxy.Upstream {
	dialer := &egress.Dialer{
		Proxy: through, Timeouts: timeouts, Resolver: gen.options.resolver, Socket: relayable, Inject: gen.telemetry.Propagator().Inject,
	}
	targets := make(map[string]proxy.Target, len(g.targets))
	for _, t := range g.targets {
		to := egress.Target{Network: t.Network, Address: t.Address, ProxyProtocol: g.effective.upstream.ProxyProtocol.Number()}
		if t.TLS {
			to.TLS = g.tls
		}
		made := proxy.Target{
			Name: t.Text, Address: t.Address, Host: hostOf(t),
			Single: to.ProxyProtocol > 0,
			Dial: func(ctx context.Context) (net.Conn, error) {
				to := to
				if to.ProxyProtocol > 0 {
					to.Client, to.Server = proxy.Ends(ctx)
				}
				return dialer.Dial(ctx, to)
			},
		}
		if p := through.For(to); p != nil {
			made.Egress = p.Name
		}
		targets[t.Text] = made
	}
	return proxy.Upstream{Name: g.name, Pick: func(tried []string) (proxy.Target, func(), bool) {
		name, release, ok := g.pool.Pick(tried)
		return targets[name], release, ok
	}}
}

// relayable makes of a socket what a relay can take over.
func relayable(c net.Conn) net.Conn { return relay.NewConn(c) }

// hostOf is the Host header for a target that gets its own.
func hostOf(t config.Target) string {
	if t.Network == "unix" {
		return "localhost"
	}
	host, port, err := net.SplitHostPort(t.Address)
	if standard := map[bool]string{false: "80", true: "443"}[t.TLS]; err == nil && port == standard {
		if ip, err := netip.ParseAddr(host); err == nil && ip.Is6() {
			return "[" + host + "]"
		}
		return host
	}
	return t.Address
}

func (a *app) observeHTTP(r *proxy.Route, trusted func(*http.Request) bool, next http.Handler) http.Handler {
	return a.telemetry.HTTP(next, func(*http.Request) string { return r.Pattern() }, trusted)
}
