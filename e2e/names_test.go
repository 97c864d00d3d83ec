//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// unseen are the names in the schema that this run can't produce, each with the reason.
var unseen = map[string]string{
	"wsproxy.telemetry.dropping": "nothing is lost here; the test of a collector that is away sees it in wsproxy's log",
	"wsproxy.connection.stalled": "takes five seconds of a peer that reads nothing; the relay's tests see it",
}

// names plays everything, stops wsproxy with a connection open, and compares all the names that arrived with
// telemetry/schema.yaml, both ways.
func (h *house) names(t *testing.T) {
	if h.missing(t, "tinyproxy", "danted") {
		return
	}
	c := h.newCast(t)
	s := c.settings(t)
	// With details, which say the events' names.
	detailed := h.stack.newCollector(t, "--config", "yaml:exporters::debug/logs::verbosity: detailed")
	s.telemetry["otlp"] = object{"endpoint": "http://" + detailed.grpc}
	w := h.serve(t, s)
	for _, s := range h.allScenarios(t) {
		s.perform(t, w, c)
	}
	h.plainRequest(t, w)
	h.withCertificate(t, s)
	h.chat(t, w)
	stay := h.open(t, w, "/direct/stays", request{})
	h.stack.prometheus.want(t, "sum("+w.of("wsproxy_connection_active", "wsproxy_config_current", "true")+")", 1)
	w.signal(syscall.SIGTERM)
	wantRestart(t, stay, "restarting")
	w.stop(t)
	detailed.stop(t) // what it has is with its backends now

	schema := readSchema(t)
	t.Run("spans", func(t *testing.T) { h.checkSpanNames(t, w, schema) })
	t.Run("metrics", func(t *testing.T) { h.checkMetricNames(t, w, schema) })
	t.Run("events", func(t *testing.T) { checkEventNames(t, w, schema, detailed.log(t)) })
}

// chat is a connection with enough messages that some are timed, and with a ping.
func (h *house) chat(t *testing.T, w *wsproxy) {
	t.Helper()
	c := h.open(t, w, "/direct/chat", request{})
	answered := false
	c.SetPongHandler(func(string) error { answered = true; return nil })
	if err := c.WriteControl(websocket.PingMessage, []byte("here?"), time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if err := c.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.ReadMessage(); err != nil {
			t.Fatal(err)
		}
	}
	if !answered {
		t.Error("got no pong")
	}
	c.leave(t, 1000)
}

// plainRequest is one that is no upgrade.
func (h *house) plainRequest(t *testing.T, w *wsproxy) {
	t.Helper()
	body, err := get(t.Context(), "http://"+w.plain+"/direct/plain")
	if err != nil || string(body) != "hello\n" {
		t.Errorf("got %q, %v", body, err)
	}
}

// withCertificate has a second wsproxy of the same service ask for a client certificate.
func (h *house) withCertificate(t *testing.T, s *settings) {
	t.Helper()
	s.clientCA = h.caFile
	w := h.serve(t, s)
	c := h.open(t, w, "/direct/certificate", request{secure: true, certificate: true})
	c.leave(t, 1000)
	w.stop(t)
}

var placeholder = regexp.MustCompile(`\{[^}]+\}`)

// checkSpanNames looks at all traces of the service.
func (h *house) checkSpanNames(t *testing.T, w *wsproxy, schema *schema) {
	promised, sets := promiseOf(schema.Spans), schema.values()
	var ids []string
	eventually(t, "the last trace", func(ctx context.Context) (err error) {
		var body []byte
		ids, body, err = h.stack.jaeger.documents(ctx, w.service)
		if err == nil && !strings.Contains(string(body), "state draining") {
			err = errNotYet
		}
		return err
	})
	count := 0
	for _, id := range ids {
		for _, s := range h.stack.jaeger.await(t, id, func(*trace) error { return nil }).spans {
			count++
			name := schema.spanName(s)
			for _, surprise := range promised.seen(name, slices.Collect(maps.Keys(s.attributes))) {
				t.Errorf("the schema has no %s (span %q)", surprise, s.name)
			}
			if kind := schema.kind(name); !strings.EqualFold(kind, s.kind) {
				t.Errorf("%s is %s, want %s", s.name, s.kind, kind)
			}
			for key, value := range s.attributes {
				checkValue(t, sets, key, value)
			}
		}
	}
	t.Logf("%d spans in %d traces", count, len(ids))
	wantSeen(t, promised)
}

// spanName is the schema's name for a span: the one whose placeholders, filled from the span, make its name.
func (s *schema) spanName(of *span) string {
	for _, n := range s.Spans {
		filled := placeholder.ReplaceAllStringFunc(n.Name, func(p string) string { return of.text(strings.Trim(p, "{}")) })
		if strings.TrimSpace(filled) == of.name {
			return n.Name
		}
	}
	return of.name
}

func (s *schema) kind(span string) string {
	i := slices.IndexFunc(s.Spans, func(n named) bool { return n.Name == span })
	if i < 0 {
		return ""
	}
	return s.Spans[i].Kind
}

// common are the labels of every series: the resource's, and those of Prometheus' own.
var common = []string{"__name__", "instance", "job", "le", "service_instance_id", "service_name", "service_version"}

var histogramPart = regexp.MustCompile(`_(bucket|count|sum)$`)

func (h *house) checkMetricNames(t *testing.T, w *wsproxy, schema *schema) {
	promised, sets := schema.metrics(t), schema.values()
	dots := make(map[string]string)
	for name := range sets {
		dots[strings.ReplaceAll(name, ".", "_")] = name
	}
	h.stack.prometheus.wantThat(t, "sum("+w.of("wsproxy_connection_closes_total", "wsproxy_close_cause", "drain")+")", "1", func(v float64) bool { return v == 1 })
	all, err := h.stack.prometheus.series(t.Context(), w.of(""))
	if err != nil {
		t.Fatal(err)
	}
	for _, labels := range all {
		name := labels["__name__"]
		if schema.library(name) || aboutSpans(name) {
			continue
		}
		if _, ok := promised[name]; !ok {
			name = histogramPart.ReplaceAllString(name, "")
		}
		own := slices.DeleteFunc(slices.Collect(maps.Keys(labels)), func(l string) bool { return slices.Contains(common, l) })
		for _, surprise := range promised.seen(name, own) {
			t.Errorf("the schema has no %s", surprise)
		}
		for label, value := range labels {
			if !strings.HasPrefix(value, "_OTHER") {
				checkValue(t, sets, dots[label], value)
			}
		}
	}
	t.Logf("%d series", len(all))
	wantSeen(t, promised)
}

func checkEventNames(t *testing.T, w *wsproxy, schema *schema, output []byte) {
	promised, sets := promiseOf(schema.Events), schema.values()
	count := make(map[string]int)
	for _, e := range parseEvents(output) {
		if e.service != w.service || e.name == "" {
			continue
		}
		count[e.name]++
		for _, surprise := range promised.seen(e.name, slices.Collect(maps.Keys(e.attributes))) {
			t.Errorf("the schema has no %s", surprise)
		}
		for key, value := range e.attributes {
			checkValue(t, sets, key, value)
		}
	}
	t.Logf("events: %s", strings.TrimPrefix(fmt.Sprint(count), "map"))
	wantSeen(t, promised)
}

// wantSeen wants every name of the schema but those that can't be.
func wantSeen(t *testing.T, promised promise) {
	t.Helper()
	for _, name := range promised.broken() {
		if reason := unseen[name]; reason != "" {
			t.Logf("not seen: %s: %s", name, reason)
			continue
		}
		t.Errorf("not seen: %s", name)
	}
}
