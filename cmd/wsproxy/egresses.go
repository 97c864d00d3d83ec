package main

import (
	"fmt"
	"os"
	"reflect"
	"slices"

	"wsproxy/config"
	"wsproxy/egress"
	"wsproxy/lifecycle"
)

// buildEgresses makes every egress by its name, each once: whatever goes through it has its part in what
// is known of it, over reloads that leave it and its fallbacks as they are.
func (gen *generation) buildEgresses(former *generation) (map[string]*egress.Proxy, error) {
	all := make(map[string]*egress.Proxy)
	for i, c := range gen.cfg.Egress {
		p, err := gen.egress(c)
		if err != nil {
			return nil, fmt.Errorf("egress[%d]: %w", i, err)
		}
		all[c.Name] = p
	}
	same := make(map[string]bool)
	for name := range all {
		if former != nil && former.egresses[name] != nil && reflect.DeepEqual(former.egressChain(name), gen.egressChain(name)) {
			all[name], same[name] = former.egresses[name], true
		}
	}
	for _, c := range gen.cfg.Egress {
		if !same[c.Name] {
			all[c.Name].Fallback = all[c.Fallback]
		}
	}
	return all, nil
}

// egressChain is an egress and, in their order, its fallbacks.
func (gen *generation) egressChain(name string) []config.Egress {
	var chain []config.Egress
	for name != "" {
		i := slices.IndexFunc(gen.cfg.Egress, func(e config.Egress) bool { return e.Name == name })
		if i < 0 {
			break
		}
		chain, name = append(chain, gen.cfg.Egress[i]), gen.cfg.Egress[i].Fallback
	}
	return chain
}

func (gen *generation) egress(c config.Egress) (*egress.Proxy, error) {
	resolve := map[config.Resolve]egress.Resolve{config.ResolveLocal: egress.ResolveHere, config.ResolveRemote: egress.ResolveThere}
	p := &egress.Proxy{Name: c.Name, Address: c.URL.Address, Trusted: c.Trusted, Resolve: resolve[c.Resolve]}
	if user, password, ok := c.UserPassword(); ok {
		p.Credentials = func() (string, string) { return user, password }
	}
	var err error
	if p.Bypass, err = egress.ParseBypass(c.Bypass); err != nil {
		return nil, err
	}
	if p.TLS, err = gen.clientTLS(c.TLS); err != nil {
		return nil, err
	}
	if c.FromEnvironment {
		return p, p.FromEnvironment(os.Getenv)
	}
	p.Type, err = egress.ParseType(c.URL.Scheme)
	return p, err
}

// egressStatus tells of every egress of the generation in force.
func (a *app) egressStatus() []lifecycle.EgressStatus {
	gen := a.current()
	var all []lifecycle.EgressStatus
	for _, c := range gen.cfg.Egress {
		h := gen.egresses[c.Name].Health()
		all = append(all, lifecycle.EgressStatus{
			Name: c.Name, Type: c.URL.Scheme, Address: c.URL.Address, Fallback: c.Fallback,
			Up: h.Up, Granted: h.Granted, Failed: h.Failed, Failures: h.Failures, Reason: h.Reason, At: h.At,
		})
	}
	return all
}
