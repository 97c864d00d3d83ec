//go:build e2e

package e2e

import (
	"testing"

	"github.com/gorilla/websocket"
)

// closedScenarios are the ways in which a WebSocket ends.
func closedScenarios() []scenario {
	all := []scenario{
		closing("client's own code", "direct", "client_close", "client", 4001, func(t *testing.T, v *visit) {
			c := v.open(t, request{})
			c.chat(t)
			c.leave(t, 4001)
			v.count(c)
		}).cleanly(),
		closing("upstream's own code", "direct", "upstream_close", "upstream", 4002, ordered("/close 4002", 4002)).cleanly(),
		closing("upstream ends", "direct", "upstream_gone", "upstream", 1012, ordered("/fin", 1012)),
		closing("upstream resets", "direct", "upstream_reset", "upstream", 1012, ordered("/reset", 1012)),
		closing("client ends", "direct", "client_gone", "client", -1, func(t *testing.T, v *visit) {
			c := v.open(t, request{})
			c.chat(t)
			c.Close()
			v.count(c)
		}),
		closing("client ends inside a frame", "direct", "client_gone", "client", -1, func(t *testing.T, v *visit) {
			c := v.open(t, request{})
			c.NetConn().Write([]byte{0x82, 0x80 | 5, 1, 2, 3, 4, 'h'})
			c.Close()
		}),
		closing("TLS ends without a word", "direct", "client_gone", "client", -1, func(t *testing.T, v *visit) {
			c := v.open(t, request{secure: true})
			c.chat(t)
			socket(c).Close()
			v.count(c)
		}),
		closing("client resets", "direct", "client_reset", "client", -1, func(t *testing.T, v *visit) {
			c := v.open(t, request{})
			c.chat(t)
			socket(c).SetLinger(0)
			c.Close()
			v.count(c)
		}),
		closing("idle", "idle", "idle_timeout", "proxy", 1001, left(1001)).cleanly(),
		closing("lifetime is over", "lifetime", "max_lifetime", "proxy", 1012, left(1012)).cleanly(),
		closing("client does not mask", "direct", "protocol_error", "proxy", 1002, unmasked).on("client").cleanly(),
		closing("upstream masks", "direct", "protocol_error", "proxy", 1002, ordered("/masked", 1012)).on("upstream").cleanly(),
		closing("client takes nothing", "slow-peer", "slow_peer", "proxy", 1001, takesNothing).on("client"),
		closing("TLS is broken", "direct", "tls_error", "client", 1001, brokenTLS).on("client"),
	}
	for i := range all {
		switch s := &all[i]; s.name {
		case "client takes nothing":
			s.rough = true
		case "client ends inside a frame":
			s.want.truncated = true
		case "TLS is broken", "TLS ends without a word":
			s.spans = append([]string{spanTLSAccept}, s.spans...)
		}
	}
	return all
}

// closing is a scenario of a connection that was upgraded.
func closing(name, route, cause, initiator string, code int, play func(*testing.T, *visit)) scenario {
	return scenario{
		name: name, route: route, play: play, want: outcome{status: 101, cause: cause, initiator: initiator, code: code},
		spans: []string{spanConnect, spanUpgrade, spanTransfer, spanClose},
	}
}

func (s scenario) cleanly() scenario {
	s.want.clean = true
	return s
}

// on is the scenario with the leg that is at fault.
func (s scenario) on(leg string) scenario {
	s.want.leg = leg
	return s
}

// left is a client that says something and is then closed.
func left(code int) func(*testing.T, *visit) {
	return func(t *testing.T, v *visit) {
		c := v.open(t, request{})
		c.chat(t)
		c.closed(t, code)
		v.count(c)
	}
}

func unmasked(t *testing.T, v *visit) {
	c := v.open(t, request{})
	c.chat(t)
	if _, err := c.NetConn().Write([]byte{0x81, 2, 'h', 'i'}); err != nil {
		t.Fatal(err)
	}
	c.closed(t, websocket.CloseProtocolError)
	v.count(c)
}

// takesNothing asks for a flood and does not read it.
func takesNothing(t *testing.T, v *visit) {
	c := v.open(t, request{})
	socket(c).SetReadBuffer(4 << 10)
	c.order(t, "/flood")
	v.client = c.address()
	v.proxy.traceOf(t, func(l line) bool { return l.Client == v.client }) // the connection is over
}

// brokenTLS writes bytes that are no TLS record.
func brokenTLS(t *testing.T, v *visit) {
	c := v.open(t, request{secure: true})
	c.chat(t)
	if _, err := socket(c).Write([]byte("this is no TLS record, and long enough to look like one")); err != nil {
		t.Fatal(err)
	}
	v.client = c.address()
	v.proxy.traceOf(t, func(l line) bool { return l.Client == v.client })
	v.count(c)
}
