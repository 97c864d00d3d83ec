package main

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"wsproxy/internal/otlpsink"
)

// What is secret is told nobody but whom it is for: no trace, metric, log record or line has it, nor an answer of the admin port.
func TestSecretsAreNotTold(t *testing.T) {
	w := newWhisper(t)
	w.reverse()
	w.forwarded()
	api := w.admins()
	eventually(t, "everything was exported", func() bool {
		m := w.scraped()
		return m.sum("wsproxy_connection_active") == 0 && m.sum("wsproxy_phase_active") == 0 && m.sum("otel_sdk_processor_span_queue_size")+m.sum("otel_sdk_processor_log_queue_size") == 0
	})
	if err := w.telemetry.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	lines, err := os.ReadFile(w.stderr)
	if err != nil {
		t.Fatal(err)
	}
	for place, text := range map[string][]byte{
		"traces": w.sink.Got(otlpsink.Traces), "metrics": w.sink.Got(otlpsink.Metrics), "log records": w.sink.Got(otlpsink.Logs),
		"standard error": lines, "the admin port": api,
	} {
		if len(text) < 1000 {
			t.Errorf("%s: only %q", place, text)
		}
		for _, found := range w.within(text) {
			t.Errorf("in %s there is the %s", place, found)
		}
	}
	said := w.heard.String()
	for _, place := range []string{"query", "bearer", "cookie", "payload", "ping", "close reason", "query in a tunnel", "bearer in a tunnel"} {
		if !strings.Contains(said, w.of(place)) {
			t.Errorf("the %s was not on its way", place)
		}
	}
	if !strings.Contains(said, base64.StdEncoding.EncodeToString([]byte("egress:"+w.of("egress password")))) {
		t.Error("the egress did not get its password")
	}
	for _, place := range []string{"egress password", "OTLP header", "admin token", "sticky secret", "bearer", "cookie"} {
		if strings.Contains(string(w.answers), w.of(place)) {
			t.Errorf("clients were told the %s", place)
		}
	}
}

// admins asks every page of the admin port, with a connection open, and reloads what is wrong. It returns all answers.
func (w *whisper) admins() (all []byte) {
	w.t.Helper()
	token := w.of("admin token")
	held := hold(w.t, w.first.String(), upgradeOf("/echo/open?"+w.of("query"), w.headers()...), 1)
	id := ""
	eventually(w.t, "one is open", func() bool {
		for c := range w.registry.All() {
			if !c.Opened().IsZero() && c.Facts().Path == "/echo/open" {
				id = c.ID
			}
		}
		return id != ""
	})
	tap, stream := w.live("/api/connections/"+id+"/tap"), w.live("/api/stream")
	get := func(path, token string) {
		all = append(append(all, w.admit(http.MethodGet, path, token)...), '\n')
	}
	var document struct{ Paths map[string]map[string]any }
	if err := json.Unmarshal(w.admit(http.MethodGet, "/api/openapi.json", token), &document); err != nil || len(document.Paths) < 10 {
		w.t.Fatalf("the API's document: %v, %d paths", err, len(document.Paths))
	}
	for path, methods := range document.Paths {
		if methods["get"] != nil && !strings.HasSuffix(path, "/tap") && path != "/api/stream" {
			get(strings.Replace(path, "{id}", id, 1), token)
		}
	}
	get("/", token)
	get("/metrics", token)
	get("/api/state?token="+w.of("query of the API"), w.of("wrong admin token"))
	w.mistakes(func() { all = append(all, w.admit(http.MethodPost, "/api/reload", token)...) })
	io.WriteString(held, string([]byte{0x81, 0x80 | byte(len(w.of("payload"))), 0, 0, 0, 0})+w.of("payload")+closeFrame)
	held.Close()
	for c, last := range map[*websocket.Conn]string{tap: `"cause"`, stream: id} {
		for {
			_, text, err := c.ReadMessage()
			all = append(append(all, text...), '\n')
			if err != nil || strings.Contains(string(text), last) {
				break
			}
		}
	}
	return all
}

// live opens one of the admin port's WebSockets.
func (w *whisper) live(path string) *websocket.Conn {
	w.t.Helper()
	d := websocket.Dialer{HandshakeTimeout: patience}
	c, _, err := d.DialContext(w.t.Context(), "ws://"+w.adminAddr.Addr().String()+path, http.Header{"Authorization": {"Bearer " + w.of("admin token")}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	c.SetReadDeadline(time.Now().Add(patience))
	return c
}

// admit is what the admin port answers.
func (w *whisper) admit(method, path, token string) []byte {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, "http://"+w.adminAddr.Addr().String()+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Accept", "application/openmetrics-text;version=1.0.0, */*;q=0.1") // with exemplars
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return body
}

// mistakes are configurations that are wrong near a secret.
func (w *whisper) mistakes(reload func()) {
	for _, change := range []func(cfg object){
		func(cfg object) {
			cfg["egress"] = []object{{"name": "corp", "url": "http://u:" + w.of("userinfo of an egress") + "@x:1"}}
		},
		func(cfg object) {
			cfg["egress"] = []object{{"name": "corp", "url": "http://x:1", "credentials": w.of("credentials without a colon")}}
		},
		func(cfg object) {
			cfg["upstreams"] = []object{{"name": "echo", "targets": []string{"ws://u:" + w.of("userinfo of a target") + "@x:1/?" + w.of("query of a target")}}}
		},
		func(cfg object) {
			cfg["telemetry"] = object{"otlp": object{"endpoint": "http://u:" + w.of("userinfo of a collector") + "@x:1"}}
		},
		func(cfg object) {
			cfg["telemetry"] = object{"otlp": object{"endpoint": "http://x:1", "headers": object{"a b": w.of("header of a collector")}}}
		},
		func(cfg object) {
			cfg["admin"] = object{"address": "127.0.0.1:0", "token": []string{w.of("a list of tokens")}}
		},
		func(cfg object) { cfg["admin"] = object{"address": "127.0.0.1:0", "tokn": w.of("misspelt token")} },
	} {
		former := maps.Clone(w.cfg)
		change(w.cfg)
		w.write()
		reload()
		w.cfg = former
	}
	w.write()
}
