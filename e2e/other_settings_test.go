//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// otherSettings runs what the other tests don't: OTLP over HTTP, traces of their own for open connections, short
// segments; and the standard variables in place of the block.
func (h *house) otherSettings(t *testing.T) {
	t.Run("HTTP, linked, segments", h.linkedSegments)
	t.Run("segments off", h.segmentsOff)
	t.Run("environment", h.fromEnvironment)
	t.Run("disabled", h.disabled)
}

const firstSegment = 100 * time.Millisecond

// linkedSegments keeps a connection open for a few segments, which must arrive while it is.
func (h *house) linkedSegments(t *testing.T) {
	s := h.newSettings(t)
	e := startEcho(t, h)
	s.route("chat", nil, "ws://"+e.plain)
	s.telemetry["otlp"] = object{"endpoint": "http://" + h.stack.collector.http, "protocol": "http/protobuf"}
	s.telemetry["traces"] = object{
		"connection": "linked", "segments": object{"first": firstSegment.String(), "longest": "1s"},
	}
	w := h.serve(t, s)
	c := h.open(t, w, "/chat/linked", request{})
	c.talk(t, websocket.TextMessage, []byte("still here"))
	handshake := h.stack.jaeger.await(t, w.awaitPhase(t, c.address(), "transfer"), spansNamed(spanConnect, spanUpgrade))
	if handshake.span(spanTransfer) != nil {
		t.Errorf("the handshake's trace has a transfer:\n%s", handshake)
	}
	link := handshake.id + "/" + handshake.root().id
	h.awaitLinked(t, w, link, 3)
	c.leave(t, 1000)
	parts := h.awaitLinked(t, w, link, 5) // three segments, the last one and the close
	checkSegments(t, parts, handshake.root())
	h.stack.prometheus.want(t, w.of("wsproxy_connection_opened_total", "wsproxy_route_name", "chat"), 1)
}

// awaitLinked returns the spans that link to a span, in their order, once there are enough.
func (h *house) awaitLinked(t *testing.T, w *wsproxy, link string, want int) []*span {
	t.Helper()
	var parts []*span
	eventually(t, fmt.Sprintf("%d linked spans", want), func(ctx context.Context) error {
		ids, _, err := h.stack.jaeger.documents(ctx, w.service)
		if err != nil {
			return err
		}
		parts = nil
		for _, id := range ids {
			found, err := h.stack.jaeger.trace(ctx, id)
			if err != nil {
				return err
			}
			for _, s := range found.spans {
				if slices.Contains(s.links, link) {
					parts = append(parts, s)
				}
			}
		}
		if len(parts) < want {
			return fmt.Errorf("got %d", len(parts))
		}
		return nil
	})
	slices.SortFunc(parts, func(a, b *span) int { return a.begun.Compare(b.begun) })
	return parts
}

// checkSegments wants segments that follow one another, each twice as long as the one before.
func checkSegments(t *testing.T, parts []*span, root *span) {
	t.Helper()
	before, length, messages := root.ended, firstSegment, int64(0)
	segments, end := parts[:len(parts)-1], parts[len(parts)-1]
	for i, s := range segments {
		final, _ := s.attributes["wsproxy.segment.final"].(bool)
		if s.name != spanTransfer || s.number("wsproxy.segment.index") != int64(i) || final != (i == len(segments)-1) || s.parent != "" {
			t.Errorf("segment %d: %s %v", i, s.name, s.attributes)
		}
		if !s.begun.Equal(before) {
			t.Errorf("segment %d begins %v after the one before has ended", i, s.begun.Sub(before))
		}
		if late := s.took() - length; !final && (late < 0 || late > slack) {
			t.Errorf("segment %d took %v, want %v", i, s.took(), length)
		}
		before, length = s.ended, min(2*length, time.Second)
		messages += s.number("wsproxy.segment.upstream.messages")
	}
	if end.name != spanClose || end.number("wsproxy.total.upstream.messages") != messages || messages != 1 {
		t.Errorf("the last span is %s %v, the segments' sum %d messages", end.name, end.attributes, messages)
	}
}

// segmentsOff wants one transfer span however long the connection is open.
func (h *house) segmentsOff(t *testing.T) {
	s := h.newSettings(t)
	e := startEcho(t, h)
	s.route("chat", nil, "ws://"+e.plain)
	s.telemetry["traces"] = object{"segments": "off"}
	w := h.serve(t, s)
	c := h.open(t, w, "/chat/long", request{})
	c.talk(t, websocket.TextMessage, []byte("still here"))
	c.leave(t, 1000)
	id := w.traceOf(t, func(l line) bool { return l.Path == "/chat/long" })
	trace := h.stack.jaeger.await(t, id, spansNamed(spanTransfer, spanClose))
	if got := len(trace.named(spanTransfer)); got != 1 {
		t.Errorf("got %d transfer spans, want one", got)
	}
}

// fromEnvironment leaves the block out.
func (h *house) fromEnvironment(t *testing.T) {
	s := h.newSettings(t)
	e := startEcho(t, h)
	s.route("chat", nil, "ws://"+e.plain)
	delete(s.telemetry, "otlp")
	w := h.serve(t, s, "OTEL_EXPORTER_OTLP_ENDPOINT=http://"+h.stack.collector.grpc, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
		"OTEL_RESOURCE_ATTRIBUTES=service.instance.id=the-one")
	c := h.open(t, w, "/chat/environment", request{})
	c.leave(t, 1000)
	id := w.traceOf(t, func(l line) bool { return l.Path == "/chat/environment" })
	trace := h.stack.jaeger.await(t, id, spansNamed(spanUpgrade, spanClose))
	if got := trace.resource["service.instance.id"]; got != "the-one" {
		t.Errorf("got service.instance.id %v, want the environment's", got)
	}
	h.stack.prometheus.want(t, w.of("wsproxy_connection_opened_total", "wsproxy_route_name", "chat", "service_instance_id", "the-one"), 1)
}

// disabled has OTEL_SDK_DISABLED win over the block: traffic goes on and nothing is exported.
func (h *house) disabled(t *testing.T) {
	s := h.newSettings(t)
	e := startEcho(t, h)
	s.route("chat", nil, "ws://"+e.plain)
	w := h.serve(t, s, "OTEL_SDK_DISABLED=true")
	c := h.open(t, w, "/chat/disabled", request{header: map[string][]string{"Traceparent": {foreignParent}}})
	c.chat(t)
	c.leave(t, 1000)
	w.stop(t)
	if got := e.header("/chat/disabled").Get("Traceparent"); got != foreignParent {
		t.Errorf("the upstream got traceparent %q, want the client's %q", got, foreignParent)
	}
	services, err := h.stack.jaeger.services(t.Context())
	if err != nil || slices.Contains(services, w.service) {
		t.Errorf("Jaeger has %q, %v", services, err)
	}
	series, err := h.stack.prometheus.series(t.Context(), w.of(""))
	if err != nil || len(series) > 0 {
		t.Errorf("Prometheus has %d series, %v", len(series), err)
	}
}
