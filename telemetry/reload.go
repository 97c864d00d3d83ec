package telemetry

import (
	"context"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/trace"

	"wsproxy/lifecycle"
)

// SetRoutes makes the names of another configuration known to metrics, beside those known before. It may be
// called at any time, by one goroutine.
func (t *Telemetry) SetRoutes(routes []Route, hosts []string) {
	if t.metrics == nil {
		return
	}
	t.metrics.known.add(routes, hosts)
	for _, r := range routes {
		t.settings.Registry.Declare(lifecycle.Key{Mode: r.Mode, Route: r.Name, Upstream: r.Upstream})
	}
	t.metrics.zero(&Settings{Routes: routes, DrainCode: t.settings.DrainCode})
}

// Reloaded tells of an attempt at another configuration.
func (t *Telemetry) Reloaded(r lifecycle.Reload) {
	if t.metrics != nil {
		t.metrics.reloads.add(r.Failure, 1)
	}
	level, message := LevelNotice, "configuration reloaded"
	attrs := []slog.Attr{slog.String("cause", text(r.Cause)), slog.Int("generation", r.Generation)}
	l := list{keyConfigGeneration.Int(r.Generation)}
	l.text(keyConfigReloadCause, r.Cause)
	if r.Failure == lifecycle.ReloadTaken {
		attrs = append(attrs, slog.Int("routes_changed", len(r.Changed)))
		l.int(keyConfigRoutesChanged, len(r.Changed))
	} else {
		level, message = slog.LevelWarn, "configuration not reloaded; the former one stays in force"
		attrs = append(attrs, slog.String("reason", r.Failure.String()), slog.Any("error", r.Err))
		l.string(keyErrorType, r.Failure.String())
		l.text(keyConfigProblem, r.Err.Error())
	}
	t.reloads.LogAttrs(context.Background(), level, message, attrs...)
	t.events.emit(time.Now(), trace.SpanContext{}, eventConfigReloaded, level, l)
}

func reloadAttributes(f lifecycle.ReloadFailure) list {
	var l list
	l.string(keyErrorType, f.String())
	return l
}
