package main

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"time"

	"wsproxy/access"
	"wsproxy/admin"
	"wsproxy/config"
	"wsproxy/proxy"
	"wsproxy/proxy/frame"
	"wsproxy/proxy/relay"
	"wsproxy/tlsconf"
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
		if c.TLS != nil {
			var err error
			s := serverTLS(c.TLS.Certificates, c.TLS.ClientCA, c.TLS.MinVersion)
			if l.TLS, err = gen.tls.Server(s); err != nil {
				return nil, fmt.Errorf("listeners[%d].tls: %w", i, err)
			}
		}
		all = append(all, l)
	}
	return all, nil
}

func serverTLS(certificates []config.Certificate, clientCA config.File, least config.TLSVersion) tlsconf.Server {
	s := tlsconf.Server{ClientCA: string(clientCA), MinVersion: least.Uint16()}
	for _, p := range certificates {
		s.Certificates = append(s.Certificates, tlsconf.Pair{Cert: string(p.Cert), Key: string(p.Key)})
	}
	return s
}

// adminAccess is who may use the admin port. Its TLS asks for a certificate but does not insist: supervisors have none.
func (gen *generation) adminAccess() (admin.Access, error) {
	c := gen.cfg.Admin
	a := admin.Access{Token: c.Token.Value()}
	if c.TLS == nil {
		return a, nil
	}
	s := serverTLS(c.TLS.Certificates, c.TLS.ClientCA, c.TLS.MinVersion)
	if s.ClientCA != "" {
		s.ClientAuth, a.Certificate = tlsconf.ClientAuthOptional, true
	}
	var err error
	a.TLS, err = gen.tls.Server(s)
	return a, err
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
		Name: r.Name, Match: r.Match, Origin: origins.Allow, Baggage: r.Baggage, Limiter: gen.limiter("route "+r.Name, routeLimits(r.Limits)),
		RejectHTTP: r.HTTP == config.PlainHTTPReject, OwnHost: !r.PreserveHost, ServerTiming: r.ServerTiming,
		Framing: framing(r.Framing), Retries: r.Retries, Handshake: time.Duration(r.Timeouts.Handshake),
		Policy: p, Identity: proxy.Identity{Kind: kind, Name: name},
		Upstream: gen.upstream(g, cmp.Or(gen.egresses[r.Egress], g.egress), gen.sticky(r.Sticky), dialTimeouts(r.Timeouts)), RetryOn: retryOn(r.RetryOn),
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

// relayable makes of a socket what a relay can take over.
func relayable(c net.Conn) net.Conn { return relay.NewConn(c) }

func (a *app) observeHTTP(r *proxy.Route, trusted func(*http.Request) bool, next http.Handler) http.Handler {
	return a.telemetry.HTTP(next, func(*http.Request) string { return r.Pattern() }, trusted)
}
