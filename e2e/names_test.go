//go:build e2e

package e2e

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
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

	"tunnel close with wsproxy.close.leg":           "takes thirty seconds of a peer that reads nothing; the relay's tests see it",
	"tunnel close with wsproxy.close.tls_truncated": "takes a client that ends TLS with the listener without a word; the relay's tests see it",
}

// names plays everything, stops wsproxy with a connection open, and compares all the names that arrived with
// telemetry/schema.yaml, both ways.
func (h *house) names(t *testing.T) {
	if h.missing(t, "tinyproxy", "danted") {
		return
	}
	c := h.newCast(t)
	s := c.settings(t)
	// With details, which say the events' names, and with all that it got for the units and kinds that names do not say.
	all := startSink(t, 0)
	detailed := h.stack.newCollector(t, append(withSink(all), "--config", "yaml:exporters::debug/logs::verbosity: detailed")...)
	s.telemetry["otlp"] = object{"endpoint": "http://" + detailed.grpc}
	h.guardedRoutes(t, s, c)
	w := h.serve(t, s)
	for _, s := range h.allScenarios(t) {
		s.perform(t, w, c)
	}
	h.plainRequest(t, w)
	h.withCertificate(t, s)
	h.withTunnels(t, s, c)
	h.chat(t, w, "/direct/chat")
	h.identified(t, w)
	h.operated(t, w, s)
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
	t.Run("kinds", func(t *testing.T) { checkKinds(t, w.service, schema, all) })
}

// chat is a connection with enough messages that some are timed, and with a ping.
func (h *house) chat(t *testing.T, w *wsproxy, path string) {
	t.Helper()
	c := h.open(t, w, path, request{})
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

// guardedRoutes ask for a key; behind one of them nobody listens.
func (h *house) guardedRoutes(t *testing.T, s *settings, c *cast) {
	t.Helper()
	auth := object{"api_key": object{"keys": h.file(t, "keys", fmt.Sprintf("pump:%x\n", sha256.Sum256([]byte(apiKey))))}}
	s.route("guarded", object{"auth": auth, "limits": object{"connections": 10}}, "ws://"+c.echo.plain)
	s.route("guarded-refused", object{"auth": auth}, "ws://"+c.closed)
}

// identified has a client that shows who it is, once let through and once in vain.
func (h *house) identified(t *testing.T, w *wsproxy) {
	t.Helper()
	r := request{header: http.Header{"X-Api-Key": {apiKey}}}
	h.open(t, w, "/guarded/in", r).leave(t, 1000)
	if _, no := h.dial(t, w, "/guarded-refused/in", r); no == nil || no.status != http.StatusBadGateway {
		t.Errorf("got %+v, want a 502", no)
	}
}

// operated does what an operator does: drains a part, reloads, and makes a mistake in the configuration.
func (h *house) operated(t *testing.T, w *wsproxy, s *settings) {
	t.Helper()
	for _, part := range []string{"route", "upstream"} {
		c := h.open(t, w, "/direct/leaves", request{})
		w.awaitPhase(t, c.address(), "transfer") // the client has its 101 before
		w.changeTo(t, http.MethodPost, "/api/drain", `{"`+part+`": "direct", "share": 0.5, "spread": 0, "reason": "moved"}`, http.StatusAccepted)
		wantRestart(t, c, "moved")
	}
	written := s.document(t)
	for _, change := range []struct {
		text string
		want int
	}{
		{strings.Replace(string(written), `"identity": "address"`, `"identity": "cookie:session"`, 1), http.StatusOK},
		{"listeners: nowhere", http.StatusUnprocessableEntity},
		{string(written), http.StatusOK},
	} {
		if err := os.WriteFile(w.file(), []byte(change.text), 0o600); err != nil {
			t.Fatal(err)
		}
		w.change(t, http.MethodPost, "/api/reload", change.want)
	}
}

// withTunnels has a second wsproxy of the same service serve clients of a forward proxy.
func (h *house) withTunnels(t *testing.T, s *settings, c *cast) {
	t.Helper()
	forward, seen := *s, startEcho(t, h)
	_, port, _ := net.SplitHostPort(seen.secure)
	ca, key := h.interceptionCA(t)
	forward.forward = object{
		"allow": []string{"127.0.0.0/8"}, "egress": "socks5",
		"intercept": object{"hosts": []string{"localhost:" + port}, "ca": object{"cert": ca, "key": key}, "upstream_ca": h.caFile},
	}
	w := h.serve(t, &forward)
	for _, scheme := range []string{"http", "socks5"} {
		for _, target := range []string{"ws://" + c.echo.plain, "wss://" + c.echo.secure} {
			gorillaThrough(t, strings.Replace(target, "127.0.0.1", "localhost", 1)+"/"+scheme, &url.URL{Scheme: scheme, Host: w.plain}, h.caFile)
		}
		intercepted, proxy := "wss://localhost:"+port+"/"+scheme, &url.URL{Scheme: scheme, Host: w.plain}
		gorillaThrough(t, intercepted, proxy, ca)
		distrustful := websocket.Dialer{Proxy: http.ProxyURL(proxy), HandshakeTimeout: patience, TLSClientConfig: h.clientTLS()}
		if _, _, err := distrustful.DialContext(t.Context(), intercepted, nil); err == nil {
			t.Error("got a WebSocket for a client that does not trust the CA")
		}
		// Nobody, and somebody who speaks no WebSocket.
		for _, target := range []string{c.closed, strings.TrimPrefix(h.stack.prometheus.url, "http://")} {
			d := websocket.Dialer{Proxy: http.ProxyURL(&url.URL{Scheme: scheme, Host: w.plain}), HandshakeTimeout: patience}
			if _, _, err := d.DialContext(t.Context(), "ws://"+target+"/", nil); err == nil {
				t.Errorf("got a WebSocket with %s", target)
			}
		}
	}
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
	if slices.ContainsFunc(s.Spans, func(n named) bool { return n.Name == of.name }) {
		return of.name
	}
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
	h.stack.prometheus.wantThat(t, "sum("+w.of("wsproxy_connection_closes_total", "wsproxy_close_cause", "drain")+")", "3", func(v float64) bool { return v == 3 })
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
