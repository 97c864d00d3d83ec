//go:build e2e

package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	otlptrace "go.opentelemetry.io/proto/otlp/trace/v1"
)

// The delays that are put in. Each is another, so that none can be taken for one of its neighbours'.
const (
	linkDelay      = 100 * time.Millisecond // each way: whatever is asked takes two
	lookupDelay    = 210 * time.Millisecond
	tunnelDelay    = 260 * time.Millisecond
	handshakeDelay = 310 * time.Millisecond
	upgradeDelay   = 360 * time.Millisecond

	witnessRuns = 5
)

// witnessed are the spans that a packet capture bears out: by the packets that begin and that end what the span
// is about.
var witnessed = []struct {
	span         string
	least        time.Duration // that was put in
	begins, ends func(packet) bool
}{
	{spanDNS, 2*linkDelay + lookupDelay, func(p packet) bool { return p.query }, func(p packet) bool { return p.answer }},
	{spanConnect, 2 * linkDelay, func(p packet) bool { return p.syn && !p.ack }, func(p packet) bool { return p.syn && p.ack }},
	{spanProxy, 2*linkDelay + tunnelDelay, func(p packet) bool { return p.method == "CONNECT" }, func(p packet) bool { return p.status == "200" }},
	{spanSOCKS, 4*linkDelay + tunnelDelay, func(p packet) bool { return p.socksVersion && p.from == nearAddress }, func(p packet) bool { return p.socksReply }},
	{spanTLS, 2*linkDelay + handshakeDelay, func(p packet) bool { return slices.Contains(p.handshake, "1") },
		func(p packet) bool { return p.from == nearAddress && slices.Contains(p.handshake, "20") }},
	{spanUpgrade, 2*linkDelay + upgradeDelay, func(p packet) bool { return p.method == "GET" }, func(p packet) bool { return p.status == "101" }},
}

// witness puts delays into everything that comes before a WebSocket and holds the spans against a capture of
// the packets that wsproxy's network saw.
func (h *house) witness(t *testing.T) {
	if h.missing(t, "tshark", "dumpcap") {
		return
	}
	l := h.newLink(t, linkDelay)
	if l == nil {
		return
	}
	c := h.startCapture(t, l.near, linkDevice)
	target := h.slowPeers(t, l.far, c.keys)
	s := h.newSettings(t)
	s.within, s.resolver, s.prompt = l.near, farAddress, true
	exported := startSink(t, 0)
	s.telemetry["otlp"] = object{"endpoint": "http://" + l.near.door(t, exported.address), "protocol": "http/protobuf"}
	trust := object{"ca": h.caFile, "server_name": "localhost"}
	for name, url := range map[string]string{"connect": "http://connect.test:3128", "socks": "socks5h://socks.test:1080"} {
		s.egress = append(s.egress, object{"name": name, "url": url})
		s.route(name, object{"egress": name, "tls": trust}, "wss://"+target)
	}
	w := h.serve(t, s)
	for _, route := range []string{"connect", "socks"} {
		t.Run(route, func(t *testing.T) {
			found := h.testify(t, w, exported, c, route)
			if len(found.objections()) > 0 { // once more: this is not the only thing that the machine does
				t.Logf("out of bounds:\n%s", found)
				found = h.testify(t, w, exported, c, route)
			}
			t.Logf("five runs, in milliseconds:\n%s", found)
			for _, objection := range found.objections() {
				t.Error(objection)
			}
		})
	}
}

// slowPeers are a name server, egress proxies and a target that take their time.
func (h *house) slowPeers(t *testing.T, n *namespace, keys string) (target string) {
	t.Helper()
	startNames(t, n, farAddress, farAddress, lookupDelay)
	serveOn(t, n.listen(t, farAddress+":3128"), connectProxy(n, tunnelDelay))
	serveOn(t, n.listen(t, farAddress+":1080"), socksProxy(n, tunnelDelay))
	log, err := os.Create(keys)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	config := &tls.Config{Certificates: []tls.Certificate{h.pair}, KeyLogWriter: log, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		<-time.After(handshakeDelay)
		return nil, nil
	}}
	target = farAddress + ":443" // by which tshark knows what is in a tunnel
	startEchoOn(t, tls.NewListener(n.listen(t, target), config)).delay = upgradeDelay
	return target
}

// startNames runs a name server that knows every name as one address and takes its time.
func startNames(t *testing.T, n *namespace, at, known string, delay time.Duration) {
	t.Helper()
	var socket net.PacketConn
	err := n.do(func() (err error) {
		socket, err = net.ListenPacket("udp", at+":53")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{PacketConn: socket, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		<-time.After(delay)
		answer := new(dns.Msg).SetReply(q)
		answer.Authoritative = true // or an answer with no address is asked for again
		if q.Question[0].Qtype == dns.TypeA {
			answer.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.ParseIP(known)}}
		}
		w.WriteMsg(answer)
	})}
	ended := make(chan error)
	go func() { ended <- s.ActivateAndServe() }()
	t.Cleanup(func() {
		s.Shutdown()
		<-ended
	})
}

