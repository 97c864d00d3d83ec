package main

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"wsproxy/lifecycle"
)

// post sends a change to the admin port, and returns the status.
func (r *rig) post(path, body string) int {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, "http://"+r.adminAddr.Addr().String()+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	return resp.StatusCode
}

func TestDrainOfARoute(t *testing.T) {
	r := newRig(t, func(cfg object) { cfg["routes"] = []object{route("chat"), route("news")} })
	chat, news := r.dial("/chat"), r.dial("/news")
	r.talks(chat)
	if got := r.post("/api/drain", `{"route": "chat", "spread": 0, "code": 4000, "reason": "moving"}`); got != http.StatusAccepted {
		t.Fatalf("got %d, want 202", got)
	}
	wantClose(t, chat, 4000, "moving")
	r.talks(news)
	r.talks(r.dial("/chat")) // the process goes on
	eventually(t, "nobody is waited for", func() bool { return r.drainRemaining() == 0 })
}

func TestDrainOfAShare(t *testing.T) {
	r := newRig(t, nil)
	for range 8 {
		r.talks(r.dial("/chat"))
	}
	if n := r.drainSome(drainRequest{share: 0.3}); n != 3 {
		t.Errorf("got %d connections drained, want 3 of 8", n)
	}
	eventually(t, "three were asked to leave", func() bool {
		return r.registry.Snapshot().Phases[lifecycle.PhaseClose] == 3
	})
	if got := r.drainRemaining(); got != 3 {
		t.Errorf("got %d remaining while they answer nothing, want 3", got)
	}
}

func TestReloadThroughTheAPI(t *testing.T) {
	r := newRig(t, nil)
	if got := r.post("/api/reload", ""); got != http.StatusOK || r.registry.Generation() != 2 {
		t.Errorf("got %d and generation %d, want 200 and 2", got, r.registry.Generation())
	}
	r.cfg["routes"] = []object{}
	r.write()
	if got := r.post("/api/reload", "{}"); got != http.StatusUnprocessableEntity || r.registry.Generation() != 2 {
		t.Errorf("got %d and generation %d, want 422 and 2", got, r.registry.Generation())
	}
}

// A drain of the process whose sockets another one has taken over refuses nobody who was accepted before.
func TestHandedDrainServesWhoWasAccepted(t *testing.T) {
	r := newRig(t, nil)
	open := r.dial("/chat")
	early, err := net.Dial("tcp", r.listeners[0].Addr().String()) // accepted, and its request still to come
	if err != nil {
		t.Fatal(err)
	}
	defer early.Close()
	eventually(t, "it is accepted", func() bool { return r.registry.Snapshot().Phases[lifecycle.PhaseRequest] == 1 })
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.drain("test", true, nil)
	}()
	wantClose(t, open, websocket.CloseServiceRestart, "restarting")
	d := websocket.Dialer{NetDial: func(string, string) (net.Conn, error) { return early, nil }}
	c, resp, err := d.DialContext(t.Context(), "ws://x/chat", nil)
	if err != nil {
		b, _ := io.ReadAll(resp.Body)
		t.Fatalf("%v: %s", err, b)
	}
	wantClose(t, c, websocket.CloseServiceRestart, "restarting")
	<-done
	if _, err := r.tryDial(r.first, "/chat"); err == nil {
		t.Error("got a connection, want the socket left to the new process")
	}
}
