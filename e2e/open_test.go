//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
)

// openConnections looks at sockets while they are open: their handshakes are in Jaeger, the gauges and the
// counters of what goes by are in Prometheus, and afterwards the gauges are back at zero.
func (h *house) openConnections(t *testing.T) {
	const open = 3
	s := h.newSettings(t)
	e := startEcho(t, h)
	s.route("chat", nil, "ws://"+e.plain)
	w := h.serve(t, s)
	p := h.stack.prometheus
	active := "sum(" + w.of("wsproxy_connection_active", "wsproxy_route_name", "chat", "wsproxy_upstream_name", "chat", "wsproxy_mode", "reverse") + ")"
	transferring := w.of("wsproxy_phase_active", "wsproxy_phase_name", "transfer")
	p.want(t, active, 0)

	var clients []*client
	for i := range open {
		path := fmt.Sprintf("/chat/%d", i)
		c := h.open(t, w, path, request{})
		c.talk(t, websocket.TextMessage, []byte("still here"))
		clients = append(clients, c)
		trace := h.stack.jaeger.await(t, w.awaitPhase(t, c.address(), "transfer"), func(found *trace) error {
			if found.root() == nil {
				return fmt.Errorf("no root")
			}
			return spansNamed(spanConnect, spanUpgrade)(found)
		})
		if trace.span(spanTransfer) != nil || trace.span(spanClose) != nil {
			t.Errorf("an open connection has ended spans:\n%s", trace)
		}
		checkTimes(t, trace)
		upgrade := trace.span(spanUpgrade)
		if got, want := e.header(path).Get("Traceparent"), fmt.Sprintf("00-%s-%s-01", trace.id, upgrade.id); got != want {
			t.Errorf("the upstream got traceparent %q, want that of the upgrade's span, %q", got, want)
		}
	}
	h.checkFindable(t, w, open)
	p.want(t, active, open)
	p.want(t, transferring, open)
	p.want(t, "sum("+w.of("wsproxy_messages_total", "wsproxy_direction", "downstream")+")", open) // before any of them ends
	p.want(t, "sum("+w.of("wsproxy_io_bytes_total", "wsproxy_direction", "downstream")+")", open*float64(len("still here")+2))

	for _, c := range clients {
		c.leave(t, 1001)
	}
	p.want(t, active, 0)
	p.want(t, transferring, 0)
	p.want(t, "sum("+w.of("wsproxy_messages_total", "wsproxy_direction", "downstream")+")", open) // and after
	p.want(t, w.of("wsproxy_connection_closes_total", "wsproxy_close_cause", "client_close", "wsproxy_close_code_class", "1001"), open)
	p.want(t, fmt.Sprintf("max(max_over_time(%s[5m]))", w.of("wsproxy_connection_active")), open)
}

// checkFindable looks for the traces as a person does, by service on Jaeger's page.
func (h *house) checkFindable(t *testing.T, w *wsproxy, want int) {
	t.Helper()
	eventually(t, "Jaeger finds the traces by their service", func(ctx context.Context) error {
		_, body, err := h.stack.jaeger.documents(ctx, w.service)
		if err != nil {
			return err
		}
		if got := strings.Count(string(body), `"operationName":"GET /chat/{visit}"`); got != want {
			return fmt.Errorf("got %d, want %d", got, want)
		}
		return nil
	})
}
