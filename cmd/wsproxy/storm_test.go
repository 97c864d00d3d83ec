package main

import (
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"wsproxy/internal/otlpsink"
	"wsproxy/lifecycle"
	"wsproxy/lifecycle/ledger"
)

const (
	stormVisitors = 500 // in a mode
	stormAtOnce   = 24
	stormStay     = time.Second // how long a visitor stays at most, give or take a half
)

// storm is a proxy among targets and clients of whims, watched by a ledger, a scraper and a collector.
type storm struct {
	*rig
	seed    uint64
	ledger  ledger.Ledger
	sink    *otlpsink.Sink
	targets map[string]string // addresses by name
	echo    string            // an address where everything comes back
}

// newStorm has targets, and under those names what they answer. change has the proxy use them.
func newStorm(t *testing.T, change func(s *storm, cfg object)) *storm {
	t.Helper()
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "50") // milliseconds
	s := &storm{seed: rand.Uint64(), sink: otlpsink.Start(), targets: make(map[string]string)}
	t.Cleanup(s.sink.Close)
	t.Logf("seed %d", s.seed)
	z := &zone{answers: map[string][][]string{"echo.test": {{"127.0.0.1"}}, "denied.test": {{"127.0.0.2"}}}}
	s.targets["fickle"] = serveWhims(t, s.seed, answers("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"), answers("garbage\r\n\r\n"), resets, late,
		answers(accepted+"\x88\x02\x03\xe8"), answers(accepted+"\x83\x00"), accepts, accepts)
	s.targets["hangs"] = serveWhims(t, s.seed, hangs)
	s.targets["closed"] = closedPort(t)
	s.targets["egress"] = serveWhims(t, s.seed+1, answers("HTTP/1.1 407 Who\r\nContent-Length: 0\r\n\r\n"), answers("HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n"),
		answers("garbage\r\n\r\n"), resets, late, joins, joins, joins, joins)
	s.rig = newRigWith(t, options{resolver: z.resolver(t), observers: []lifecycle.Observer{&s.ledger}}, func(cfg object) {
		s.echo = strings.TrimPrefix(cfg["upstreams"].([]object)[0]["targets"].([]string)[0], "ws://")
		cfg["telemetry"] = object{"otlp": object{"endpoint": s.sink.URL, "protocol": "http/protobuf"}}
		change(s, cfg)
	})
	return s
}

// rage has visitors come and go, and /metrics scraped meanwhile.
func (s *storm) rage(openings func(dice *rand.Rand) visitor) {
	over, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		s.watch(over)
	}()
	var visitors sync.WaitGroup
	next := make(chan uint64)
	for range stormAtOnce {
		visitors.Go(func() {
			for n := range next {
				dice := rand.New(rand.NewPCG(s.seed, n))
				openings(dice).visit(dice)
			}
		})
	}
	for n := range uint64(stormVisitors) {
		next <- n
	}
	close(next)
	visitors.Wait()
	close(over)
	<-watched
}

