//go:build linux

package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"wsproxy/internal/blackhole"
	"wsproxy/internal/selfca"
	"wsproxy/lifecycle"
)

func dialFaults() []fault {
	var all []fault
	for _, p := range dialPlaces() {
		all = append(all, p.leaving()...)
		all = append(all, p.late())
	}
	all = append(all, lookupFaults()...)
	all = append(all, connectFaults()...)
	all = append(all, egressFaults()...)
	all = append(all, proxyFaults()...)
	all = append(all, tlsFaults()...)
	return append(all, upgradeFaults()...)
}

// toTarget has the upstream be one target, and what else the arguments say of it.
func toTarget(target func(t *testing.T) string, with ...any) func(*stage, object) {
	return func(s *stage, cfg object) {
		setUpstream(cfg, append([]any{"targets", []string{target(s.t)}}, with...)...)
	}
}

// by has the upstream be reached by an egress proxy.
func by(scheme string, proxy func(net.Conn)) func(*stage, object) {
	return func(s *stage, cfg object) {
		cfg["egress"] = []object{{"name": "corp", "url": scheme + "://" + serveWhims(s.t, 0, proxy)}}
		setUpstream(cfg, "egress", "corp")
	}
}

// plain is a target without TLS, secure one with.
func plain(handle func(net.Conn)) func(*testing.T) string {
	return func(t *testing.T) string { return "ws://" + serveWhims(t, 0, handle) }
}

func secure(handle func(net.Conn)) func(*testing.T) string {
	return func(t *testing.T) string {
		_, port, _ := net.SplitHostPort(serveWhims(t, 0, handle))
		return "wss://localhost:" + port
	}
}

func named(name string) func(*testing.T) string {
	return func(*testing.T) string { return "ws://" + name + ":80" }
}

const (
	spanLookup  = "SERVER, DNS lookup"
	spanConnect = "SERVER, TCP connect"
	spanTunnel  = "SERVER, proxy CONNECT"
	spanSOCKS   = "SERVER, proxy SOCKS5"
	spanTLS     = "SERVER, TLS client handshake"
	spanUpgrade = "SERVER, websocket upgrade"
)

// silentName has the target's name looked up by nobody who answers.
func silentName(s *stage, cfg object) {
	s.zone.lack("silent.test", silence)
	setUpstream(cfg, "targets", []string{"ws://silent.test:80"}, "resolve_interval", "off")
}

// dialPlaces are where a dial can be held up.
func dialPlaces() []place {
	ask := func(s *stage) { s.ask() }
	places := []place{
		{phase: "dns", while: "the name server says nothing", spans: spanLookup, change: silentName},
		{phase: "connect", while: "the target's packets are dropped", spans: spanConnect, change: toTarget(func(t *testing.T) string { return "ws://" + blackhole.Listen(t, "127.0.0.1") })},
		{phase: "proxy", while: "the egress proxy says nothing", spans: spanTunnel, change: by("http", hangs)},
		{phase: "tls", while: "the target says nothing to a ClientHello", spans: spanTLS, change: toTarget(secure(hangs))},
		{phase: "upgrade", while: "the target says nothing to the upgrade request", spans: spanUpgrade, change: toTarget(plain(hangs))},
	}
	for i := range places {
		places[i].status, places[i].begin = 503, ask
	}
	return places
}

// late is what comes of waiting for too long while dialling.
func (p place) late() fault {
	limit := map[string]string{"dns": "connect", "connect": "connect", "proxy": "proxy", "tls": "tls", "upgrade": "handshake"}[p.phase]
	f := p.held(p.while+" for `timeouts."+limit+"`", p.phase+"_timeout", 504, p.spans)
	f.change = func(s *stage, cfg object) {
		p.change(s, cfg)
		setRoute(cfg, "timeouts", object{limit: "500ms"})
	}
	return f
}

// dialRow is a client that asks for a WebSocket and is told that there is none.
func dialRow(how, phase, reason string, status int, spans string, change func(*stage, object)) fault {
	return fault{how: how, change: change, play: func(s *stage) { s.ask() }, want: failing(phase, reason, status, spans)}
}

