package telemetry

import (
	"context"
	"log/slog"
	"maps"

	"wsproxy/lifecycle"
)

// LevelNotice is for what is normal but worth seeing: between info and warn.
const LevelNotice = slog.Level(1)

// Levels is the least severity that is logged: in general, of components, and of what concerns a route,
// which wins.
type Levels struct {
	General    slog.Level
	Components map[string]slog.Level
	Routes     map[string]slog.Level
}

func (l *Levels) clone() *Levels {
	return &Levels{l.General, maps.Clone(l.Components), maps.Clone(l.Routes)}
}

// of is the level of a component's line about a route; either may be empty.
func (l *Levels) of(component, route string) slog.Level {
	if least, ok := l.Routes[route]; ok {
		return least
	}
	if least, ok := l.Components[component]; ok {
		return least
	}
	return l.General
}

// lowest is the least that of may return for a component.
func (l *Levels) lowest(component string) slog.Level {
	least := l.of(component, "")
	for _, of := range l.Routes {
		least = min(least, of)
	}
	return least
}

// The keys of a line's attributes that say which level it is held to.
const (
	componentKey = "component"
	routeKey     = "route"
)

// leveled passes on what the console's levels let through. A line's component is one of its logger's
// attributes; its route may be one of its own, too, or that of ctx's connection.
type leveled struct {
	slog.Handler
	console          *console
	component, route string
	grouped          bool // attributes from now on are not at the top
}

func (h leveled) Enabled(ctx context.Context, at slog.Level) bool {
	levels := h.console.levels.Load()
	if h.route != "" {
		return at >= levels.of(h.component, h.route)
	}
	return at >= levels.lowest(h.component) && h.Handler.Enabled(ctx, at)
}

func (h leveled) Handle(ctx context.Context, r slog.Record) error {
	levels := h.console.levels.Load()
	if len(levels.Routes) > 0 && r.Level < levels.of(h.component, h.routeOf(ctx, r)) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

func (h leveled) routeOf(ctx context.Context, r slog.Record) string {
	route := h.route
	if !h.grouped {
		r.Attrs(func(a slog.Attr) bool {
			if a.Key == routeKey {
				route = a.Value.String()
			}
			return a.Key != routeKey
		})
	}
	if c := lifecycle.FromContext(ctx); c != nil && route == "" {
		route = c.Facts().Route
	}
	return route
}

func (h leveled) WithAttrs(attrs []slog.Attr) slog.Handler {
	for _, a := range attrs {
		switch {
		case h.grouped:
		case a.Key == componentKey:
			h.component = a.Value.String()
		case a.Key == routeKey:
			h.route = a.Value.String()
		}
	}
	h.Handler = h.Handler.WithAttrs(attrs)
	return h
}

func (h leveled) WithGroup(name string) slog.Handler {
	h.grouped = h.grouped || name != ""
	h.Handler = h.Handler.WithGroup(name)
	return h
}