// watch scrapes until the storm is over: no sum ever dips, and none is at odds with another.
func (s *storm) watch(over chan struct{}) {
	before, count := s.scraped(), 1
	defer func() { s.t.Logf("%d scrapes of %d series", count, len(before.values)) }()
	for {
		now := s.scraped()
		count++
		for _, wrong := range append(now.dips(before), now.disagreements()...) {
			s.t.Error(wrong)
		}
		before = now
		select {
		case <-over:
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// balances waits until everything that is over was told, and wants so many connections open, and so many being set up.
func (s *storm) balances(open, settingUp int) {
	s.t.Helper()
	var got map[string]int
	want := map[string]int{"in progress": settingUp, "active": open, "opened - closed": open, "accepted - opened - rejected - failed": settingUp}
	within(s.t, func() bool {
		m := s.scraped()
		opened := m.sum("wsproxy_connection_opened_total")
		got = map[string]int{
			"active": m.sum("wsproxy_connection_active"), "opened - closed": opened - m.sum("wsproxy_connection_closes_total"),
			"accepted - opened - rejected - failed": m.sum("wsproxy_connection_accepted_total") - opened -
				m.sum("wsproxy_connection_rejected_total") - m.sum("wsproxy_connection_failed_total"),
		}
		for _, p := range []string{"dns", "connect", "proxy", "tls", "upgrade"} {
			got["in progress"] += m.sum("wsproxy_phase_active", `phase_name="`+p+`"`)
		}
		return maps.Equal(got, want)
	})
	same(s.t, "sums", got, want)
}

// settles wants nothing to be left, and metrics and spans that say what the ledger says.
func (s *storm) settles() {
	s.t.Helper()
	s.balances(0, 0)
	for _, gauge := range []string{"wsproxy_phase_active", "wsproxy_tunnel_active", "wsproxy_worker_connections", "otel_sdk_span_live", "otel_sdk_processor_span_queue_size"} {
		eventually(s.t, gauge+" is 0", func() bool { return s.scraped().sum(gauge) == 0 })
	}
	if got := s.scrape(); !strings.Contains(got, "otel_sdk_span_live{") {
		s.t.Error("there is no otel_sdk_span_live")
	}
	eventually(s.t, "every connection has left", func() bool { sums := s.ledger.Sums(); return sums.Left == sums.Accepted })
	s.ledger.Check(s.t)
	sums, m := s.ledger.Sums(), s.scraped()
	s.t.Logf("%v", sums.Kinds)
	for _, k := range []lifecycle.OutcomeKind{lifecycle.OutcomeClosed, lifecycle.OutcomeRejected, lifecycle.OutcomeFailed, lifecycle.OutcomeUnused} {
		if sums.Kinds[k] == 0 {
			s.t.Errorf("%s: got none, want some", k)
		}
	}
	if got, want := m.sum("wsproxy_connection_unused_total"), sums.Kinds[lifecycle.OutcomeUnused]; got != want {
		s.t.Errorf("unused: got %d, want %d", got, want)
	}
	causes, failures, refusals, phases := make(map[string]int), make(map[string]int), make(map[string]int), make(map[string]int)
	for c, n := range sums.Causes {
		causes[c.String()] = n
	}
	for f, n := range sums.Failures {
		if (&lifecycle.Failure{Phase: f.Phase, Reason: f.Reason}).Kind() == lifecycle.OutcomeRejected {
			refusals[f.Reason.String()] += n
		} else {
			failures[f.Phase.String()+" "+f.Reason.String()] = n
		}
	}
	for f, n := range sums.Phases {
		phases[f.Phase.String()+" "+f.Reason.String()] = n
	}
	same(s.t, "why connections closed", m.by("wsproxy_connection_closes_total", "wsproxy_close_cause"), causes)
	same(s.t, "why connections failed", m.by("wsproxy_connection_failed_total", "wsproxy_phase_name", "error_type"), failures)
	same(s.t, "why connections were refused", m.by("wsproxy_connection_rejected_total", "error_type"), refusals)
	same(s.t, "phases that failed", m.by("wsproxy_phase_duration_seconds_count", "wsproxy_phase_name", "error_type"), phases)
	s.spansAgree(sums)
}

// same reports where got and want differ.
func same(t *testing.T, what string, got, want map[string]int) {
	t.Helper()
	all := maps.Clone(got)
	maps.Copy(all, want)
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if got[key] != want[key] {
			t.Errorf("%s: %s: got %d, want %d", what, key, got[key], want[key])
		}
	}
}

// The whole of reverse mode: routes by every way, listeners with and without TLS.
func TestStorm(t *testing.T) {
	secure, caFile, _ := secureEcho(t)
	served := newAdminFiles(t).block()
	s := newStorm(t, func(s *storm, cfg object) {
		quick := object{"handshake": "400ms", "connect": "400ms", "proxy": "400ms", "tls": "400ms", "close": "300ms"}
		cfg["listeners"] = []object{{"address": "127.0.0.1:0"}, {"address": "127.0.0.1:0", "tls": served}}
		cfg["egress"] = []object{{"name": "corp", "url": "http://" + s.targets["egress"]}}
		upstreams, routes := []object{{"name": "echo", "targets": []string{"ws://" + s.echo}}}, []object{route("chat"), route("few", "limits", object{"connections": 2})}
		add := func(name, target string, with ...any) {
			upstreams = append(upstreams, object{"name": name, "targets": []string{target}, "passive": "off"})
			routes = append(routes, route(name, append([]any{"upstream", name, "timeouts", quick}, with...)...))
		}
		add("fickle", "ws://"+s.targets["fickle"])
		add("closed", "ws://"+s.targets["closed"])
		add("nowhere", "ws://nowhere.test:1")
		add("egress", "ws://"+s.echo, "egress", "corp")
		add("secure", secure)
		add("distrusted", secure)
		add("hangs", "ws://"+s.targets["hangs"], "timeouts", object{"handshake": "1m"})
		for _, u := range upstreams {
			if u["name"] == "secure" {
				u["tls"] = object{"ca": caFile}
			}
		}
		cfg["upstreams"], cfg["routes"] = upstreams, routes
	})
	listeners := []net.Addr{s.listeners[0].Addr(), s.listeners[1].Addr()}
	s.rage(func(dice *rand.Rand) visitor {
		paths := []string{"chat", "chat", "chat", "few", "fickle", "fickle", "fickle", "closed", "nowhere", "egress", "egress", "secure", "distrusted", "none"}
		path := "/" + paths[dice.IntN(len(paths))]
		v := visitor{to: listeners[dice.IntN(2)].String(), says: []string{upgradeOf(path)}}
		v.tls = v.to == listeners[1].String()
		switch dice.IntN(20) {
		case 0:
			v.tls = !v.tls
		case 1:
			v.says = []string{upgradeOf(path, "Origin: https://evil.example")}
		case 2:
			v.says = []string{strings.Replace(upgradeOf(path), "GET", "PUT", 1)}
		case 3:
			v.says = []string{"GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n"}
		case 4:
			v.says = []string{[]string{"garbage\r\n\r\n", "GET / HT", ""}[dice.IntN(3)]}
		}
		return v
	})
	var held []*holder
	for range 5 {
		held = append(held, hold(t, s.first.String(), upgradeOf("/chat"), 1))
	}
	for range 3 {
		held = append(held, hold(t, s.first.String(), upgradeOf("/hangs"), 0))
	}
	s.balances(5, 3)
	for _, h := range held {
		h.Close()
	}
	s.settles()
}

// The whole of forward mode: CONNECT, absolute form and SOCKS5, to WebSockets and to what is none, directly and by an egress.
func TestForwardStorm(t *testing.T) {
	s := newStorm(t, func(s *storm, cfg object) {
		delete(cfg, "routes")
		delete(cfg, "upstreams")
		cfg["listeners"] = []object{{"address": "127.0.0.1:0", "mode": "forward"}}
		cfg["egress"] = []object{{"name": "corp", "url": "http://" + s.targets["egress"], "bypass": []string{"echo.test", s.targets["fickle"], s.targets["closed"], s.targets["hangs"]}}}
		cfg["forward"] = object{
			"allow": []string{"*", "127.0.0.1"}, "egress": "corp",
			"timeouts": object{"handshake": "1m", "connect": "400ms", "proxy": "400ms", "close": "300ms"},
		}
	})
	_, port, _ := net.SplitHostPort(s.echo)
	s.rage(func(dice *rand.Rand) visitor {
		// By name directly, by address through the egress.
		targets := []string{"echo.test:" + port, "echo.test:" + port, s.echo, s.echo, s.targets["fickle"], s.targets["fickle"], s.targets["closed"], "denied.test:" + port, "nowhere.test:80", "127.0.0.2:80"}
		target := targets[dice.IntN(len(targets))]
		inside := []string{upgradeOf("/"), upgradeOf("/"), upgradeOf("/"), "SSH-2.0-x\r\n", "\x16\x03\x01\x00\x05hello", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"}[dice.IntN(6)]
		v := visitor{to: s.first.String(), says: []string{connectTo(target), inside}}
		switch dice.IntN(12) {
		case 0:
			v.says = []string{connectTo(target) + inside} // at once
		case 1, 2:
			v.says = []string{strings.Replace(upgradeOf("/"), "GET /", "GET ws://"+target+"/", 1)}
		case 3, 4:
			v.says = []string{"\x05\x01\x00", socksTo(target), inside}
		case 5:
			v.says = []string{connectTo(target)}
		case 6:
			v.says = []string{[]string{
				"CONNECT " + target + " HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx", connectTo("x:99999"), connectTo("2130706434:80"), "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
				"garbage\r\n\r\n", "\x05\x01\x02", "\x05", "CONN", "",
			}[dice.IntN(9)]}
		}
		return v
	})
	var held []*holder
	for range 4 {
		held = append(held, hold(t, s.first.String(), connectTo("echo.test:"+port), 1, upgradeOf("/"), 1))
	}
	for range 2 {
		held = append(held, hold(t, s.first.String(), connectTo(s.targets["hangs"]), 1, "SSH-2.0-x\r\n", 0))
	}
	for range 3 {
		held = append(held, hold(t, s.first.String(), connectTo(s.targets["hangs"]), 1, upgradeOf("/"), 0))
	}
	s.balances(6, 3)
	if got := s.scraped().sum("wsproxy_tunnel_active"); got != 2 {
		t.Errorf("tunnels: got %d, want 2", got)
	}
	for _, h := range held {
		h.Close()
	}
	s.settles()
}