func lookupFaults() []fault {
	unnamed := broken("dns", spanLookup)
	unnamed.change = func(s *stage, cfg object) {
		s.zone.lead("here.test", "127.0.0.1")
		toTarget(named("here.test"), "resolve_interval", "off")(s, cfg)
	}
	return []fault{
		dialRow("the target's name does not exist", "dns", "dns_not_found", 502, spanLookup, toTarget(named("nowhere.test"), "resolve_interval", "off")),
		dialRow("the name server fails", "dns", "dns_temporary", 502, spanLookup, func(s *stage, cfg object) {
			s.zone.lack("broken.test", dns.RcodeServerFailure)
			toTarget(named("broken.test"), "resolve_interval", "off")(s, cfg)
		}),
		unnamed,
	}
}

// forced is an error of the system that no loopback brings about: a hook puts it in the place of another.
func forced(errno syscall.Errno, reason string) fault {
	f := dialRow(fmt.Sprintf("the system says %q (by a hook, as loopback does not)", errno), "connect", reason, 502, spanConnect, toTarget(func(t *testing.T) string { return "ws://" + closedPort(t) }))
	f.hook = func(step *lifecycle.Step) error {
		if step.Phase != lifecycle.PhaseConnect {
			return nil
		}
		for i := range step.Tries {
			step.Tries[i].Err = errno
		}
		return errno
	}
	return f
}

func connectFaults() []fault {
	return []fault{
		dialRow("nobody listens at the target's address", "connect", "connection_refused", 502, spanConnect, toTarget(func(t *testing.T) string { return "ws://" + closedPort(t) })),
		forced(syscall.ECONNRESET, "connection_reset"),
		forced(syscall.EHOSTUNREACH, "host_unreachable"),
		forced(syscall.ENETUNREACH, "network_unreachable"),
		{
			how: "a forward client asks for a name that leads to a private address", want: failing("connect", "address_denied", 403, "TCP connect"),
			change: func(s *stage, cfg object) {
				s.zone.lead("inside.test", "127.0.0.2")
				forwarding(object{"allow": []string{"*"}})(s, cfg)
			},
			play: func(s *stage) { s.send(connectTo("inside.test:80")) },
		},
		broken("connect", spanConnect),
	}
}

// egressFaults are those of the way to an egress proxy, which are not to be taken for the target's.
func egressFaults() []fault {
	through := func(url func(*testing.T) string) func(*stage, object) {
		return func(s *stage, cfg object) {
			cfg["egress"] = []object{{"name": "corp", "url": url(s.t)}}
			setUpstream(cfg, "egress", "corp")
		}
	}
	all := []fault{
		dialRow("the egress proxy's name does not exist", "dns", "dns_not_found", 502, spanLookup, through(func(*testing.T) string { return "http://nowhere.test:3128" })),
		dialRow("nobody listens at the egress proxy's address", "connect", "connection_refused", 502, spanConnect, through(func(t *testing.T) string { return "http://" + closedPort(t) })),
		dialRow("the egress proxy's packets are dropped", "connect", "connect_timeout", 504, spanConnect, func(s *stage, cfg object) {
			through(func(t *testing.T) string { return "http://" + blackhole.Listen(t, "127.0.0.1") })(s, cfg)
			setRoute(cfg, "timeouts", object{"connect": "500ms"})
		}),
		dialRow("the egress proxy speaks no TLS", "tls", "tls_protocol", 502, spanTLS, by("https", speakingHTTP)),
	}
	for i := range all {
		all[i].want = all[i].want.withEgress()
	}
	return all
}

// speakingHTTP answers whatever it hears as a server of plain HTTP does.
func speakingHTTP(c net.Conn) {
	io.ReadFull(c, make([]byte, 1))
	io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
	hangs(c)
}

