package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"wsproxy/config"
	"wsproxy/egress"
	"wsproxy/lifecycle"
	"wsproxy/proxy"
	"wsproxy/upstream"
)

// group is an upstream: its targets, and how they are reached.
type group struct {
	name      string
	effective effectiveGroup
	pool      *upstream.Pool
	key       upstream.Key
	tls       func() *tls.Config
	egress    *egress.Proxy
	checks    bool // its first checks are waited for at the start

	running sync.WaitGroup
	stop    context.CancelFunc // of following the targets; nil before and afterwards
}

// effectiveGroup is an upstream with its egress.
type effectiveGroup struct {
	upstream config.Upstream
	egress   []config.Egress // and its fallbacks
}

// follow begins to look the targets up and to check them, unless that goes on from a generation before.
func (g *group) follow() {
	if g.stop != nil {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	g.stop = stop
	g.running.Go(func() { g.pool.Run(ctx) })
}

// end ends that.
func (g *group) end() {
	if g.stop != nil {
		g.stop()
	}
	g.running.Wait()
}

// takeOver goes on with what the group of the generation before knows of its targets, if there was one.
func (g *group) takeOver(former *group) {
	if former == nil || former == g {
		return
	}
	former.end()
	g.pool.TakeOver(former.pool)
}

func (gen *generation) group(u config.Upstream) (*group, error) {
	g := &group{name: u.Name, effective: effectiveGroup{upstream: u}}
	policy, err := upstream.ParsePolicy(string(u.Balance))
	if err != nil {
		return nil, err
	}
	if g.key, err = upstream.ParseKey(string(u.Hash)); err != nil {
		return nil, err
	}
	if g.tls, err = gen.clientTLS(u.TLS); err != nil {
		return nil, err
	}
	g.effective.egress = gen.egressChain(u.Egress)
	g.egress = gen.egresses[u.Egress]
	s := upstream.Settings{
		Name: u.Name, Policy: policy, Targets: g.targets(u), Resolver: cmp.Or(gen.options.resolver, net.DefaultResolver),
		ResolveInterval: time.Duration(u.ResolveInterval), SlowStart: time.Duration(u.SlowStart), RetryBudget: u.RetryBudget,
		Health: gen.health(g, u.Health), Changed: gen.telemetry.TargetChanged, Looked: gen.telemetry.LookedUp,
	}
	if p := u.Passive; !p.Off {
		s.Passive = upstream.Passive{Failures: p.Failures, Eject: time.Duration(p.Eject), Longest: time.Duration(p.Longest), Share: p.Share}
	}
	g.checks = s.Health != nil || slices.ContainsFunc(s.Targets, func(t upstream.Target) bool { return t.SRV })
	g.pool = upstream.NewPool(s)
	return g, nil
}

func (g *group) targets(u config.Upstream) []upstream.Target {
	var all []upstream.Target
	for i, t := range u.Targets {
		to := egress.Target{Network: t.Network, Address: t.Address}
		if t.TLS {
			to.TLS = g.tls
		}
		made := upstream.Target{Name: t.Text, Network: t.Network, Address: t.Address, SRV: t.SRV, Secure: t.TLS, Egress: g.egress.For(to) != nil}
		if len(u.Weights) > i {
			made.Weight = u.Weights[i].N
		}
		all = append(all, made)
	}
	return all
}

// health makes the checks, which go the way that connections go.
func (gen *generation) health(g *group, h *config.Health) *upstream.Health {
	if h == nil {
		return nil
	}
	timeout := time.Duration(h.Timeout)
	dialer := gen.dialer(g.egress, egress.Timeouts{Connect: timeout, Proxy: timeout, TLS: timeout})
	probe := &upstream.Probe{
		Dial: func(ctx context.Context, at upstream.Location) (net.Conn, error) {
			return dialer.Dial(ctx, g.target(at))
		},
		Path: h.Path, Host: h.Host, Plain: !h.WebSocket, Subprotocol: h.Subprotocol, Send: h.Send, Expect: h.Expect,
	}
	return &upstream.Health{Interval: time.Duration(h.Interval), Timeout: timeout, Rise: h.Rise, Fall: h.Fall, Check: probe.Check}
}

func (gen *generation) dialer(through *egress.Proxy, timeouts egress.Timeouts) *egress.Dialer {
	return &egress.Dialer{
		Proxy: through, Timeouts: timeouts, Resolver: gen.options.resolver, Socket: relayable, Inject: gen.telemetry.Propagator().Inject,
	}
}

// target is what is dialled for a location. Where an address stands for a name, its certificate is the
// name's.
func (g *group) target(at upstream.Location) egress.Target {
	to := egress.Target{Network: at.Network, Address: at.Address, ProxyProtocol: g.effective.upstream.ProxyProtocol.Number()}
	if !at.Secure {
		return to
	}
	to.TLS = g.tls
	if at.Address != at.Host {
		to.TLS = func() *tls.Config {
			c := g.tls()
			if host, _, err := net.SplitHostPort(at.Host); err == nil && c.ServerName == "" {
				c = c.Clone()
				c.ServerName = host
			}
			return c
		}
	}
	return to
}

// upstream is a group as one route sees it: its targets are shared, the rest is the route's.
func (gen *generation) upstream(g *group, through *egress.Proxy, s *sticky, timeouts egress.Timeouts) proxy.Upstream {
	dialer := gen.dialer(through, timeouts)
	return proxy.Upstream{Name: g.name, Pick: func(c proxy.Choice) (proxy.Target, proxy.Lease, bool) {
		q := upstream.Request{Key: g.key.Of(c.Request, c.Client), Tried: c.Tried, Failed: c.Failed}
		if s != nil {
			q.Prefer = s.Prefer(c.Request)
		}
		lease, ok := g.pool.Pick(q)
		if !ok {
			return proxy.Target{}, nil, false
		}
		at := lease.At
		to := g.target(at)
		named := to
		named.Address = at.Host
		p := through.For(named)
		t := proxy.Target{ID: lease.ID, Name: at.Target, Address: at.Host, Host: hostOf(at), Single: to.ProxyProtocol > 0}
		if p != nil { // a route's own egress is asked for the name, whatever the upstream's lookups found
			t.Egress, to.Address = p.Name, at.Host
		}
		t.Dial = func(ctx context.Context) (net.Conn, error) {
			to := to
			if to.ProxyProtocol > 0 {
				to.Client, to.Server = proxy.Ends(ctx)
			}
			return dialer.Dial(ctx, to)
		}
		if s != nil && (q.Prefer == nil || !q.Prefer(lease.ID)) {
			t.Cookie = s.cookie(lease.ID)
		}
		return t, lease, true
	}}
}

// hostOf is the Host header for a target that gets its own.
func hostOf(at upstream.Location) string {
	if at.Network == "unix" {
		return "localhost"
	}
	host, port, err := net.SplitHostPort(at.Host)
	if standard := map[bool]string{false: "80", true: "443"}[at.Secure]; err == nil && port == standard {
		if ip, err := netip.ParseAddr(host); err == nil && ip.Is6() {
			return "[" + host + "]"
		}
		return host
	}
	return at.Host
}

// sticky is a route's cookie.
type sticky struct {
	upstream.Sticky
	sameSite http.SameSite
}

func (gen *generation) sticky(c *config.Sticky) *sticky {
	if c == nil {
		return nil
	}
	s := &sticky{sameSite: map[config.SameSite]http.SameSite{
		config.SameSiteLax: http.SameSiteLaxMode, config.SameSiteStrict: http.SameSiteStrictMode, config.SameSiteNone: http.SameSiteNoneMode,
	}[c.SameSite]}
	s.Cookie, s.Key = c.Cookie, gen.stickyKey
	if !c.Secret.IsZero() {
		s.Key = []byte(c.Secret.Value())
	}
	return s
}

// cookie ends with the browser's session.
func (s *sticky) cookie(id string) *http.Cookie {
	return &http.Cookie{Name: s.Cookie, Value: s.Token(id), Path: "/", HttpOnly: true, SameSite: s.sameSite}
}

func retryOn(list []config.RetryStatus) []int {
	var codes []int
	for _, s := range list {
		codes = append(codes, s.Code())
	}
	return codes
}

// upstreams are the upstreams as they are now, for telemetry and the admin API.
func (a *app) upstreams() []lifecycle.UpstreamStatus {
	var all []lifecycle.UpstreamStatus
	if groups := a.groups.Load(); groups != nil {
		for _, g := range *groups {
			all = append(all, g.pool.Status())
		}
	}
	return all
}

func (gen *generation) followUpstreams() {
	for _, g := range gen.groups {
		g.follow()
	}
}

// checkTimeout bounds how long the start waits for upstreams; each check has a time-out of its own.
const checkTimeout = 15 * time.Second

// checkUpstreams begins to look targets up and to check them, and waits for the first round. Targets
// that failed it don't keep the process from serving: they may come back.
func (gen *generation) checkUpstreams() string {
	gen.followUpstreams()
	late := time.NewTimer(checkTimeout)
	defer late.Stop()
	waited := 0
	for _, g := range gen.groups {
		if !g.checks {
			continue
		}
		waited++
		select {
		case <-g.pool.Checked():
		case <-late.C:
			return fmt.Sprintf("upstream %s was not checked within %s", g.name, checkTimeout)
		}
	}
	if waited == 0 {
		return "no active checks"
	}
	return gen.fitness()
}

// fitness tells how many targets can be used.
func (gen *generation) fitness() string {
	all, unfit := 0, 0
	for _, s := range gen.upstreams() {
		for _, t := range s.Targets {
			all++
			if t.State == lifecycle.TargetUnhealthy {
				unfit++
			}
		}
	}
	return fmt.Sprintf("%d targets, %d unhealthy", all, unfit)
}
