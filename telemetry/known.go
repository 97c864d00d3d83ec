package telemetry

import (
	"cmp"
	"maps"
	"sync/atomic"

	"wsproxy/lifecycle"
)

// known holds the names of the configuration. Whatever else turns up, a metric says _OTHER.
type known struct{ names *atomic.Pointer[knownNames] }

// knownNames are never changed: a reload replaces them all.
type knownNames struct {
	routes, upstreams, hosts map[string]bool
}

func newKnown(s *Settings) known {
	k := known{new(atomic.Pointer[knownNames])}
	k.names.Store(&knownNames{})
	k.add(s.Routes, s.Hosts)
	return k
}

// add makes further names known. Those of former configurations stay, as their connections and counts do; the
// limit on cardinality bounds them.
func (k known) add(routes []Route, hosts []string) {
	former := k.names.Load()
	n := &knownNames{cloned(former.routes), cloned(former.upstreams), cloned(former.hosts)}
	for _, r := range routes {
		n.routes[r.Name] = true
		n.upstreams[r.Upstream] = true
	}
	for _, h := range hosts {
		n.hosts[h] = true
	}
	k.names.Store(n)
}

func cloned(m map[string]bool) map[string]bool {
	if m = maps.Clone(m); m == nil {
		m = make(map[string]bool)
	}
	return m
}

func (k known) route(name string) string    { return nameIn(k.names.Load().routes, name) }
func (k known) upstream(name string) string { return nameIn(k.names.Load().upstreams, name) }
func (k known) host(name string) string     { return nameIn(k.names.Load().hosts, name) }

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
	m.unuseds.add(struct{}{}, 0)
	for _, f := range lifecycle.ReloadFailures() {
		m.reloads.add(f, 0)
	}
	m.zeroRoute(other)
	for _, r := range s.Routes {
		m.zeroRoute(r.Name)
		m.zeroCloses(r, s.DrainCode)
		if r.Mode == lifecycle.ModeForward {
			m.zeroTunnels(r)
			continue
		}
		m.zeroRetries(r.Upstream)
		if r.Identity {
			m.zeroReconnects(r.Name)
		}
	}
	for _, l := range []lifecycle.Leg{lifecycle.LegClient, lifecycle.LegUpstream} {
		m.retransmits.add(measured{leg: l}, 0)
	}
}

func (m *metrics) zeroReconnects(route string) {
	for _, cause := range lifecycle.Causes() {
		m.reconnects.add(reconnectKey{route, cause}, 0)
	}
}

func (m *metrics) zeroTunnels(r Route) {
	m.tunnels.add(r.Mode, 0)
	for _, i := range []lifecycle.Initiator{lifecycle.InitiatorClient, lifecycle.InitiatorUpstream} {
		m.closes.add(closeKey{r.Name, lifecycle.CauseTunnelEnd, i, lifecycle.LegNone, closeCodeClass(lifecycle.NoCode)}, 0)
	}
}

func (m *metrics) zeroRoute(name string) {
	m.accepts.add(name, 0)
	m.opens.add(name, 0)
	for _, p := range lifecycle.Phases() {
		for _, r := range lifecycle.Reasons(p) {
			m.zeroFailure(name, p, r)
		}
	}
}

// zeroFailure leaves out what can't be: a route is known from its phase on, and only then.
func (m *metrics) zeroFailure(route string, p lifecycle.Phase, r lifecycle.Reason) {
	if early := p < lifecycle.PhaseRoute; early != (route == other) && p != lifecycle.PhaseRoute {
		return
	}
	k := phaseKey{route: route, phase: p, failed: r}
	if f := (&lifecycle.Failure{Phase: p, Reason: r}); f.Kind() == lifecycle.OutcomeRejected {
		k.phase = lifecycle.PhaseNone
		m.refusals.add(k, 0)
		return
	}
	m.failures.add(k, 0)
}

// usualClose is a cause with what usually comes with it. Other combinations appear as they happen.
type usualClose struct {
	cause     lifecycle.Cause
	initiator lifecycle.Initiator
	leg       lifecycle.Leg
	codes     []int
}

