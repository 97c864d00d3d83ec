package main

import (
	"fmt"
	"os"
	"runtime"

	"wsproxy/access"
	"wsproxy/config"
	"wsproxy/proxy"
)

// capacity is how much the process takes on. It is asked for once everything is open that is open for
// good.
func (a *app) capacity() proxy.Capacity {
	l := a.current().cfg.Limits
	c := proxy.Capacity{Connections: l.Connections, Pending: l.Handshakes}
	limit, open := descriptors()
	if limit == 0 {
		return c
	}
	c.Descriptors, c.Pending = shareOut(limit, open, l.Handshakes)
	if can := (proxy.Capacity{Descriptors: c.Descriptors}).Limit(); can < l.Connections {
		a.log.Warn(fmt.Sprintf("limits.connections is %d, but the limit of %d open files has room for %d; raise it with ulimit -n or LimitNOFILE=",
			l.Connections, limit, can))
	}
	return c
}

// shareOut divides a limit of open files, of which open are in use. What it leaves is for telemetry, the
// admin port, health checks, files, and the event loops' pipes.
func shareOut(limit, open, handshakes int) (connections, pending int) {
	margin := 16 + min(limit/16, 1024+128*runtime.GOMAXPROCS(0))
	free := max(limit-open-margin, 8)
	pending = max(min(handshakes, free/4), 1)
	return free - pending, pending
}

// countOpen is how many descriptors are open, or a guess.
func countOpen() int {
	for _, folder := range []string{"/proc/self/fd", "/dev/fd"} {
		if names, err := os.ReadDir(folder); err == nil {
			return len(names)
		}
	}
	return 32
}

// connectionLimits are the limits of connections as telemetry shows them: by route, the process's under "".
func (gen *generation) connectionLimits() map[string]int {
	all := map[string]int{"": gen.proxy.Capacity.Limit()}
	for _, r := range gen.cfg.Routes {
		all[r.Name] = r.Limits.Connections
	}
	return all
}

// limited is a limiter and what it is to hold to once its generation is in force.
type limited struct {
	limiter *access.Limiter
	limits  access.Limits
}

// limiter is the one of a route or listener, nil if there is nothing to limit. It is the same in every
// generation, so that connections of former ones count.
func (gen *generation) limiter(of string, l access.Limits) proxy.Limiter {
	if l == (access.Limits{}) {
		return nil
	}
	m := gen.limiters[of]
	if m == nil {
		m = new(access.Limiter)
	}
	gen.limited[of] = limited{m, l}
	return m
}

// useLimits puts the generation's limits in force.
func (gen *generation) useLimits() {
	gen.limiters = make(map[string]*access.Limiter)
	for of, l := range gen.limited {
		l.limiter.Set(l.limits)
		gen.limiters[of] = l.limiter
	}
}

func listenerLimits(l config.ListenerLimits) access.Limits {
	return access.Limits{
		Connections: l.Connections, PerClient: l.PerClient, Rate: l.HandshakesPerSecond, ClientRate: l.ClientHandshakesPerSecond,
	}
}

func routeLimits(l config.Limits) access.Limits {
	return access.Limits{
		Connections: l.Connections, PerClient: l.PerClient, PerIdentity: l.PerIdentity,
		Rate: l.HandshakesPerSecond, ClientRate: l.ClientHandshakesPerSecond,
	}
}
