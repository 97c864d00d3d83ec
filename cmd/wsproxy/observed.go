package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"wsproxy/config"
	"wsproxy/lifecycle"
	"wsproxy/proxy"
	"wsproxy/proxy/frame"
	"wsproxy/telemetry"
	"wsproxy/tlsconf"
)

// telemetrySettings is the telemetry block, and what telemetry must know of everything else.
func (gen *generation) telemetrySettings() (telemetry.Settings, error) {
	t := gen.cfg.Telemetry
	otlp, err := gen.otlp(t.OTLP)
	if err != nil {
		return telemetry.Settings{}, fmt.Errorf("telemetry.otlp: %w", err)
	}
	segments := t.Traces.Segments
	s := telemetry.Settings{
		ServiceName: t.ServiceName, Version: version(), Resource: t.Resource, OTLP: otlp,
		Ratio: &t.Traces.Ratio, Keep: kept(t.Traces), Linked: t.Traces.Connection == config.SpanPlacementLinked,
		Segments: telemetry.Segments{First: time.Duration(segments.First), Longest: time.Duration(segments.Longest), Off: segments.Off},
		Interval: time.Duration(t.Metrics.Interval), NoLogs: !t.Logs,
		Registry: gen.registry, System: gen.system, Routes: gen.telemetryRoutes(), Hosts: gen.hosts(), ViolationKinds: violationKinds(),
		Certificates: gen.certificates, DrainRemaining: gen.drainRemaining, Workers: gen.workers, Upstreams: gen.upstreams, DrainCode: gen.cfg.Drain.Code,
		Limits: func() map[string]int {
			if limits := gen.limits.Load(); limits != nil {
				return *limits
			}
			return nil
		},
		Log: telemetry.Log{Writer: gen.options.console, Format: logFormat(gen.cfg.Log.Format), Opened: gen.cfg.Log.Opened},
	}
	levels := logLevels(gen.cfg.Log)
	s.Log.Level, s.Log.Components, s.Log.Routes = levels.General, levels.Components, levels.Routes
	if s.Policies, err = policies(t.Metrics); err != nil {
		return s, err
	}
	if gen.options.dry {
		s.Env = func(name string) string { return map[string]string{"OTEL_SDK_DISABLED": "true"}[name] }
	}
	return s, nil
}

// policies are those of a configuration, for telemetry.Settings and Telemetry.SetPolicies.
func policies(m config.Metrics) ([]telemetry.Policy, error) {
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
	return all, telemetry.CheckPolicies(all, time.Duration(m.Interval))
}

func (gen *generation) telemetryRoutes() []telemetry.Route {
	var all []telemetry.Route
	for _, r := range gen.cfg.Routes {
		route := telemetry.Route{Name: r.Name, Upstream: r.Upstream, Mode: lifecycle.ModeReverse, LostCode: int(r.OnUpstreamLost.Code()), Identity: r.Identity != ""}
		if r.OnUpstreamLost == config.UpstreamLostFIN {
			route.LostCode = lifecycle.NoCode
		}
		all = append(all, route)
	}
	if gen.forwards() {
		all = append(all, telemetry.Route{Name: proxy.ForwardRoute, Mode: lifecycle.ModeForward})
	}
	return all
}

// kept is what is traced whatever the sampling.
func kept(t config.Traces) telemetry.Keep {
	all := t.Keep == nil
	k := telemetry.Keep{Failed: all || slices.Contains(t.Keep, config.KeptFailed), Abnormal: all || slices.Contains(t.Keep, config.KeptAbnormal)}
	if all || slices.Contains(t.Keep, config.KeptSlow) {
		k.Slow = time.Duration(t.Slow)
	}
	return k
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

func (gen *generation) otlp(c *config.OTLP) (telemetry.OTLP, error) {
	if c == nil {
		return telemetry.OTLP{}, nil
	}
	o := telemetry.OTLP{Endpoint: string(c.Endpoint), Protocol: string(c.Protocol), Headers: make(map[string]string)}
	for name, value := range c.Headers {
		o.Headers[name] = value.Value()
	}
	if c.TLS != nil {
		newest, err := gen.clientTLS(c.TLS)
		if err != nil {
			return o, err
		}
		o.TLS = newest() // exporters keep theirs; a renewed certificate needs a restart
	}
	return o, nil
}

// hosts are the names that lookups may be about, which metrics tell apart.
func (gen *generation) hosts() []string {
	var names []string
	add := func(address string) {
		if host, _, err := net.SplitHostPort(address); err == nil {
			names = append(names, host)
		}
	}
	for _, u := range gen.cfg.Upstreams {
		for _, t := range u.Targets {
			add(t.Address)
		}
	}
	for _, e := range gen.cfg.Egress {
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
	for _, c := range a.current().tls.Certificates() {
		all = append(all, telemetry.Certificate{Name: c.Name, NotAfter: c.NotAfter})
	}
	return all
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
