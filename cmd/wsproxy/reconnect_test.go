package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"wsproxy/lifecycle"
)

// A client that says goodbye is counted as one that came back while an upstream that takes its time has not yet answered.
func TestBackBeforeTheUpstreamHasAnswered(t *testing.T) {
	over := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := new(websocket.Upgrader).Upgrade(w, r, nil)
		if err != nil {
			return
		}
		<-over
		c.Close()
	}))
	t.Cleanup(silent.Close)
	t.Cleanup(func() { close(over) })
	r := newRig(t, func(cfg object) {
		cfg["upstreams"] = []object{{"name": "echo", "targets": []string{"ws" + strings.TrimPrefix(silent.URL, "http")}}}
		cfg["routes"] = []object{route("chat", "identity", "query:user", "timeouts", object{"close": "1m"})}
	})
	reconnects := func() int {
		return r.scraped().sum("wsproxy_connection_reconnects_total", `wsproxy_close_cause="client_close"`)
	}
	first := r.dial("/chat?user=ann")
	r.dial("/chat?user=ann")
	if got := reconnects(); got != 0 {
		t.Errorf("got %d reconnects of a client with two connections, want none", got)
	}
	first.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(patience))
	eventually(t, "the first is ending", func() bool { return r.registry.Snapshot().Phases[lifecycle.PhaseClose] == 1 })
	r.dial("/chat?user=ann")
	eventually(t, "it is counted", func() bool { return reconnects() == 1 })
}
