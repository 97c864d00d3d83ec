//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// drain asks wsproxy to stop with connections open: each client is told to come back, new ones are turned
// away meanwhile, and all of it is in Jaeger and Prometheus when the process has ended.
func (h *house) drain(t *testing.T) {
	const open = 5
	s := h.newSettings(t)
	e := startEcho(t, h)
	s.route("chat", nil, "ws://"+e.plain)
	s.drain = object{"timeout": "10s", "spread": "1s", "reason": "new version"}
	w := h.serve(t, s)
	var clients []*client
	for i := range open {
		c := h.open(t, w, fmt.Sprintf("/chat/%d", i), request{secure: i%2 == 1})
		c.talk(t, websocket.TextMessage, []byte("still here"))
		clients = append(clients, c)
	}
	began := time.Now()
	w.signal(syscall.SIGTERM)
	eventually(t, "wsproxy is not ready any more", func(ctx context.Context) error {
		if answers("http://"+w.admin+"/readyz")(ctx) == nil {
			return errNotYet
		}
		return nil
	})
	_, no := h.dial(t, w, "/chat/late", request{})
	if no == nil || no.status != 503 || no.Reason != "draining" || no.header.Get("Retry-After") == "" {
		t.Errorf("a client that came during the drain got %+v, want 503 with Retry-After", no)
	}
	for _, c := range clients {
		wantRestart(t, c, "new version")
	}
	if !w.wait(patience) {
		t.Fatal("wsproxy did not end")
	}
	took := time.Since(began)
	if code := w.exitCode(); code != 0 {
		t.Errorf("got exit code %d, want 0", code)
	}
	t.Logf("%d connections drained in %v", open, took)
	if took > 8*time.Second { // at 10s they would be cut
		t.Errorf("the drain took %v, want its spread of 1s and little more", took)
	}
	for i := range open {
		id := w.traceOf(t, func(l line) bool { return l.Path == fmt.Sprintf("/chat/%d", i) })
		trace := h.stack.jaeger.await(t, id, spansNamed(spanUpgrade, spanTransfer, spanClose))
		end := trace.span(spanClose)
		wantNumber(t, end, "wsproxy.close.code", websocket.CloseServiceRestart)
		if cause, by := end.text("wsproxy.close.cause"), end.text("wsproxy.close.initiator"); cause != "drain" || by != "proxy" {
			t.Errorf("got cause %s by %s, want drain by proxy", cause, by)
		}
		if clean, _ := end.attributes["wsproxy.close.clean"].(bool); !clean {
			t.Errorf("connection %d did not close cleanly", i)
		}
	}
	h.stack.prometheus.want(t, w.of("wsproxy_connection_closes_total", "wsproxy_close_cause", "drain", "wsproxy_close_code_class", "1012"), open)
	h.stack.prometheus.want(t, w.of("wsproxy_connection_rejected_total", "wsproxy_route_name", "chat", "error_type", "draining"), 1)
}

// wantRestart wants a Close with 1012 and a reason.
func wantRestart(t *testing.T, c *client, reason string) {
	t.Helper()
	_, _, err := c.ReadMessage()
	e, ok := errors.AsType[*websocket.CloseError](err)
	if !ok || e.Code != websocket.CloseServiceRestart || e.Text != reason {
		t.Errorf("got %v, want a Close with 1012 %q", err, reason)
	}
	c.Close()
}

// forcedStop has clients that don't leave when asked: drain.timeout cuts them, a second signal at once.
func (h *house) forcedStop(t *testing.T) {
	for _, tc := range []struct {
		name    string
		timeout string
		again   bool
		within  time.Duration
	}{
		{"drain timeout", "500ms", false, 10 * time.Second},
		{"second signal", "60s", true, 10 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := h.newSettings(t)
			e := startEcho(t, h)
			s.route("chat", object{"timeouts": object{"close": "60s"}}, "ws://"+e.plain)
			s.drain = object{"timeout": tc.timeout, "spread": "0s"}
			w := h.serve(t, s)
			c := h.open(t, w, "/chat/stubborn", request{})
			c.talk(t, websocket.TextMessage, []byte("I stay"))
			began := time.Now()
			w.signal(syscall.SIGTERM)
			if tc.again {
				w.awaitPhase(t, c.address(), "close")
				w.signal(syscall.SIGTERM)
			}
			if !w.wait(patience) || w.exitCode() != 0 {
				t.Fatalf("wsproxy did not end well: running %v, exit code %d", w.running(), w.exitCode())
			}
			if took := time.Since(began); took > tc.within {
				t.Errorf("the stop took %v, want at most %v", took, tc.within)
			}
			id := w.traceOf(t, func(l line) bool { return l.Path == "/chat/stubborn" })
			end := h.stack.jaeger.await(t, id, spansNamed(spanClose)).span(spanClose)
			if cause := end.text("wsproxy.close.cause"); cause != "drain" {
				t.Errorf("got cause %s, want drain, which came first", cause)
			}
			if clean, _ := end.attributes["wsproxy.close.clean"].(bool); clean {
				t.Error("the close is told as clean")
			}
		})
	}
}