// usualCloses are those of a route whose clients get the code lost when their upstream went away, in a
// process that drains with the code drain. Of the codes that endpoints choose only the commonest are
// among them.
func usualCloses(lost, drain int) []usualClose {
	const (
		client, upstream, proxy = lifecycle.InitiatorClient, lifecycle.InitiatorUpstream, lifecycle.InitiatorProxy
		none                    = lifecycle.NoCode
	)
	leaving, told := []int{none, 1000, 1001}, []int{none, lost}
	all := []usualClose{
		{lifecycle.CauseClientClose, client, lifecycle.LegNone, leaving},
		{lifecycle.CauseUpstreamClose, upstream, lifecycle.LegNone, leaving},
		{lifecycle.CauseClientGone, client, lifecycle.LegNone, []int{none}},
		{lifecycle.CauseUpstreamGone, upstream, lifecycle.LegNone, told},
		{lifecycle.CauseClientReset, client, lifecycle.LegNone, []int{none}},
		{lifecycle.CauseUpstreamReset, upstream, lifecycle.LegNone, told},
		{lifecycle.CauseClientTimeout, client, lifecycle.LegNone, []int{none}},
		{lifecycle.CauseUpstreamTimeout, upstream, lifecycle.LegNone, told},
		{lifecycle.CauseTLSError, client, lifecycle.LegClient, []int{none, 1001}},
		{lifecycle.CauseTLSError, upstream, lifecycle.LegUpstream, told},
		{lifecycle.CauseIdleTimeout, proxy, lifecycle.LegNone, []int{1001}},
		{lifecycle.CauseMessageRate, proxy, lifecycle.LegClient, []int{1008}},
		{lifecycle.CauseMaxLifetime, proxy, lifecycle.LegNone, []int{1012}},
		{lifecycle.CauseAuthExpired, proxy, lifecycle.LegNone, []int{4401}},
		{lifecycle.CauseDrain, proxy, lifecycle.LegNone, []int{drain}},
		{lifecycle.CauseForcedStop, proxy, lifecycle.LegNone, []int{none}},
		{lifecycle.CauseReload, proxy, lifecycle.LegNone, []int{1012}},
		{lifecycle.CauseAdmin, proxy, lifecycle.LegNone, []int{1008}},
		{lifecycle.CauseInternal, proxy, lifecycle.LegNone, []int{1011}},
	}
	for _, cut := range []lifecycle.Cause{lifecycle.CauseSlowPeer, lifecycle.CausePongTimeout} {
		all = append(all, usualClose{cut, proxy, lifecycle.LegClient, []int{none, 1001}}, usualClose{cut, proxy, lifecycle.LegUpstream, told})
	}
	for cause, code := range map[lifecycle.Cause]int{
		lifecycle.CauseProtocolError: 1002, lifecycle.CauseMessageTooBig: 1009,
	} {
		all = append(all, usualClose{cause, proxy, lifecycle.LegClient, []int{code}}, usualClose{cause, proxy, lifecycle.LegUpstream, []int{code}})
	}
	return all
}

func (m *metrics) zeroCloses(r Route, drain int) {
	for _, u := range usualCloses(cmp.Or(r.LostCode, 1012), cmp.Or(drain, 1012)) {
		for _, code := range u.codes {
			m.closes.add(closeKey{r.Name, u.cause, u.initiator, u.leg, closeCodeClass(code)}, 0)
		}
	}
}

// zeroRetries makes the series of every reason that an attempt may fail for.
func (m *metrics) zeroRetries(upstream string) {
	for p := lifecycle.PhaseDNS; p <= lifecycle.PhaseUpgrade; p++ {
		for _, r := range lifecycle.Reasons(p) {
			if r != lifecycle.ReasonClientGone && r != lifecycle.ReasonCanceled {
				m.retries.add(retryKey{upstream, r}, 0)
			}
		}
	}
}
