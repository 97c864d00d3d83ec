package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"wsproxy/internal/otlpsink"
)

// What goes on of a client's baggage is decided by the listener's trust and the route's list, for WebSockets and other
// requests alike.
func TestBaggageGoesOnByAllowList(t *testing.T) {
	for _, tc := range []struct {
		name    string
		trusted bool
		allowed []string
		want    string
	}{
		{"trusted, allowed", true, []string{"tenant", "nothing-there"}, "tenant=7;level=gold"},
		{"trusted, none allowed", true, []string{}, ""},
		{"not trusted", false, []string{"tenant"}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sink, got := otlpsink.Start(), make(chan string, 1)
			t.Cleanup(sink.Close)
			target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				got <- strings.Join(r.Header.Values("Baggage"), ",")
				if websocket.IsWebSocketUpgrade(r) {
					if c, err := new(websocket.Upgrader).Upgrade(w, r, nil); err == nil {
						c.Close()
					}
				}
			}))
			t.Cleanup(target.Close)
			r := newRig(t, func(cfg object) {
				cfg["listeners"].([]object)[0]["trust"] = object{"trace_context": tc.trusted}
				cfg["routes"] = []object{route("chat", "baggage", tc.allowed)}
				cfg["upstreams"] = []object{{"name": "echo", "targets": []string{target.URL}}}
				cfg["telemetry"] = object{"otlp": object{"endpoint": sink.URL, "protocol": "http/protobuf"}}
			})
			for _, kind := range []string{"a WebSocket", "another request"} {
				request, _, _ := strings.Cut(upgradeOf("/chat", "Baggage: tenant=7;level=gold,user=8"), "\r\n\r\n")
				if kind != "a WebSocket" {
					request = "GET /chat HTTP/1.1\r\nHost: x\r\nBaggage: tenant=7;level=gold,user=8"
				}
				hold(t, r.first.String(), request+"\r\n\r\n", 1)
				if baggage := <-got; baggage != tc.want {
					t.Errorf("%s: got %q, want %q", kind, baggage, tc.want)
				}
			}
		})
	}
}
