package telemetry

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"wsproxy/lifecycle"
)

// collection observes everything that is summed up or looked at when metrics are collected. One
// snapshot of the registry serves all instruments, so that they agree with each other.
type collection struct {
	settings   *Settings
	metrics    *metrics
	on         *instruments // of the provider that collects
	known      known
	losses     *losses
	suppressed *suppressor
	sizes      *sizes
	process    *process
	workers    *workers
	settle     func() // returns when what has ended by now is counted

	flows        *sets[flowKey]
	actives      *sets[activeKey]
	limits       *sets[string]
	states       *sets[lifecycle.State]
	phases       *sets[lifecycle.Phase]
	drops        *sets[dropKey]
	certificates *sets[string]
	targets      *sets[targetKey]
}

// flowKey is a series of a directional counter; kind is what its instrument sorts by, and an upstream
// is left out where an instrument does not tell it.
type flowKey struct {
	direction lifecycle.Direction
	key       attribute.Key
	kind      string
	route     string
	upstream  string
}

type activeKey struct {
	lifecycle.Key
	current bool
}

type dropKey struct {
	signal signal
	why    loss
}

func newCollection(s *Settings, m *metrics, l *losses, z *sizes, suppressed *suppressor) *collection {
	return &collection{
		settings: s, metrics: m, known: m.known, losses: l, sizes: z, suppressed: suppressed, process: newProcess(), workers: newWorkers(),
		flows: newSets(flowKey.attributes), actives: newSets(activeKey.attributes), limits: newSets(limitAttributes), states: newSets(stateAttributes),
		phases: newSets(phaseAttributes), drops: newSets(dropKey.attributes), certificates: newSets(certificateAttributes),
		targets: newSets(targetKey.attributes),
	}
}

// attach makes the instruments on p and has them observed; what is recorded from now on goes there.
func (c *collection) attach(p metric.MeterProvider) error {
	meter := p.Meter(scopeName, metric.WithInstrumentationVersion(c.settings.Version), metric.WithSchemaURL(schemaURL))
	on, err := newInstruments(meter)
	if err != nil {
		return fmt.Errorf("make instruments: %w", err)
	}
	there := *c
	there.on = on
	if _, err := meter.RegisterCallback(there.observe, on.observables()...); err != nil {
		return fmt.Errorf("observe instruments: %w", err)
	}
	c.metrics.on.Store(on)
	return nil
}

// observe is called once per reader and collection.
func (c *collection) observe(_ context.Context, o metric.Observer) error {
	snapshot := c.sizes.snapshots.take(c.settings.Registry)
	c.settle() // after the snapshot, in which those connections are not open any more
	c.metrics.observe(o, c.on)
	for _, p := range lifecycle.Phases() {
		o.ObserveInt64(c.on.phaseActive, int64(snapshot.Phases[p]), c.phases.of(p).observe...)
	}
	c.observeConnections(o, snapshot)
	c.observeFlows(o, snapshot)
	c.observeSystem(o)
	c.losses.each(func(s signal, why loss, n int64) {
		o.ObserveInt64(c.on.telemetryDropped, n, c.drops.of(dropKey{s, why}).observe...)
	})
	o.ObserveInt64(c.on.logSuppressed, c.suppressed.total.Load())
	o.ObserveInt64(c.on.drainRemaining, int64(c.settings.DrainRemaining()))
	c.observeUpstreams(o)
	c.workers.observe(o, c.on, c.settings.Workers(), time.Now())
	c.process.observe(o, c.on)
	return nil
}

func (c *collection) observeConnections(o metric.Observer, s lifecycle.Snapshot) {
	active := make(map[activeKey]int64)
	for k, t := range s.Totals {
		k.Route, k.Upstream = c.known.route(k.Route), c.known.upstream(k.Upstream)
		active[activeKey{k, true}] += int64(t.Active)
		active[activeKey{k, false}] += int64(t.Outdated)
	}
	for k, n := range active {
		o.ObserveInt64(c.on.connectionActive, n, c.actives.of(k).observe...)
	}
	for route, n := range c.settings.Limits() {
		if n > 0 {
			o.ObserveInt64(c.on.connectionLimit, int64(n), c.limits.of(route).observe...)
		}
	}
}

