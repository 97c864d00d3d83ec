//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

const (
	exitWithin  = 8 * time.Second        // with a collector that takes nothing: the flush of a signal may take 5 s
	exitSoon    = 4 * time.Second        // where nobody listens, which is known at once
	noticeable  = 500 * time.Millisecond // half as long as the shortest wait for a collector here
	outageLines = 20                     // of wsproxy's log about its telemetry, in a few seconds
)

// collectorAway has nobody, or somebody who never answers, where the collector should be: traffic and exit go
// on as ever, and the losses are told.
func (h *house) collectorAway(t *testing.T) {
	hanging, twin := serveRaw(t, hang), h.untold(t)
	t.Run("all", func(t *testing.T) {
		t.Run("hanging, usual timeouts", func(t *testing.T) {
			t.Parallel()
			h.withoutCollector(t, twin, hanging, "grpc")
		})
		t.Run("dead, usual timeouts", func(t *testing.T) {
			t.Parallel()
			if took := h.withoutCollector(t, twin, h.ports.address(t), "grpc"); took > exitSoon {
				t.Errorf("the exit took %v, want at most %v", took, exitSoon)
			}
		})
		for _, protocol := range []string{"grpc", "http/protobuf"} {
			for what, endpoint := range map[string]string{"dead": h.ports.address(t), "hanging": hanging} {
				t.Run(what+" "+protocol, func(t *testing.T) {
					t.Parallel()
					h.withoutCollector(t, twin, endpoint, protocol, hasty...)
				})
			}
		}
		t.Run("refusing", func(t *testing.T) {
			t.Parallel()
			h.withoutCollector(t, twin, serveRaw(t, reply("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")), "http/protobuf", hasty...)
		})
	})
}

// hasty gives an export up soon, so that losses can be seen within a test.
var hasty = []string{
	"OTEL_EXPORTER_OTLP_TIMEOUT=1000", "OTEL_BSP_EXPORT_TIMEOUT=1000", "OTEL_BLRP_EXPORT_TIMEOUT=1000", "OTEL_METRIC_EXPORT_TIMEOUT=1000",
}

// untold is a wsproxy that exports nothing.
func (h *house) untold(t *testing.T) *wsproxy {
	t.Helper()
	s := h.newSettings(t)
	delete(s.telemetry, "otlp")
	s.route("chat", nil, "ws://"+startEcho(t, h).plain)
	return h.serve(t, s)
}

func (h *house) withoutCollector(t *testing.T, twin *wsproxy, endpoint, protocol string, env ...string) (exit time.Duration) {
	s := h.newSettings(t)
	e := startEcho(t, h)
	s.route("chat", nil, "ws://"+e.plain)
	s.telemetry["otlp"] = object{"endpoint": "http://" + endpoint, "protocol": protocol}
	w := h.serve(t, s, env...)
	h.unharmed(t, w, twin, 20, 50)
	for _, signal := range []string{"traces", "metrics", "logs"} {
		if len(env) == 0 {
			break // the usual timeouts are longer than a test
		}
		eventually(t, "the loss of "+signal+" is told", func(ctx context.Context) error { return w.losing(ctx, signal) })
	}
	began := time.Now()
	w.signal(syscall.SIGTERM)
	if !w.wait(patience) || w.exitCode() != 0 {
		t.Fatalf("wsproxy did not end well: running %v, exit code %d", w.running(), w.exitCode())
	}
	took := time.Since(began)
	if took > exitWithin {
		t.Errorf("the exit took %v, want at most %v", took, exitWithin)
	}
	lines := bytes.Count(w.log(t), []byte("telemetry "))
	if lines == 0 || lines > outageLines {
		t.Errorf("the log has %d lines about telemetry, want a few, at most %d", lines, outageLines)
	}
	t.Logf("exit after %v, %d lines about it", took, lines)
	return took
}

// traffic opens connections one after the other, each with some messages there and back.
func (h *house) traffic(t *testing.T, w *wsproxy, connections, messages int) {
	t.Helper()
	for i := range connections {
		h.stay(t, w, i, messages)
	}
}

// stay is one of them, and how long it took.
func (h *house) stay(t *testing.T, w *wsproxy, number, messages int) time.Duration {
	t.Helper()
	began := time.Now()
	c := h.open(t, w, fmt.Sprintf("/chat/%d", number), request{})
	for range messages {
		c.talk(t, websocket.TextMessage, []byte("how long does it take"))
	}
	c.leave(t, 1000)
	return time.Since(began)
}

// unharmed is traffic in turn with a twin of wsproxy that exports nothing: half of the connections must not take noticeably
// longer. What the machine does meanwhile is the twin's burden, too.
func (h *house) unharmed(t *testing.T, w, twin *wsproxy, connections, messages int) {
	t.Helper()
	var took, twins []time.Duration
	for i := range connections {
		took, twins = append(took, h.stay(t, w, i, messages)), append(twins, h.stay(t, twin, i, messages))
	}
	mine, other := median(took), median(twins)
	t.Logf("half of %d connections with %d messages took at most %v, and %v where nothing is exported", connections, messages, mine, other)
	if mine > 3*other+noticeable {
		t.Errorf("half of the connections took %v or longer, and %v where nothing is exported", mine, other)
	}
}

// losing says by wsproxy's own /metrics whether items of a signal were lost.
func (w *wsproxy) losing(ctx context.Context, signal string) error {
	body, err := get(ctx, "http://"+w.admin+"/metrics")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(body)) {
		if strings.HasPrefix(line, "wsproxy_telemetry_dropped_total{") && strings.Contains(line, `wsproxy_signal="`+signal+`"`) &&
			!strings.HasSuffix(strings.TrimSpace(line), " 0") {
			return nil
		}
	}
	return errNotYet
}

// collectorRestarts takes the collector away for a while: traffic goes on, and afterwards everything arrives,
// also what happened meanwhile.
func (h *house) collectorRestarts(t *testing.T) {
	own := h.stack.newCollector(t)
	s := h.newSettings(t)
	e := startEcho(t, h)
	s.route("chat", nil, "ws://"+e.plain)
	s.telemetry["otlp"] = object{"endpoint": "http://" + own.grpc}
	w := h.serve(t, s)
	visit := func(name string) (trace string) {
		c := h.open(t, w, "/chat/"+name, request{})
		c.chat(t)
		c.leave(t, 1000)
		return w.traceOf(t, func(l line) bool { return l.Path == "/chat/"+name })
	}
	stay := h.open(t, w, "/chat/stays", request{})
	before := visit("before")
	h.stack.jaeger.await(t, before, spansNamed(spanClose))
	own.stop(t)
	during := visit("during")
	h.unharmed(t, w, h.untold(t), 5, 50)
	stay.talk(t, websocket.TextMessage, []byte("still here"))
	began := time.Now()
	own.start(t, h)
	after := visit("after")
	stay.leave(t, 1000)
	stayed := w.traceOf(t, func(l line) bool { return l.Path == "/chat/stays" })
	for name, id := range map[string]string{"before": before, "during": during, "after": after, "stays": stayed} {
		trace := h.stack.jaeger.await(t, id, spansNamed(spanUpgrade, spanTransfer, spanClose))
		if trace.root() == nil {
			t.Errorf("%s: no root:\n%s", name, trace)
		}
	}
	h.stack.prometheus.want(t, w.of("wsproxy_connection_opened_total", "wsproxy_route_name", "chat"), 9)
	t.Logf("everything there %v after the restart", time.Since(began))
}
