package main

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"

	"wsproxy/admin"
	"wsproxy/config"
	"wsproxy/egress"
	"wsproxy/proxy"
	"wsproxy/telemetry"
	"wsproxy/tlsconf"
)

// generation is everything that is made from one configuration. What is as it was in the generation before is
// taken over from there, so that whoever uses it goes on: routes with their connections to upstreams, pools
// with what they know of their targets, TLS configurations with their session tickets.
type generation struct {
	*app
	number    int
	cfg       *config.Config
	tls       *tlsconf.Store
	egresses  map[string]*egress.Proxy // by name; nil under none, which is the direct way
	groups    map[string]*group
	routes    map[string]*servedRoute
	forward   *servedForward // nil without a listener in forward mode
	table     *proxy.Table
	listeners []proxy.Listener // as the configuration has them, not bound
	policies  []telemetry.Policy
	limited   map[string]limited // by what they are of
	access    admin.Access

	running sync.WaitGroup
	stop    context.CancelFunc // of what watches files; nil before watch
}

// servedRoute is a route with all that decides how its connections are treated.
type servedRoute struct {
	*proxy.Route
	guard     *guard // nil where everyone is let in
	effective effective
	onChange  config.OnChange
	since     int // the generation that made it
}

// effective is a route with what it refers to. Two that are equal treat their connections alike.
type effective struct {
	route    config.Route
	upstream config.Upstream
	egress   []config.Egress // the route's or the upstream's, and its fallbacks
}

// newGeneration begins with what everything else needs: the place for certificates.
func (a *app) newGeneration(cfg *config.Config, former *generation) *generation {
	gen := &generation{app: a, number: 1, cfg: cfg, groups: make(map[string]*group), routes: make(map[string]*servedRoute), limited: make(map[string]limited)}
	if former == nil {
		gen.tls = a.certificateStore()
		return gen
	}
	gen.number, gen.tls = former.number+1, former.tls.Next()
	return gen
}

// build makes everything that can go wrong. Nothing of it is in use yet.
func (gen *generation) build(former *generation) (err error) {
	if gen.policies, err = policies(gen.cfg.Telemetry.Metrics); err != nil {
		return err
	}
	if gen.egresses, err = gen.buildEgresses(former); err != nil {
		return err
	}
	if err := gen.buildForward(former); err != nil {
		return fmt.Errorf("forward.%w", err)
	}
	if gen.listeners, err = gen.listenerSettings(); err != nil {
		return err
	}
	if gen.access, err = gen.adminAccess(); err != nil {
		return fmt.Errorf("admin.tls: %w", err)
	}
	for i, u := range gen.cfg.Upstreams {
		g, err := gen.group(u)
		if err != nil {
			return fmt.Errorf("upstreams[%d]: %w", i, err)
		}
		if former != nil {
			if same := former.groups[u.Name]; same != nil && reflect.DeepEqual(same.effective, g.effective) {
				g = same
			}
		}
		gen.groups[u.Name] = g
	}
	return gen.buildRoutes(former)
}

func (gen *generation) buildRoutes(former *generation) error {
	var routes []*proxy.Route
	for i, r := range gen.cfg.Routes {
		g := gen.groups[r.Upstream]
		served, err := gen.route(r, g)
		if err != nil {
			return fmt.Errorf("routes[%d]: %w", i, err)
		}
		served.effective = effective{r, g.effective.upstream, gen.egressChain(cmp.Or(r.Egress, g.effective.upstream.Egress))}
		served.onChange, served.since = r.OnChange, gen.number
		served.effective.route.OnChange = "" // says nothing of how connections are treated until there is another change
		if former != nil {
			if same := former.routes[r.Name]; same != nil && reflect.DeepEqual(same.effective, served.effective) {
				served.Route, served.guard, served.since = same.Route, same.guard, same.since
			}
		}
		gen.routes[r.Name] = served
		routes = append(routes, served.Route)
	}
	var err error
	gen.table, err = gen.proxy.NewTable(gen.number, routes)
	return err
}

// use makes the generation the one in force.
func (gen *generation) use(former *generation) {
	var all []*group
	for _, u := range gen.cfg.Upstreams {
		g := gen.groups[u.Name]
		if former != nil {
			g.takeOver(former.groups[u.Name])
		}
		all = append(all, g)
	}
	gen.app.groups.Store(&all)
	since := make(map[string]int)
	for name, r := range gen.routes {
		since[name] = r.since
	}
	gen.useLimits()
	if gen.forward != nil {
		since[proxy.ForwardRoute] = gen.forward.since
	}
	gen.registry.SetGeneration(gen.number, since)
	gen.proxy.Use(gen.table)
	gen.generation.Store(gen)
}

// watch follows the upstreams, and the files of certificates and credentials, until retire.
func (gen *generation) watch() {
	gen.followUpstreams()
	ctx, stop := context.WithCancel(context.Background())
	gen.stop = stop
	gen.running.Go(func() { gen.tls.Watch(ctx) })
	gen.watchGuards(ctx)
	if gen.forward != nil && gen.forward.passwords != nil {
		gen.running.Go(func() { gen.watchPasswords(ctx) })
	}
}

// retire ends what watch began, but for what next goes on with; nil is nobody.
func (gen *generation) retire(next *generation) {
	for name, g := range gen.groups {
		if next == nil || next.groups[name] != g {
			g.end()
		}
	}
	if gen.stop != nil {
		gen.stop()
	}
	gen.running.Wait()
}

// change is a route that a reload changed or removed, and what becomes of its open connections.
type change struct {
	route    string
	onChange config.OnChange
}

// changes are the routes of former that are not as they were, that of forward traffic among them.
func (gen *generation) changes(former *generation) []change {
	var all []change
	for name, was := range former.routes {
		switch is := gen.routes[name]; {
		case is == nil:
			all = append(all, change{name, was.onChange})
		case is.Route != was.Route:
			all = append(all, change{name, is.onChange})
		}
	}
	if was, is := former.forward, gen.forward; was != nil {
		switch {
		case is == nil:
			all = append(all, change{proxy.ForwardRoute, was.onChange})
		case is.Forward != was.Forward:
			all = append(all, change{proxy.ForwardRoute, is.onChange})
		}
	}
	slices.SortFunc(all, func(x, y change) int { return cmp.Compare(x.route, y.route) })
	return all
}
