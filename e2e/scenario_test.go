//go:build e2e

package e2e

import (
	"fmt"
	"testing"
)

// scenario is one connection, from beginning to end, and what must be told of it.
type scenario struct {
	name  string
	route string // empty: the request matches none
	needs string // a peer that may be missing
	play  func(*testing.T, *visit)
	want  outcome

	// spans are the names of the trace's spans after the root, in their order.
	spans []string
	// rough: how many bytes and messages go by is not told beforehand.
	rough bool
}

// outcome is how a connection ends: failed in a phase, or closed.
type outcome struct {
	status        int    // the client is answered with; 0: none. 101 for a connection that was upgraded
	phase, reason string // of a failure

	cause, initiator, leg string
	code                  int  // of the first Close; -1: there is none
	clean                 bool // both Close frames were seen
	truncated             bool // a frame was cut off
}

// visit is a scenario as it is played.
type visit struct {
	house *house
	proxy *wsproxy
	cast  *cast
	path  string

	// Set by play: whom wsproxy saw, where the path does not tell; what the client sent and received.
	client         string
	sent, received int
	up, down       int64 // bytes
}

// played is a visit that is over.
type played struct {
	*scenario
	visit
	trace string
}

// perform plays a scenario and finds the id of its trace.
func (s *scenario) perform(t *testing.T, w *wsproxy, c *cast) *played {
	t.Helper()
	p := &played{scenario: s, visit: visit{house: c.house, proxy: w, cast: c}}
	p.path = fmt.Sprintf("/%s/%s", s.route, s.name)
	if s.route == "" {
		p.path = "/nowhere/" + s.name
	}
	s.play(t, &p.visit)
	p.trace = w.traceOf(t, func(l line) bool {
		if p.client != "" {
			return l.Client == p.client && l.Phase == s.want.phase // a port serves again, to another listener even at once
		}
		return l.Path == p.path
	})
	return p
}

// open opens the visit's WebSocket.
func (v *visit) open(t *testing.T, r request) *client {
	t.Helper()
	return v.house.open(t, v.proxy, v.path, r)
}

// count takes over what the client has counted.
func (v *visit) count(c *client) {
	v.sent, v.received = c.sent, c.received
	v.up, v.down = c.wire.written.Load(), c.wire.read.Load()
}

// chatAndLeave is the plain case: some messages there and back, and a Close with 1000.
func chatAndLeave(r request) func(*testing.T, *visit) {
	return func(t *testing.T, v *visit) {
		c := v.open(t, r)
		c.chat(t)
		c.leave(t, 1000)
		v.count(c)
	}
}

// ordered has the upstream do something after a message, and expects a Close.
func ordered(order string, code int) func(*testing.T, *visit) {
	return func(t *testing.T, v *visit) {
		c := v.open(t, request{})
		c.chat(t)
		c.order(t, order)
		c.closed(t, code)
		v.count(c)
	}
}

// refusedWith expects an answer that is no upgrade.
func refusedWith(status int) func(*testing.T, *visit) { return refusedTo(request{}, status) }

func refusedTo(r request, status int) func(*testing.T, *visit) {
	return func(t *testing.T, v *visit) {
		c, no := v.house.dial(t, v.proxy, v.path, r)
		if c != nil {
			t.Fatalf("got an upgrade, want %d", status)
		}
		if no.status != status {
			t.Errorf("got %d %s %s, want %d", no.status, no.Phase, no.Reason, status)
		}
	}
}