func proxyFaults() []fault {
	tunnel := func(how, reason, answer string) fault {
		return dialRow(how, "proxy", reason, 502, spanTunnel, by("http", answers(answer)))
	}
	socks := func(how, reason string, code byte) fault {
		return dialRow(how, "proxy", reason, 502, spanSOCKS, by("socks5", func(c net.Conn) {
			io.ReadFull(c, make([]byte, 3)) // no password, one method
			c.Write([]byte{5, 0})
			io.ReadFull(c, make([]byte, 10)) // an IPv4 address
			c.Write([]byte{5, code, 0, 1, 0, 0, 0, 0, 0, 0})
			hangs(c)
		}))
	}
	internal := broken("proxy", spanTunnel)
	internal.change = by("http", answers("HTTP/1.1 200 OK\r\n\r\n"))
	return []fault{
		tunnel("the egress proxy wants a password", "proxy_auth_required", "HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n"),
		tunnel("the egress proxy says 403", "proxy_refused", "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"),
		tunnel("the egress proxy speaks no HTTP", "proxy_protocol_error", "SSH-2.0-x\r\n"),
		dialRow("a SOCKS5 proxy wants a password", "proxy", "proxy_auth_required", 502, spanSOCKS, by("socks5", func(c net.Conn) {
			io.ReadFull(c, make([]byte, 3))
			c.Write([]byte{5, 0xff})
			hangs(c)
		})),
		dialRow("a SOCKS5 proxy speaks HTTP", "proxy", "proxy_protocol_error", 502, spanSOCKS, by("socks5", speakingHTTP)),
		socks("a SOCKS5 proxy replies 1", "socks_general_failure", 1),
		socks("a SOCKS5 proxy replies 2", "socks_not_allowed", 2),
		socks("a SOCKS5 proxy replies 3", "socks_network_unreachable", 3),
		socks("a SOCKS5 proxy replies 4", "socks_host_unreachable", 4),
		socks("a SOCKS5 proxy replies 5", "socks_connection_refused", 5),
		socks("a SOCKS5 proxy replies 6", "socks_ttl_expired", 6),
		socks("a SOCKS5 proxy replies 7", "socks_unsupported", 7),
		internal,
	}
}

// certified is a target with TLS whose certificate is leaf. trusted says whether its CA is.
func certified(leaf selfca.Leaf, trusted bool) func(*stage, object) {
	return func(s *stage, cfg object) {
		ca, file := newTargetCA(s.t)
		c, err := ca.Issue(leaf)
		if err != nil {
			s.t.Fatal(err)
		}
		if !trusted {
			_, file = newTargetCA(s.t)
		}
		server := &tls.Config{Certificates: []tls.Certificate{c.TLS()}}
		toTarget(secure(func(c net.Conn) { hangs(tls.Server(c, server)) }), "tls", object{"ca": file})(s, cfg)
	}
}

func tlsFaults() []fault {
	row := func(how, reason string, change func(*stage, object)) fault {
		return dialRow(how, "tls", reason, 502, spanTLS, change)
	}
	here, now := []string{"localhost"}, time.Now()
	internal := broken("tls", spanTLS)
	internal.change = certified(selfca.Leaf{Names: here}, true)
	return []fault{
		row("the target's certificate is of a CA that is not trusted", "tls_unknown_authority", certified(selfca.Leaf{Names: here}, false)),
		row("the target's certificate is for another name", "tls_hostname_mismatch", certified(selfca.Leaf{Names: []string{"elsewhere.test"}}, true)),
		row("the target's certificate is no longer valid", "tls_certificate_expired", certified(selfca.Leaf{Names: here, NotBefore: now.Add(-2 * time.Hour), NotAfter: now.Add(-time.Hour)}, true)),
		row("the target's certificate is not valid yet", "tls_certificate_not_yet_valid", certified(selfca.Leaf{Names: here, NotBefore: now.Add(time.Hour)}, true)),
		row("the target answers with an alert", "tls_alert", toTarget(secure(func(c net.Conn) {
			io.ReadFull(c, make([]byte, 5)) // of a ClientHello
			c.Write([]byte{0x15, 3, 3, 0, 2, 2, 40})
			hangs(c)
		}))),
		row("the target speaks no TLS", "tls_protocol", toTarget(secure(speakingHTTP))),
		internal,
	}
}

func upgradeFaults() []fault {
	row := func(how, reason string, status int, answer func(net.Conn)) fault {
		return dialRow(how, "upgrade", reason, status, errorsOf(status), toTarget(plain(answer)))
	}
	accept := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n"
	internal := broken("upgrade", spanUpgrade)
	internal.want.status, internal.want.spans = 101, "websocket upgrade" // it has been told
	return []fault{
		row("the target answers 401", "upgrade_rejected", 401, answers("HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")),
		row("the target answers 500", "upgrade_rejected", 500, answers("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")),
		row("the target answers 101 to another key", "bad_upgrade_response", 502, answers(fmt.Sprintf(accept, "AAAAAAAAAAAAAAAAAAAAAAAAAAA="))),
		row("the target leaves in the middle of its answer", "upstream_gone", 502, func(c net.Conn) {
			http.ReadRequest(bufio.NewReader(c))
			io.WriteString(c, strings.SplitAfter(accept, "websocket")[0])
		}),
		internal,
	}
}

// errorsOf is which spans have the error of a target's answer.
func errorsOf(status int) string {
	if status < 500 {
		return "websocket upgrade"
	}
	return spanUpgrade
}
