package main

import (
	"context"
	"time"

	"wsproxy/admin"
	"wsproxy/lifecycle"
)

// control is what the admin API may do to an app. It implements admin.Control.
type control struct{ *app }

func (c control) Reload(ctx context.Context, cause string) lifecycle.Reload {
	return c.reload(ctx, cause)
}

func (c control) Drain(d admin.Drain) int {
	set := c.current().cfg.Drain
	r := drainRequest{route: d.Route, upstream: d.Upstream, share: d.Share, spread: time.Duration(set.Spread), code: set.Code, reason: set.Reason}
	if d.Spread != nil {
		r.spread = time.Duration(*d.Spread * float64(time.Second))
	}
	if d.Code != 0 {
		r.code = d.Code
	}
	if d.Reason != nil {
		r.reason = *d.Reason
	}
	return c.drainSome(r)
}

func (c control) Routes() []admin.Route {
	gen := c.current()
	totals := c.registry.Snapshot().Totals
	var all []admin.Route
	for _, r := range gen.cfg.Routes {
		route := admin.Route{Name: r.Name, Match: r.Match, Upstream: r.Upstream, OnChange: string(r.OnChange), Since: gen.routes[r.Name].since}
		for k, t := range totals {
			if k.Route == r.Name {
				route.Open += t.Active + t.Outdated
				route.Outdated += t.Outdated
			}
		}
		all = append(all, route)
	}
	return all
}
