package telemetry

import (
	"context"

	"wsproxy/lifecycle"
)

// known holds the names of the configuration. Whatever else turns up, a metric says _OTHER.
type known struct {
	routes, upstreams, hosts map[string]bool
}

func newKnown(s *Settings) known {
	k := known{routes: make(map[string]bool), upstreams: make(map[string]bool), hosts: make(map[string]bool)}
	for _, r := range s.Routes {
		k.routes[r.Name] = true
		k.upstreams[r.Upstream] = true
	}
	for _, h := range s.Hosts {
		k.hosts[h] = true
	}
	return k
}

func (k known) route(name string) string    { return nameIn(k.routes, name) }
func (k known) upstream(name string) string { return nameIn(k.upstreams, name) }
func (k known) host(name string) string     { return nameIn(k.hosts, name) }

func nameIn(names map[string]bool, name string) string {
	if names[name] {
		return name
	}
	return other
}

func egressType(t string) string {
	switch t {
	case "", "http", "https", "socks5", "socks5h":
		return t
	}
	return other
}

func protocolVersion(v string) string {
	switch v {
	case "1.0", "1.1", "2", "3":
		return v
	}
	return ""
}

// zero makes the counters' series that can be expected, so that graphs show zeros and the first
// increase is seen. Histograms have no points before their first.
func (m *metrics) zero(s *Settings) {
	ctx := context.Background()
	m.on.connectionUnused.Add(ctx, 0)
	names := []string{other}
	for _, r := range s.Routes {
		names = append(names, r.Name)
	}
	for _, route := range names {
		m.on.connectionAccepted.Add(ctx, 0, m.routes.of(route).add...)
		m.on.connectionOpened.Add(ctx, 0, m.routes.of(route).add...)
		for _, p := range lifecycle.Phases() {
			for _, r := range lifecycle.Reasons(p) {
				m.zeroFailure(ctx, route, p, r)
			}
		}
		if route != other {
			m.zeroCloses(ctx, route)
		}
	}
}

// zeroFailure leaves out what can't be: a route is known from its phase on, and only then.
func (m *metrics) zeroFailure(ctx context.Context, route string, p lifecycle.Phase, r lifecycle.Reason) {
	if early := p < lifecycle.PhaseRoute; early != (route == other) && p != lifecycle.PhaseRoute {
		return
	}
	k := phaseKey{route: route, phase: p, failed: r}
	if f := (&lifecycle.Failure{Phase: p, Reason: r}); f.Kind() == lifecycle.OutcomeRejected {
		k.phase = lifecycle.PhaseNone
		m.on.connectionRejected.Add(ctx, 0, m.refusals.of(k).add...)
		return
	}
	m.on.connectionFailed.Add(ctx, 0, m.failures.of(k).add...)
}

// usualClose is a cause with what usually comes with it. Other combinations appear as they happen.
type usualClose struct {
	cause     lifecycle.Cause
	initiator lifecycle.Initiator
	legs      []lifecycle.Leg
	codes     []string
}

var (
	noLeg   = []lifecycle.Leg{lifecycle.LegNone}
	oneLeg  = []lifecycle.Leg{lifecycle.LegClient, lifecycle.LegUpstream}
	noCode  = []string{"none"}
	leaving = []string{"none", "1000", "1001"}
)

var usualCloses = []usualClose{
	{lifecycle.CauseClientClose, lifecycle.InitiatorClient, noLeg, leaving},
	{lifecycle.CauseUpstreamClose, lifecycle.InitiatorUpstream, noLeg, leaving},
	{lifecycle.CauseClientGone, lifecycle.InitiatorClient, noLeg, noCode},
	{lifecycle.CauseUpstreamGone, lifecycle.InitiatorUpstream, noLeg, noCode},
	{lifecycle.CauseClientReset, lifecycle.InitiatorClient, noLeg, noCode},
	{lifecycle.CauseUpstreamReset, lifecycle.InitiatorUpstream, noLeg, noCode},
	{lifecycle.CauseClientTimeout, lifecycle.InitiatorClient, noLeg, noCode},
	{lifecycle.CauseUpstreamTimeout, lifecycle.InitiatorUpstream, noLeg, noCode},
	{lifecycle.CauseIdleTimeout, lifecycle.InitiatorProxy, noLeg, []string{"1001"}},
	{lifecycle.CausePongTimeout, lifecycle.InitiatorProxy, oneLeg[:1], []string{"1001"}},
	{lifecycle.CausePongTimeout, lifecycle.InitiatorProxy, oneLeg[1:], []string{"1012"}},
	{lifecycle.CauseSlowPeer, lifecycle.InitiatorProxy, oneLeg, noCode},
	{lifecycle.CauseProtocolError, lifecycle.InitiatorProxy, oneLeg, []string{"1002"}},
	{lifecycle.CauseMaxLifetime, lifecycle.InitiatorProxy, noLeg, []string{"1012"}},
	{lifecycle.CauseDrain, lifecycle.InitiatorProxy, noLeg, []string{"1012"}},
	{lifecycle.CauseForcedStop, lifecycle.InitiatorProxy, noLeg, noCode},
	{lifecycle.CauseInternal, lifecycle.InitiatorProxy, noLeg, []string{"1011"}},
}

func (m *metrics) zeroCloses(ctx context.Context, route string) {
	for _, u := range usualCloses {
		for _, leg := range u.legs {
			for _, code := range u.codes {
				m.on.connectionCloses.Add(ctx, 0, m.closes.of(closeKey{route, u.cause, u.initiator, leg, code}).add...)
			}
		}
	}
}
