package admin

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"wsproxy/lifecycle"
)

func TestTap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		r := numbered()
		v := start(t, &Server{Registry: r, Log: slog.New(slog.NewTextHandler(&log, nil))})
		fresh(r)
		c := relaying(r)
		d := websocket.Dialer{NetDialContext: v.network.DialContext}
		if _, answer, err := d.Dial("ws://"+address+"/api/connections/c2/tap", http.Header{"Origin": {"https://evil.example"}}); err == nil || answer.StatusCode != http.StatusForbidden {
			t.Errorf("got %v for a page of another origin, want 403", err)
		}
		tap, _, err := d.Dial("ws://"+address+"/api/connections/c2/tap", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer tap.Close()
		synctest.Wait()
		c.Tell(lifecycle.Frame{At: time.Now(), Direction: lifecycle.Upstream, Opcode: "text", Length: 70_000, Bits: 0xc0, Masked: true})
		c.Tell(lifecycle.Frame{At: time.Now(), Direction: lifecycle.Downstream, Opcode: "close", Length: 2, Bits: 0x80, Own: true})
		c.Closed(lifecycle.Close{Cause: lifecycle.CauseDrain, Initiator: lifecycle.InitiatorProxy, Code: 1012, Clean: true})
		next := func() (got tapDocument) {
			t.Helper()
			if err := tap.ReadJSON(&got); err != nil {
				t.Fatal(err)
			}
			return got
		}
		if got, want := next(), (frameDocument{Direction: "upstream", From: "client", Opcode: "text", Fin: true, RSV1: true, Masked: true, Length: 70_000}); got.Frame == nil || *got.Frame != want || got.Close != nil {
			t.Errorf("got %+v, want %+v", got.Frame, want)
		}
		if got, want := next(), (frameDocument{Direction: "downstream", From: "proxy", Opcode: "close", Fin: true, Length: 2}); got.Frame == nil || *got.Frame != want {
			t.Errorf("got %+v, want %+v", got.Frame, want)
		}
		if got := next(); got.Frame != nil || got.Close == nil || got.Close.Cause != "drain" || *got.Close.Code != 1012 {
			t.Errorf("got %+v, want the connection's end", got)
		}
		if _, _, err := tap.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseNormalClosure) {
			t.Errorf("got %v, want a Close with 1000", err)
		}
		synctest.Wait()
		for _, want := range []string{`msg="a connection is tapped" connection.id=c2 operator=`, "no longer tapped", "frames=2"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("got no %q in the log: %s", want, log.String())
			}
		}
	})
}

func TestTapIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := numbered()
		v := start(t, &Server{Registry: r})
		relaying(r)
		relaying(r).Update(func(f *lifecycle.Facts) { f.Framing = "off" })
		relaying(r).Update(func(f *lifecycle.Facts) { f.Tunnel = lifecycle.TunnelTLS })
		full := relaying(r)
		for full.Tap() != nil {
		}
		d := websocket.Dialer{NetDialContext: v.network.DialContext}
		for id, status := range map[string]int{"c2": http.StatusConflict, "c3": http.StatusConflict, "c4": http.StatusServiceUnavailable, "c5": http.StatusNotFound} {
			if _, answer, err := d.Dial("ws://"+address+"/api/connections/"+id+"/tap", nil); !errors.Is(err, websocket.ErrBadHandshake) || answer.StatusCode != status {
				t.Errorf("%s: got %v, want %d", id, err, status)
			}
		}
		if answer, _ := v.get("/api/connections/c1/tap"); answer.StatusCode != http.StatusUpgradeRequired {
			t.Errorf("got %d without an upgrade, want 426", answer.StatusCode)
		}
		if r.Get("c1").Tapped() {
			t.Error("a request without an upgrade has left a tap behind")
		}
	})
}

// A tap whose client has left leaves nothing behind.
func TestTapIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := numbered()
		v := start(t, &Server{Registry: r})
		c := relaying(r)
		d := websocket.Dialer{NetDialContext: v.network.DialContext}
		tap, _, err := d.Dial("ws://"+address+"/api/connections/c1/tap", nil)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !c.Tapped() {
			t.Error("got no tap")
		}
		tap.Close()
		synctest.Wait()
		if c.Tapped() {
			t.Error("got a tap whose client has left")
		}
	})
}
