package telemetry

import (
	"context"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"

	"wsproxy/lifecycle"
)

// metrics records what happens once per connection or phase: counters in tallies, which are observed at
// collection, and histograms. What happens more often is counted by lifecycle's atomics and summed up
// at collection. A nil *metrics records nothing.
type metrics struct {
	on    atomic.Pointer[instruments] // of the provider that is in use
	known known

	exchanges *sets[exchange]
	lookups   *sets[lookup]
	phases    *sets[phaseKey]
	lifetimes *sets[closeKey]
	tunnelled *sets[tunnelKey]

	unuseds  *tallies[struct{}]
	accepts  *tallies[string]
	opens    *tallies[string]
	failures *tallies[phaseKey]
	refusals *tallies[phaseKey]
	closes   *tallies[closeKey]
	retries  *tallies[retryKey]
	reloads  *tallies[lifecycle.ReloadFailure]

	measured    *sets[measured]
	retransmits *tallies[measured]
	reconnects  *tallies[reconnectKey]
	former      *former
	tunnels     *tallies[lifecycle.Mode] // open ones
}

// exchange is a request and its response.
type exchange struct {
	method, scheme, route, protocol, server string
	port, status                            int
	failed                                  string
}

type lookup struct {
	name   string
	failed lifecycle.Reason
}

type phaseKey struct {
	route  string
	phase  lifecycle.Phase
	egress string
	failed lifecycle.Reason
}

type closeKey struct {
	route     string
	cause     lifecycle.Cause
	initiator lifecycle.Initiator
	leg       lifecycle.Leg
	code      string
}

type tunnelKey struct {
	mode  lifecycle.Mode
	cause lifecycle.Cause
}

type retryKey struct {
	upstream string
	failed   lifecycle.Reason
}

func newMetrics(s *Settings) *metrics {
	m := &metrics{
		known: newKnown(s), reloads: newTallies(reloadAttributes), exchanges: newSets(exchange.attributes), lookups: newSets(lookup.attributes),
		phases: newSets(phaseKey.attributes), lifetimes: newSets(closeKey.lifetime),
		unuseds: newTallies(func(struct{}) list { return nil }), accepts: newTallies(routeAttributes), opens: newTallies(routeAttributes),
		failures: newTallies(phaseKey.failure), refusals: newTallies(phaseKey.refusal), closes: newTallies(closeKey.attributes),
		retries: newTallies(retryKey.attributes), measured: newSets(measured.attributes), retransmits: newTallies(measured.attributes),
		reconnects: newTallies(reconnectKey.attributes), former: newFormer(),
		tunnels: newTallies(modeAttributes), tunnelled: newSets(tunnelKey.attributes),
	}
	m.zero(s)
	return m
}

// observe is called once per reader and collection. Connections go on meanwhile, so what comes later in their lives is
// read first: nobody ever sees more ends than beginnings.
func (m *metrics) observe(o metric.Observer, on *instruments) {
	m.closes.observe(o, on.connectionCloses)
	m.failures.observe(o, on.connectionFailed)
	m.refusals.observe(o, on.connectionRejected)
	m.opens.observe(o, on.connectionOpened)
	m.accepts.observe(o, on.connectionAccepted)
	m.unuseds.observe(o, on.connectionUnused)
	m.retries.observe(o, on.upstreamRetries)
	m.reloads.observe(o, on.configReloads)
	m.retransmits.observe(o, on.tcpRetransmits)
	m.reconnects.observe(o, on.connectionReconnects)
	m.tunnels.observe(o, on.tunnelActive)
}

// accepted counts a connection that asked for an upgrade, or that failed before it could.
func (m *metrics) accepted(route string) {
	if m != nil {
		m.accepts.add(route, 1)
	}
}

// route is what the other methods take: the route's name as a value of a closed set.
func (m *metrics) route(c *lifecycle.Connection) string {
	if m == nil {
		return ""
	}
	return m.known.route(c.Facts().Route)
}

func (m *metrics) opened(route string) {
	if m != nil {
		m.opens.add(route, 1)
	}
}

func (m *metrics) unused() {
	if m != nil {
		m.unuseds.add(struct{}{}, 1)
	}
}

// failed counts a connection that was refused or failed.
func (m *metrics) failed(route string, o *lifecycle.Outcome) {
	if m == nil {
		return
	}
	k := phaseKey{route: route, phase: o.Failure.Phase, failed: o.Failure.Reason}
	if o.Kind == lifecycle.OutcomeRejected {
		k.phase = lifecycle.PhaseNone
		m.refusals.add(k, 1)
		return
	}
	m.failures.add(k, 1)
}

func (m *metrics) closed(ctx context.Context, route string, c *lifecycle.Connection, o *lifecycle.Outcome) {
	if m == nil {
		return
	}
	k := closeKey{
		route: route, cause: o.Close.Cause, initiator: o.Close.Initiator, leg: o.Close.Leg, code: closeCodeClass(o.Close.Code),
	}
	m.closes.add(k, 1)
	k.leg, k.code = lifecycle.LegNone, ""
	m.on.Load().connectionDuration.Record(ctx, o.At.Sub(c.Opened()).Seconds(), m.lifetimes.of(k).record...)
}

