package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"wsproxy/config"
	"wsproxy/lifecycle"
	"wsproxy/proxy/frame"
	"wsproxy/telemetry"
	"wsproxy/tlsconf"
)

// telemetrySettings is the telemetry block, and what telemetry must know of everything else.
func (a *app) telemetrySettings() (telemetry.Settings, error) {
	t := a.cfg.Telemetry
	otlp, err := a.otlp(t.OTLP)
	if err != nil {
		return telemetry.Settings{}, fmt.Errorf("telemetry.otlp: %w", err)
	}
	segments := t.Traces.Segments
	s := telemetry.Settings{
		ServiceName: t.ServiceName, Version: version(), Resource: t.Resource, OTLP: otlp,
		Ratio: &t.Traces.Ratio, Linked: t.Traces.Connection == config.SpanPlacementLinked,
		Segments: telemetry.Segments{First: time.Duration(segments.First), Longest: time.Duration(segments.Longest), Off: segments.Off},
		Interval: time.Duration(t.Metrics.Interval), NoLogs: !t.Logs,
		Registry: a.registry, System: a.system, Hosts: a.hosts(), ViolationKinds: violationKinds(),
		Certificates: a.certificates, DrainRemaining: a.drainRemaining, Workers: a.workers, DrainCode: a.cfg.Drain.Code,
		Limits: func() map[string]int {
			if limits := a.limits.Load(); limits != nil {
				return *limits
			}
			return nil
		},
		Log: telemetry.Log{Format: logFormat(a.cfg.Log.Format), Opened: a.cfg.Log.Opened},
	}
	levels := logLevels(a.cfg.Log)
	s.Log.Level, s.Log.Components, s.Log.Routes = levels.General, levels.Components, levels.Routes
	s.Policies = policies(t.Metrics)
	if err := telemetry.CheckPolicies(s.Policies, s.Interval); err != nil {
		return s, err
	}
	for _, r := range a.cfg.Routes {
		route := telemetry.Route{Name: r.Name, Upstream: r.Upstream, Mode: lifecycle.ModeReverse, LostCode: int(r.OnUpstreamLost.Code())}
		if r.OnUpstreamLost == config.UpstreamLostFIN {
			route.LostCode = lifecycle.NoCode
		}
		s.Routes = append(s.Routes, route)
		a.registry.Declare(lifecycle.Key{Mode: lifecycle.ModeReverse, Route: r.Name, Upstream: r.Upstream})
	}
	if a.options.dry {
		s.Env = func(name string) string { return map[string]string{"OTEL_SDK_DISABLED": "true"}[name] }
	}
	return s, nil
}

// policies are those of a configuration, for telemetry.Settings and Telemetry.SetPolicies.
func policies(m config.Metrics) []telemetry.Policy {
	var all []telemetry.Policy
	for _, c := range m.Policies {
		p := telemetry.Policy{
			Match: c.Match, Drop: c.Drop, Attributes: c.Attributes, Interval: time.Duration(c.Interval),
			Exponential: c.Histogram == config.HistogramExponential,
		}
		for _, b := range c.Buckets {
			p.Buckets = append(p.Buckets, b.Value)
		}
		all = append(all, p)
	}
	return all
}

// logLevels are those of a configuration, for telemetry.Settings and Telemetry.SetLevels.
func logLevels(l config.Log) telemetry.Levels {
	of := func(table map[string]config.LogLevel) map[string]slog.Level {
		levels := make(map[string]slog.Level)
		for name, level := range table {
			levels[name] = level.Slog()
		}
		return levels
	}
	return telemetry.Levels{General: l.Level.Slog(), Components: of(l.Components), Routes: of(l.Routes)}
}

func (a *app) otlp(c *config.OTLP) (telemetry.OTLP, error) {
	if c == nil {
		return telemetry.OTLP{}, nil
	}
	o := telemetry.OTLP{Endpoint: string(c.Endpoint), Protocol: string(c.Protocol), Headers: make(map[string]string)}
	for name, value := range c.Headers {
		o.Headers[name] = value.Value()
	}
	if c.TLS != nil {
		newest, err := a.clientTLS(c.TLS)
		if err != nil {
			return o, err
		}
		o.TLS = newest() // exporters keep theirs; a renewed certificate needs a restart
	}
	return o, nil
}

// hosts are the names that lookups may be about, which metrics tell apart.
func (a *app) hosts() []string {
	var names []string
	add := func(address string) {
		if host, _, err := net.SplitHostPort(address); err == nil {
			names = append(names, host)
		}
	}
	for _, u := range a.cfg.Upstreams {
		for _, t := range u.Targets {
			add(t.Address)
		}
	}
	for _, e := range a.cfg.Egress {
		add(e.URL.Address)
	}
	return names
}

// violationKinds are the names of framing violations by their number; the first is none.
func violationKinds() []string {
	var kinds []string
	for v := range frame.Violation(frame.ViolationKinds) {
		kinds = append(kinds, strings.TrimPrefix(v.String(), frame.ViolationNone.String()))
	}
	return kinds
}

func logFormat(f config.LogFormat) string {
	if f == config.LogFormatAuto {
		return ""
	}
	return string(f)
}

func (a *app) certificates() []telemetry.Certificate {
	var all []telemetry.Certificate
	for _, c := range a.tls.Certificates() {
		all = append(all, telemetry.Certificate{Name: c.Name, NotAfter: c.NotAfter})
	}
	return all
}

// drainRemaining is how many connections a drain still waits for.
func (a *app) drainRemaining() int {
	if a.system.State() != lifecycle.StateDraining {
		return 0
	}
	return a.registry.Snapshot().Open()
}

// workers are the engine's event loops; before it is made there are none.
func (a *app) workers() []lifecycle.Worker {
	if e := a.observed.Load(); e != nil {
		return (*e).Workers()
	}
	return nil
}

// certificateStore makes the store of everything that does TLS.
func (a *app) certificateStore() *tlsconf.Store {
	return &tlsconf.Store{OnReload: func(err error) {
		log := a.telemetry.Component(string(config.LogTLS))
		if err != nil {
			log.Warn("certificates were not all renewed; the former ones are still served", "error", err)
			return
		}
		log.Log(context.Background(), telemetry.LevelNotice, "certificates were read anew")
	}}
}
