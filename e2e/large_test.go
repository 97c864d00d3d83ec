//go:build e2e

package e2e

import (
	"bytes"
	"crypto/rand"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

const (
	largest   = 64 << 20
	pingEvery = 8 << 20
)

// largeMessages sends the largest message that wsproxy is made for, in fragments with pings between them,
// and gets it back in one frame; with and without TLS.
func (h *house) largeMessages(t *testing.T) {
	s := h.newSettings(t)
	e := startEcho(t, h)
	s.route("plain", nil, "ws://"+e.plain)
	s.route("secure", object{"tls": s.trust()}, "wss://"+e.secure)
	w := h.serve(t, s)
	payload := make([]byte, largest)
	rand.Read(payload)
	for _, route := range []string{"plain", "secure"} {
		t.Run(route, func(t *testing.T) { h.largeMessage(t, w, route, payload) })
	}
}

func (h *house) largeMessage(t *testing.T, w *wsproxy, route string, payload []byte) {
	path := "/" + route + "/large"
	c := h.open(t, w, path, request{secure: route == "secure"})
	pongs := 0
	c.SetPongHandler(func(string) error { pongs++; return nil })
	c.talk(t, websocket.BinaryMessage, nil)
	began := time.Now()
	pings := c.sendFragments(t, payload)
	_, back, err := c.ReadMessage()
	if err != nil {
		t.Fatal(err)
	}
	c.received++
	took := time.Since(began)
	if !bytes.Equal(back, payload) {
		t.Errorf("got %d bytes, not the %d that were sent", len(back), len(payload))
	}
	if pongs != pings {
		t.Errorf("got %d pongs, want %d", pongs, pings)
	}
	c.leave(t, 1000)

	trace := h.stack.jaeger.await(t, w.traceOf(t, func(l line) bool { return l.Path == path }), spansNamed(spanClose))
	end := trace.span(spanClose)
	wantNumber(t, end, "wsproxy.total.upstream.messages", int64(c.sent))
	wantNumber(t, end, "wsproxy.total.downstream.messages", int64(c.received))
	wantNumber(t, end, "wsproxy.total.upstream.bytes", c.wire.written.Load())
	wantNumber(t, end, "wsproxy.total.downstream.bytes", c.wire.read.Load())
	for _, want := range []struct {
		direction, kind string
		count           int
	}{
		{"upstream", "ping", pings}, {"downstream", "pong", pings}, {"upstream", "close", 1}, {"downstream", "close", 1},
	} {
		h.stack.prometheus.want(t, w.of("wsproxy_control_frames_total",
			"wsproxy_route_name", route, "wsproxy_direction", want.direction, "wsproxy_frame_type", want.kind), float64(want.count))
	}
	t.Logf("%d MiB there and back in %v, %d pings on the way", len(payload)>>20, took, pings)
}

// sendFragments sends one message in many frames, with pings between some of them.
func (c *client) sendFragments(t *testing.T, payload []byte) (pings int) {
	t.Helper()
	out, err := c.NextWriter(websocket.BinaryMessage)
	if err != nil {
		t.Fatal(err)
	}
	for len(payload) > 0 {
		part := payload[:min(len(payload), pingEvery)]
		payload = payload[len(part):]
		if _, err := out.Write(part); err != nil {
			t.Fatal(err)
		}
		if err := c.WriteControl(websocket.PingMessage, []byte("on the way"), time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		pings++
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	c.sent++
	return pings
}