// tunnelOpened counts an opaque tunnel.
func (m *metrics) tunnelOpened(mode lifecycle.Mode) {
	if m != nil {
		m.tunnels.add(mode, 1)
	}
}

func (m *metrics) tunnelClosed(ctx context.Context, c *lifecycle.Connection, o *lifecycle.Outcome) {
	if m == nil {
		return
	}
	mode := c.Facts().Mode
	m.tunnels.add(mode, -1)
	m.on.Load().tunnelDuration.Record(ctx, o.At.Sub(c.Opened()).Seconds(), m.tunnelled.of(tunnelKey{mode, o.Close.Cause}).record...)
}

// phase records how long a step took. A transfer's life has its own histogram.
func (m *metrics) phase(ctx context.Context, route string, s *lifecycle.Step) {
	if m == nil || s.Phase == lifecycle.PhaseTransfer {
		return
	}
	k := phaseKey{route: route, phase: s.Phase, egress: egressType(s.EgressType), failed: s.Reason()}
	took := s.Ended.Sub(s.Begun).Seconds()
	m.on.Load().phaseDuration.Record(ctx, took, m.phases.of(k).record...)
	if s.Phase == lifecycle.PhaseDNS {
		m.on.Load().dnsLookupDuration.Record(ctx, took, m.lookups.of(lookup{m.known.host(s.Host), s.Reason()}).record...)
	}
}

// retry counts a further attempt at dialling, after one that failed.
func (m *metrics) retry(c *lifecycle.Connection, failed lifecycle.Reason) {
	if m != nil {
		m.retries.add(retryKey{m.known.upstream(c.Facts().Upstream), failed}, 1)
	}
}

// handshake records a WebSocket request as the client saw it.
func (m *metrics) handshake(ctx context.Context, c *lifecycle.Connection, took time.Duration, status int, failed lifecycle.Reason) {
	if m == nil {
		return
	}
	f := c.Facts()
	m.request(ctx, took, exchange{
		method: method(f.Method), scheme: scheme(f.Scheme), route: f.Pattern, protocol: protocolVersion(f.Protocol),
		status: status, failed: failed.String(),
	})
}

// request records any request of a client.
func (m *metrics) request(ctx context.Context, took time.Duration, k exchange) {
	if m != nil {
		m.on.Load().httpServerRequestDuration.Record(ctx, took.Seconds(), m.exchanges.of(k).record...)
	}
}

// upgrade records the handshake with the upstream.
func (m *metrics) upgrade(ctx context.Context, s *lifecycle.Step) {
	if m == nil {
		return
	}
	host, port := splitAddress(s.Host)
	k := exchange{method: "GET", protocol: "1.1", server: m.known.host(host), status: s.Status, failed: s.Reason().String()}
	if k.server != other {
		k.port = port
	}
	m.on.Load().httpClientRequestDuration.Record(ctx, s.Ended.Sub(s.Begun).Seconds(), m.exchanges.of(k).record...)
}

func (k exchange) attributes() list {
	l := make(list, 0, 8)
	l.string(keyHTTPRequestMethod, k.method)
	l.string(keyURLScheme, k.scheme)
	l.string(keyHTTPRoute, k.route)
	l.string(keyNetworkProtocolVersion, k.protocol)
	l.string(keyServerAddress, k.server)
	l.int(keyServerPort, k.port)
	if k.status >= 100 && k.status < 600 {
		l.int(keyHTTPResponseStatusCode, k.status)
	}
	l.string(keyErrorType, k.failed)
	return l
}

func (k lookup) attributes() list {
	l := list{keyDNSQuestionName.String(k.name)}
	l.failure(k.failed)
	return l
}

func (k phaseKey) attributes() list {
	l := list{keyPhaseName.String(k.phase.String()), keyRouteName.String(k.route)}
	l.string(keyEgressType, k.egress)
	l.failure(k.failed)
	return l
}

func (k phaseKey) failure() list {
	return list{keyRouteName.String(k.route), keyPhaseName.String(k.phase.String()), keyErrorType.String(k.failed.String())}
}

func (k phaseKey) refusal() list {
	return list{keyRouteName.String(k.route), keyErrorType.String(k.failed.String())}
}

func (k closeKey) attributes() list {
	l := k.lifetime()
	l.string(keyCloseLeg, k.leg.String())
	l.string(keyCloseCodeClass, k.code)
	return l
}

func (k closeKey) lifetime() list {
	l := list{keyRouteName.String(k.route), keyCloseCause.String(k.cause.String())}
	l.string(keyCloseInitiator, k.initiator.String())
	return l
}

func (k retryKey) attributes() list {
	l := list{keyUpstreamName.String(k.upstream)}
	l.failure(k.failed)
	return l
}

func routeAttributes(route string) list { return list{keyRouteName.String(route)} }

func modeAttributes(m lifecycle.Mode) list { return list{keyMode.String(m.String())} }

func (k tunnelKey) attributes() list {
	return append(modeAttributes(k.mode), keyCloseCause.String(k.cause.String()))
}
