//go:build e2e

package e2e

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
)

// canaries are secrets where users have them. None may be found in anything that wsproxy tells.
var canaries = map[string]string{
	"query":    "canary-query",
	"bearer":   "canary-bearer",
	"cookie":   "canary-cookie",
	"api key":  "canary-api-key",
	"payload":  "canary-payload",
	"reason":   "canary-close-reason",
	"answer":   "canary-set-cookie",
	"OTLP":     "canary-otlp-header",
	"password": egressPassword,
	"wrong":    "canary-wrong",
	"proxy":    "canary-proxy-authorization",
	"tiny":     tinyPassword,
}

// forms are the ways in which a secret is written.
func forms(secret string) []string {
	basic := func(user string) string { return base64.StdEncoding.EncodeToString([]byte(user + ":" + secret)) }
	return []string{secret, url.QueryEscape(secret), url.PathEscape(secret), base64.StdEncoding.EncodeToString([]byte(secret)), basic(egressUser)}
}

// secrets sends canaries along every path, good and bad, at the log level that tells most, and looks for them
// in traces, metrics, the log and what the collector got.
func (h *house) secrets(t *testing.T) {
	c := h.newCast(t)
	s := c.settings(t)
	detailed := h.stack.newCollector(t, "--config", "yaml:exporters::debug/logs::verbosity: detailed")
	s.telemetry["otlp"] = object{"endpoint": "http://" + detailed.grpc, "headers": object{"x-api-key": s.secret("otlp", canaries["OTLP"])}}
	s.logLevel = "debug"
	s.route("answers", nil, "ws://"+serveRaw(t, reply("HTTP/1.1 403 Forbidden\r\nSet-Cookie: a="+canaries["answer"]+"\r\nContent-Length: 17\r\n\r\n"+canaries["answer"])))
	if c.dante != "" && c.members {
		c.through(s, "socks5-wrong", "socks5://"+c.dante, egressUser+":"+canaries["wrong"], nil, "ws://"+c.echo.plain)
	}
	w := h.serve(t, s)
	h.whisper(t, w, s)
	arrived := c.echo.header("/direct/secret?access_token=" + canaries["query"])
	if arrived.Get("Authorization") != "Bearer "+canaries["bearer"] || !strings.Contains(arrived.Get("Cookie"), canaries["cookie"]) {
		t.Fatalf("the upstream got %v: the canaries were not on their way", arrived)
	}
	scrape, err := get(t.Context(), "http://"+w.admin+"/metrics")
	if err != nil {
		t.Fatal(err)
	}
	live, err := get(t.Context(), "http://"+w.admin+"/api/connections")
	if err != nil {
		t.Fatal(err)
	}
	state, err := get(t.Context(), "http://"+w.admin+"/api/state")
	if err != nil {
		t.Fatal(err)
	}
	w.stop(t)
	detailed.stop(t)
	series, err := h.stack.prometheus.series(t.Context(), w.of(""))
	if err != nil {
		t.Fatal(err)
	}
	told := map[string][]byte{
		"wsproxy's log": w.log(t), "/metrics": scrape, "/api/connections": live, "/api/state": state, "the collector's log": detailed.log(t),
		"Prometheus' labels": fmt.Append(nil, series), "Jaeger's traces": h.allTraces(t, w, len(s.routes)),
	}
	for place, text := range told {
		if len(text) < 100 && place != "/api/connections" {
			t.Errorf("%s: only %q", place, text)
		}
		for what, secret := range canaries {
			for _, form := range forms(secret) {
				if i := strings.Index(string(text), form); i >= 0 {
					t.Errorf("the %s is in %s: %q", what, place, text[max(i-200, 0):min(i+100, len(text))])
				}
			}
		}
	}
}

// whisper takes every route with secrets in query, headers, payload and close reason.
func (h *house) whisper(t *testing.T, w *wsproxy, s *settings) {
	t.Helper()
	header := http.Header{
		"Authorization": {"Bearer " + canaries["bearer"]}, "Cookie": {"session=" + canaries["cookie"]}, "X-Api-Key": {canaries["api key"]},
		"Proxy-Authorization": {"Bearer " + canaries["proxy"]},
	}
	var names []string
	for _, r := range s.routes {
		if name := r["name"].(string); name != "hangs" && name != "slow-peer" {
			names = append(names, name)
		}
	}
	for _, name := range append(names, "nowhere") {
		for _, secure := range []bool{false, true} {
			c, _ := h.dial(t, w, "/"+name+"/secret?access_token="+canaries["query"], request{header: header, secure: secure})
			if c == nil {
				continue
			}
			c.send(t, websocket.TextMessage, []byte(canaries["payload"]))
			c.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(4000, canaries["reason"]))
			c.closedAnyhow()
		}
	}
	exchange(t, w.plain, "GET /direct/plain?access_token="+canaries["query"]+" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+canaries["bearer"]+"\r\n\r\n")
	exchange(t, w.plain, "GET /direct/bad?access_token="+canaries["query"]+" HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n")
	exchange(t, w.plain, "GET /direct/worse?access_token="+canaries["query"]+" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+canaries["bearer"]+"\r\nno header\r\n\r\n")
}

// closedAnyhow reads until the connection is over, however it ends.
func (c *client) closedAnyhow() {
	defer c.Close()
	for {
		if _, _, err := c.ReadMessage(); err != nil {
			return
		}
	}
}

// allTraces is the text of all traces of a service, from both of Jaeger's APIs; there are some for each route.
func (h *house) allTraces(t *testing.T, w *wsproxy, want int) []byte {
	t.Helper()
	var ids []string
	var text []byte
	eventually(t, "all traces", func(ctx context.Context) (err error) {
		if ids, text, err = h.stack.jaeger.documents(ctx, w.service); err == nil && len(ids) < want {
			err = fmt.Errorf("got %d, want %d", len(ids), want)
		}
		return err
	})
	for _, id := range ids {
		found, err := h.stack.jaeger.trace(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, found.document...)
	}
	return text
}
