package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"wsproxy/lifecycle"
)

// targetKey is a series of wsproxy.upstream.status.
type targetKey struct {
	upstream, target string
	state            lifecycle.TargetState
}

func (k targetKey) attributes() list {
	return list{keyUpstreamName.String(k.upstream), keyTargetName.String(k.target), keyUpstreamState.String(k.state.String())}
}

// observeUpstreams has a 1 for the state that a target is in and a 0 for each of the others.
func (c *collection) observeUpstreams(o metric.Observer) {
	for _, u := range c.settings.Upstreams() {
		for _, t := range u.Targets {
			for _, s := range lifecycle.TargetStates() {
				var is int64
				if s == t.State {
					is = 1
				}
				o.ObserveInt64(c.on.upstreamStatus, is, c.targets.of(targetKey{u.Name, t.Name, s}).observe...)
			}
		}
	}
}

// TargetChanged tells of an address of a target that went into another state.
func (t *Telemetry) TargetChanged(c lifecycle.TargetChange) {
	level := slog.LevelInfo
	switch {
	case c.Failure != nil:
		level = slog.LevelWarn
	case !c.From.Usable() || c.To == lifecycle.TargetDraining:
		level = LevelNotice
	}
	attrs := []slog.Attr{
		slog.String("upstream", c.Upstream), slog.String("target", c.Target), slog.String("address", c.Address),
		slog.String("state", c.To.String()), slog.String("from", c.From.String()),
	}
	l := list{
		keyUpstreamName.String(c.Upstream), keyTargetName.String(c.Target), keyUpstreamAddress.String(c.Address),
		keyUpstreamState.String(c.To.String()), keyUpstreamPreviousState.String(c.From.String()),
	}
	if c.Failure != nil {
		attrs = append(attrs, failed(c.Failure)...)
		l.failure(c.Failure.Reason)
	}
	t.targets.LogAttrs(context.Background(), level, "target "+c.To.String(), attrs...)
	t.events.emit(time.Now(), trace.SpanContext{}, eventUpstreamStateChanged, level, l)
}

// LookedUp tells of a lookup of where a target is that went another way than the one before.
func (t *Telemetry) LookedUp(u lifecycle.Lookup) {
	level, message := slog.LevelInfo, "target looked up"
	attrs := []slog.Attr{slog.String("upstream", u.Upstream), slog.String("target", u.Target), slog.Int("addresses", u.Addresses)}
	l := list{keyUpstreamName.String(u.Upstream), keyTargetName.String(u.Target), keyUpstreamLookupCount.Int(u.Addresses)}
	if f, ok := errors.AsType[*lifecycle.Failure](u.Failure); ok {
		level, message = slog.LevelWarn, "target can't be looked up"
		attrs = append(attrs, failed(f)...)
		l.failure(f.Reason)
	}
	t.targets.LogAttrs(context.Background(), level, message, attrs...)
	t.events.emit(time.Now(), trace.SpanContext{}, eventUpstreamLookedUp, level, l)
}

func failed(f *lifecycle.Failure) []slog.Attr {
	attrs := []slog.Attr{slog.String("reason", f.Reason.String())}
	if f.Err != nil {
		attrs = append(attrs, slog.String("error", text(f.Err.Error())))
	}
	return attrs
}
