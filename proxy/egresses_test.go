package proxy

import (
	"context"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wsproxy/egress"
	"wsproxy/lifecycle"
	"wsproxy/proxy/relay"
)

// badEgress is an egress that does with everybody what its name says.
type badEgress struct {
	kind   egress.Type
	script func(*peer)
	phase  lifecycle.Phase // that fails, if one does
	reason lifecycle.Reason
	status int           // for an HTTP client
	reply  byte          // for one of SOCKS5
	after  time.Duration // then
	noted  string        // the CONNECT's own status on the phase
}

// saysAndCloses is an egress that answers whatever comes with these bytes.
func saysAndCloses(raw string) func(*peer) {
	return func(p *peer) {
		p.await(func(b []byte) bool { return len(b) > 0 })
		p.conn.Write([]byte(raw))
	}
}

// login has SOCKS5 begin, and then says raw in answer to the request.
func login(raw string) func(*peer) {
	return func(p *peer) {
		p.await(func(b []byte) bool { return len(b) >= 3 })
		p.conn.Write([]byte("\x05\x00"))
		p.await(func(b []byte) bool { return len(b) > 3 })
		p.conn.Write([]byte(raw))
	}
}

const egressPatience = 2 * time.Second // for an answer of an egress

// What a bad egress does is told to the client in its own protocol, is one failed phase, and leaves nothing open.
func TestForwardBadEgresses(t *testing.T) {
	const (
		web   = egress.TypeHTTP
		socks = egress.TypeSOCKS5
	)
	refusal := func(status string) func(*peer) {
		return replyingAndClosing("HTTP/1.1 " + status + "\r\nContent-Length: 0\r\n\r\n")
	}
	for name, bad := range map[string]badEgress{
		"answers 407":                   {web, refusal("407 Proxy Authentication Required"), lifecycle.PhaseProxy, lifecycle.ReasonProxyAuthRequired, 502, 1, 0, " (407)"},
		"answers 403":                   {web, refusal("403 Forbidden"), lifecycle.PhaseProxy, lifecycle.ReasonProxyRefused, 502, 1, 0, " (403)"},
		"answers 502":                   {web, refusal("502 Bad Gateway"), lifecycle.PhaseProxy, lifecycle.ReasonProxyRefused, 502, 1, 0, " (502)"},
		"answers garbage":               {web, replyingAndClosing("220 mail.example ESMTP\r\n\r\n"), lifecycle.PhaseProxy, lifecycle.ReasonProxyProtocolError, 502, 1, 0, ""},
		"answers half":                  {web, replyingAndClosing("HTTP/1.1 200 Connec"), lifecycle.PhaseProxy, lifecycle.ReasonProxyProtocolError, 502, 1, 0, ""},
		"answers half and falls silent": {web, replying("HTTP/1.1 200 Connec"), lifecycle.PhaseProxy, lifecycle.ReasonProxyTimeout, 504, 6, egressPatience, ""},
		"answers nothing":               {web, silent, lifecycle.PhaseProxy, lifecycle.ReasonProxyTimeout, 504, 6, egressPatience, ""},
		"closes":                        {web, func(*peer) {}, lifecycle.PhaseProxy, lifecycle.ReasonProxyProtocolError, 502, 1, 0, ""},
		"resets":                        {web, func(p *peer) { p.awaitHead(); p.conn.Reset() }, lifecycle.PhaseProxy, lifecycle.ReasonProxyProtocolError, 502, 1, 0, ""},
		"is not there":                  {web, nil, lifecycle.PhaseConnect, lifecycle.ReasonConnectionRefused, 502, 5, 0, ""},
		"SOCKS5, forbids":               {socks, login("\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00"), lifecycle.PhaseProxy, lifecycle.ReasonSOCKSNotAllowed, 502, 2, 0, ""},
		"SOCKS5, wants a password":      {socks, saysAndCloses("\x05\xff"), lifecycle.PhaseProxy, lifecycle.ReasonProxyAuthRequired, 502, 1, 0, ""},
		"SOCKS5, answers garbage":       {socks, saysAndCloses("HTTP/1.1 400 Bad Request\r\n\r\n"), lifecycle.PhaseProxy, lifecycle.ReasonProxyProtocolError, 502, 1, 0, ""},
		"SOCKS5, answers half":          {socks, login("\x05\x00\x00"), lifecycle.PhaseProxy, lifecycle.ReasonProxyProtocolError, 502, 1, 0, ""},
		"SOCKS5, answers nothing":       {socks, silent, lifecycle.PhaseProxy, lifecycle.ReasonProxyTimeout, 504, 6, egressPatience, ""},
		"SOCKS5, closes":                {socks, func(*peer) {}, lifecycle.PhaseProxy, lifecycle.ReasonProxyProtocolError, 502, 1, 0, ""},
	} {
		for form, raw := range map[string]string{
			"CONNECT": connectHead(), "absolute form": absoluteForm("ws://a.example:9000/chat"), "SOCKS5": socksHello("a.example", 9000),
		} {
			t.Run(name+", by "+form, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newEgressWorld(t, bad.kind, bad.script)
					w.start()
					begun := time.Now()
					p := w.connect("")
					p.write(t, raw)
					p.awaitEnd()
					if took := time.Since(begun); took != bad.after {
						t.Errorf("an answer after %s, want %s", took, bad.after)
					}
					status := bad.status
					if form == "SOCKS5" {
						status = 0
						if got, want := p.String(), "\x05\x00\x05"+string(rune(bad.reply))+socksOK[2:]; got != want {
							t.Errorf("got %q, want %q", got, want)
						}
					} else {
						wantProblem(t, p.String(), status, bad.phase, bad.reason)
					}
					time.Sleep(time.Minute)
					if got, want := w.journal.ends(), "failed "+strconv.Itoa(status)+" "+bad.reason.String(); got != want {
						t.Errorf("got %q, want %q", got, want)
					}
					want := "request: ok, route: ok, connect: ok, proxy: " + bad.reason.String() + bad.noted
					if bad.phase == lifecycle.PhaseConnect {
						want = "request: ok, route: ok, connect: " + bad.reason.String()
					}
					if got := w.journal.String(); got != want {
						t.Errorf("phases: got %q, want %q", got, want)
					}
					w.settled()
					w.closedToTargets()
				})
			})
		}
	}
}