// socksProxy is a SOCKS5 proxy in a network that takes IPv4 addresses only and waits before it answers.
func socksProxy(n *namespace, delay time.Duration) func(net.Conn) {
	return func(c net.Conn) {
		greeting, request := make([]byte, 3), make([]byte, 10) // one method; RFC 1928 §4
		if _, err := io.ReadFull(c, greeting); err != nil {
			return
		}
		c.Write([]byte{5, 0})
		if _, err := io.ReadFull(c, request); err != nil {
			return
		}
		<-time.After(delay)
		to, err := n.dial(context.Background(), "tcp", fmt.Sprintf("%v:%d", net.IP(request[4:8]), int(request[8])<<8|int(request[9])))
		if err != nil {
			return
		}
		defer to.Close()
		c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
		join(c, c, to)
	}
}

// sworn is what spans and packets say of one phase, run by run.
type sworn struct {
	span       string
	least      time.Duration
	told, seen []time.Duration
}

type testimony []*sworn

// testify opens connections, one after the other, and looks up what is told of them and what was seen.
func (h *house) testify(t *testing.T, w *wsproxy, exported *sink, c *capture, route string) (found testimony) {
	t.Helper()
	var runs []map[string]*otlptrace.Span
	for range witnessRuns {
		conn := h.open(t, w, "/"+route+"/witness", request{})
		id := w.awaitPhase(t, conn.address(), "transfer")
		conn.leave(t, 1000)
		runs = append(runs, exported.await(t, id, spanClose))
	}
	eventually(t, "all packets are written down", func(ctx context.Context) error {
		packets, err := c.packets(ctx)
		if err != nil {
			return err
		}
		found = nil
		for _, kind := range witnessed {
			if runs[0][kind.span] == nil {
				continue // of the other egress
			}
			s := &sworn{span: kind.span, least: kind.least}
			for _, run := range runs {
				seen, ok := between(packets, run[spanDNS].StartTimeUnixNano, run[spanClose].StartTimeUnixNano, kind.begins, kind.ends)
				if !ok {
					return errors.New("no packets of " + kind.span)
				}
				s.told, s.seen = append(s.told, took(run[kind.span])), append(s.seen, seen)
			}
			found = append(found, s)
		}
		return nil
	})
	return found
}

func took(s *otlptrace.Span) time.Duration {
	return time.Duration(s.EndTimeUnixNano - s.StartTimeUnixNano)
}

// between is the time from the first packet in a time that begins something until the last that ends it.
func between(packets []packet, from, to uint64, begins, ends func(packet) bool) (took time.Duration, ok bool) {
	var begun time.Time
	for _, p := range packets {
		if at := uint64(p.at.UnixNano()); at < from || at > to {
			continue
		}
		if begun.IsZero() && begins(p) {
			begun = p.at
		}
		if !begun.IsZero() && ends(p) {
			took, ok = p.at.Sub(begun), true
		}
	}
	return took, ok
}

// budget is by how much the medians may differ.
func (s *sworn) budget() time.Duration { return max(5*time.Millisecond, median(s.seen)/50) }

// objections are what is wrong with a testimony.
func (f testimony) objections() (all []string) {
	for _, s := range f {
		if d := (median(s.told) - median(s.seen)).Abs(); d > s.budget() {
			all = append(all, fmt.Sprintf("%s: the span and the packets are %v apart, more than %v", s.span, d, s.budget()))
		}
		if median(s.seen) < s.least {
			all = append(all, fmt.Sprintf("%s: got packets %v apart, want the %v that were put in", s.span, median(s.seen), s.least))
		}
	}
	return all
}

func (f testimony) String() string {
	var b strings.Builder
	millis := func(all ...time.Duration) {
		for _, d := range all {
			fmt.Fprintf(&b, "%9.2f", float64(d.Microseconds())/1000)
		}
	}
	for _, s := range f {
		fmt.Fprintf(&b, "%-20s  span   ", s.span)
		millis(s.told...)
		b.WriteString("   median")
		millis(median(s.told))
		fmt.Fprintf(&b, "\n%-20s  packets", "")
		millis(s.seen...)
		b.WriteString("   median")
		millis(median(s.seen))
		b.WriteString("   apart")
		millis((median(s.told) - median(s.seen)).Abs())
		b.WriteString("   at most")
		millis(s.budget())
		b.WriteString("\n")
	}
	return b.String()
}