func (c *collection) observeSystem(o metric.Observer) {
	if y := c.settings.System; y != nil {
		now := y.State()
		for _, s := range lifecycle.States() {
			var is int64
			if s == now {
				is = 1
			}
			o.ObserveInt64(c.on.systemStatus, is, c.states.of(s).observe...)
		}
	}
	for _, cert := range c.settings.Certificates() {
		o.ObserveFloat64(c.on.tlsCertificateNotAfter, float64(cert.NotAfter.UnixNano())/1e9, c.certificates.of(cert.Name).observe...)
	}
}

// observeFlows sums up by what each instrument tells before it observes: the SDK adds up nothing
// reliably that is observed twice under the same attributes.
func (c *collection) observeFlows(o metric.Observer, s lifecycle.Snapshot) {
	io, messages, frames, violations := sum{}, sum{}, sum{}, sum{}
	stall := make(map[flowKey]time.Duration)
	for k, t := range s.Totals {
		route, upstream := c.known.route(k.Route), c.known.upstream(k.Upstream)
		for _, d := range []lifecycle.Direction{lifecycle.Upstream, lifecycle.Downstream} {
			n := &t.Flows[d]
			io.add(flowKey{direction: d, route: route, upstream: upstream}, n.Bytes)
			messages.add(flowKey{d, keyMessageType, "text", route, upstream}, n.Text)
			messages.add(flowKey{d, keyMessageType, "binary", route, upstream}, n.Binary)
			frames.add(flowKey{direction: d, key: keyFrameType, kind: "ping", route: route}, n.Ping)
			frames.add(flowKey{direction: d, key: keyFrameType, kind: "pong", route: route}, n.Pong)
			frames.add(flowKey{direction: d, key: keyFrameType, kind: "close", route: route}, n.CloseFrames)
			stall[flowKey{direction: d, route: route}] += n.Stall
			for i, kind := range c.settings.ViolationKinds {
				if kind != "" && i < len(n.Violations) {
					violations.add(flowKey{direction: d, key: keyViolationKind, kind: kind, route: route}, n.Violations[i])
				}
			}
		}
	}
	io.observe(o, c.on.io, c.flows)
	messages.observe(o, c.on.messages, c.flows)
	frames.observe(o, c.on.controlFrames, c.flows)
	violations.observe(o, c.on.protocolViolations, c.flows)
	for k, took := range stall {
		o.ObserveFloat64(c.on.stallTime, took.Seconds(), c.flows.of(k).observe...)
	}
}

type sum map[flowKey]uint64

func (s sum) add(k flowKey, n uint64) { s[k] += n }

func (s sum) observe(o metric.Observer, i metric.Int64Observable, under *sets[flowKey]) {
	for k, n := range s {
		o.ObserveInt64(i, int64(n), under.of(k).observe...)
	}
}

func (k flowKey) attributes() list {
	l := list{keyDirection.String(k.direction.String()), keyRouteName.String(k.route)}
	l.string(keyUpstreamName, k.upstream)
	if k.kind != "" {
		l.string(k.key, k.kind)
	}
	return l
}

func (k activeKey) attributes() list {
	l := list{keyMode.String(k.Mode.String()), keyRouteName.String(k.Route), keyConfigCurrent.Bool(k.current)}
	l.string(keyUpstreamName, k.Upstream) // forward traffic has none
	return l
}

func (k dropKey) attributes() list {
	return list{keySignal.String(k.signal.String()), keyErrorType.String(k.why.String())}
}

// limitAttributes has no route where the limit is the process's.
func limitAttributes(route string) list {
	var l list
	l.string(keyRouteName, route)
	return l
}

func stateAttributes(s lifecycle.State) list { return list{keySystemState.String(s.String())} }
func phaseAttributes(p lifecycle.Phase) list { return list{keyPhaseName.String(p.String())} }
func certificateAttributes(name string) list { return list{keyTLSCertificateName.String(name)} }

// snapshots keeps the registry's latest snapshot for the producer, which runs right after the callback.
// Snapshots are taken one after the other, so what is read never goes back.
type snapshots struct {
	mu     sync.Mutex
	latest lifecycle.Snapshot
	taken  bool
}

func (s *snapshots) take(r *lifecycle.Registry) lifecycle.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latest, s.taken = r.Snapshot(), true
	return s.latest
}

func (s *snapshots) last() (lifecycle.Snapshot, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.latest, s.taken
}
