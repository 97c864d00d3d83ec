//go:build e2e

package e2e

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// tap listens to the frames of one connection until an operator closes it.
func (h *house) tap(t *testing.T) {
	s := h.newSettings(t)
	e := startEcho(t, h)
	s.route("chat", nil, "ws://"+e.plain)
	w := h.serve(t, s)
	c := h.open(t, w, "/chat/1", request{})
	var id string
	eventually(t, "the connection is listed", func(ctx context.Context) error {
		all, err := w.open(ctx)
		if err != nil || len(all) == 0 {
			return errNotYet
		}
		id = all[0].ID
		return nil
	})
	tap, _, err := websocket.DefaultDialer.DialContext(t.Context(), "ws://"+w.admin+"/api/connections/"+id+"/tap", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tap.Close()
	c.talk(t, websocket.TextMessage, []byte("hello"))
	c.talk(t, websocket.BinaryMessage, make([]byte, 200_000))
	w.change(t, http.MethodDelete, "/api/connections/"+id+"?code=4003", http.StatusAccepted)
	c.closed(t, 4003)

	var frames []string
	for {
		var got struct {
			Frame *struct {
				Direction, From, Opcode string
			}
			Close *struct{ Cause string }
		}
		tap.SetReadDeadline(time.Now().Add(patience))
		if err := tap.ReadJSON(&got); err != nil {
			t.Fatalf("%v after %q", err, frames)
		}
		if got.Frame == nil {
			if got.Close == nil || got.Close.Cause != "admin" {
				t.Errorf("got %+v at the end, want the cause admin", got.Close)
			}
			break
		}
		if f := got.Frame; f.Opcode != "continuation" { // large messages come in pieces
			frames = append(frames, f.Direction+" "+f.Opcode+" from "+f.From)
		}
	}
	for _, want := range []string{
		"upstream text from client", "downstream text from upstream", "upstream binary from client", "downstream binary from upstream",
		"downstream close from proxy", "upstream close from proxy",
	} {
		if !slices.Contains(frames, want) {
			t.Errorf("got %q, want %q among them", frames, want)
		}
	}
	if _, _, err := tap.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseNormalClosure) {
		t.Errorf("got %v, want a Close with 1000", err)
	}
}