// newEgressWorld is a forward world whose only target is an egress at 10.0.1.1:9000; nil is one that is not there.
func newEgressWorld(t *testing.T, kind egress.Type, script func(*peer)) *world {
	w := newWorld(t)
	w.targets[0].script, w.targets[0].refuse = script, script == nil
	dialer := &egress.Dialer{
		Proxy:       &egress.Proxy{Name: "bad", Type: kind, Address: "10.0.1.1:9000", Resolve: egress.ResolveThere},
		DialContext: w.network.DialContext, Timeouts: egress.Timeouts{Proxy: egressPatience},
		Socket: func(c net.Conn) net.Conn { return relay.NewConn(c) },
	}
	w.listener.Forward = &Forward{Dial: func(ctx context.Context, host string, port uint16) (net.Conn, error) {
		return dialer.Dial(ctx, egress.Target{Address: net.JoinHostPort(host, strconv.Itoa(int(port)))})
	}}
	return w
}

// closedToTargets fails the test where a connection to a target is still open at our end.
func (w *world) closedToTargets() {
	w.t.Helper()
	for _, target := range w.targets {
		for _, p := range target.accepted() {
			if err := p.conn.Peer().SetReadDeadline(past); err == nil {
				w.t.Errorf("a connection to %s is left open", target.name)
			}
		}
	}
}

// An egress that takes its time is waited for, and the time is its phase's.
func TestForwardSlowEgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const delay = 500 * time.Millisecond
		w := newEgressWorld(t, egress.TypeHTTP, func(p *peer) {
			p.awaitHead()
			time.Sleep(delay)
			io.WriteString(p.conn, "HTTP/1.1 200 OK\r\n\r\n")
			p.await(func(b []byte) bool { return strings.Contains(string(b), "Sec-WebSocket-Key") })
			io.WriteString(p.conn, switching())
			p.awaitEnd()
		})
		w.start()
		begun := time.Now()
		p := w.connect("")
		p.write(t, connectHead()+request())
		p.await(func(b []byte) bool { return strings.Contains(string(b), " 101 ") })
		if took := time.Since(begun); took != delay {
			t.Errorf("a 101 after %s, want %s", took, delay)
		}
		synctest.Wait()
		for c := range w.server.Registry.All() {
			for _, m := range c.Timeline() {
				want := time.Duration(0)
				if m.Phase == lifecycle.PhaseProxy {
					want = delay
				}
				if m.Duration >= 0 && m.Duration != want {
					t.Errorf("%s took %s, want %s", m.Phase, m.Duration, want)
				}
			}
		}
	})
}
