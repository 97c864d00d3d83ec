package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"wsproxy/lifecycle"
)

// probedWith runs the command and reads what --json has of each WebSocket.
func probedWith(t *testing.T, args ...string) (code int, all []probeDocument, errs string) {
	t.Helper()
	code, out, errs := command(t.Context(), append([]string{"probe", "--json", "--timeout", patience.String(), "--interval", "1ms"}, args...)...)
	for line := range strings.Lines(out) {
		var d probeDocument
		if err := json.Unmarshal([]byte(line), &d); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		all = append(all, d)
	}
	if strings.Contains(out+errs, "hidden") {
		t.Errorf("a secret was written: %s%s", out, errs)
	}
	return code, all, errs
}

func (d probeDocument) phases() string {
	var all []string
	for _, p := range d.Phases {
		all = append(all, p.Phase)
	}
	return strings.Join(all, " ")
}

func TestProbe(t *testing.T) {
	f := newAdminFiles(t)
	r := newRig(t, func(cfg object) {
		cfg["listeners"] = []object{
			{"address": "127.0.0.1:0"},
			{"address": "127.0.0.1:0", "tls": f.block()},
			{"address": "127.0.0.1:0", "mode": "forward"},
		}
		cfg["forward"] = object{"allow": []string{"127.0.0.0/8"}}
	})
	plain, secure, forward := "ws://"+r.first.String(), "wss://"+r.listeners[1].Addr().String(), "http://hidden:hidden@"+r.listeners[2].Addr().String()
	for _, tc := range []struct {
		name   string
		args   []string
		phases string
	}{
		{"plain", []string{plain + "/chat?token=hidden", "--ping"}, "connect upgrade transfer close"},
		{"TLS", []string{secure + "/chat", "--ping", "--ca", f.caFile}, "connect tls upgrade transfer close"},
		{"through an egress", []string{plain + "/chat", "--ping", "--egress", forward}, "connect proxy upgrade transfer close"},
		{"through SOCKS", []string{secure + "/chat", "--ping", "--insecure", "--egress", "socks5" + strings.TrimPrefix(forward, "http")}, "connect proxy tls upgrade transfer close"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, all, errs := probedWith(t, append(tc.args, "--count", "2")...)
			if code != 0 || len(all) != 2 {
				t.Fatalf("got exit code %d, %d documents and %q, want two that passed", code, len(all), errs)
			}
			for _, d := range all {
				if d.phases() != tc.phases || !d.Passed || d.Opened == nil || d.RTT == nil || d.Address == nil {
					t.Errorf("got %+v, want %s, with its times", d, tc.phases)
				}
				if got := d.TLS != nil && d.TLS.Version == "1.3"; got != strings.Contains(tc.phases, "tls") {
					t.Errorf("got TLS %+v", d.TLS)
				}
				if d.Close == nil || d.Close.Cause != "client_close" || !d.Close.Clean {
					t.Errorf("got close %+v, want a clean one", d.Close)
				}
			}
		})
	}
	t.Run("refused", func(t *testing.T) {
		code, all, _ := probedWith(t, plain+"/nowhere")
		if code != exitFailed || len(all) != 1 || all[0].Passed || all[0].Failure == nil {
			t.Fatalf("got exit code %d and %+v", code, all)
		}
		if got := all[0].Failure; got.Phase != "upgrade" || got.Reason != "upgrade_rejected" || *got.Status != 404 || !strings.Contains(got.Detail, `phase "route" for "no_route"`) {
			t.Errorf("got %+v, want what the proxy says of its 404", got)
		}
	})
	t.Run("not trusted", func(t *testing.T) {
		code, all, _ := probedWith(t, secure+"/chat")
		if code != exitFailed || all[0].Failure.Reason != "tls_unknown_authority" {
			t.Errorf("got exit code %d and %+v", code, all[0].Failure)
		}
	})
	t.Run("picture", func(t *testing.T) {
		code, out, errs := command(t.Context(), "probe", plain+"/chat", "--ping", "-n", "3", "--interval", "1ms", "--timeout", patience.String())
		for _, want := range []string{"connect", "upgrade", "✓ The client closed it.", "pong after", "3 of 3 passed; opened in"} {
			if code != 0 || !strings.Contains(out, want) {
				t.Errorf("got exit code %d and no %q in %s%s", code, want, out, errs)
			}
		}
	})
}

func TestProbeArguments(t *testing.T) {
	for _, args := range [][]string{
		{"http:/nothing"}, {"ftp://h"}, {"ws://user:hidden@h"}, {"ws://h/#x"}, {"srv+ws://h"}, {"unix:/x"}, {"ws://h", "--count", "0"},
		{"ws://h", "-H", "novalue"}, {"ws://h", "-H", "Sec-WebSocket-Key: x"}, {"ws://h", "--egress", "ftp://user:hidden@h"},
		{"ws://h", "--egress", "http://user:hidden@h/path:%zz"}, {"ws://h", "--ca", "/nonexistent/ca.pem"}, {},
	} {
		if code, _, errs := probedWith(t, args...); code != exitUsage {
			t.Errorf("%q: got exit code %d and %q, want %d", args, code, errs, exitUsage)
		}
	}
}

// TestProbeOfOddServers has servers that open the WebSocket and do not go on as they should.
func TestProbeOfOddServers(t *testing.T) {
	for name, tc := range map[string]struct {
		serve func(c *websocket.Conn, giveUp func())
		cause lifecycle.Cause
		code  int
	}{
		"closes by itself": {func(c *websocket.Conn, _ func()) {
			c.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.ClosePolicyViolation, ""), time.Now().Add(patience))
			c.ReadMessage()
		}, lifecycle.CauseUpstreamClose, websocket.ClosePolicyViolation},
		"hangs up": {func(*websocket.Conn, func()) {}, lifecycle.CauseUpstreamGone, lifecycle.NoCode},
		"answers no ping": {func(c *websocket.Conn, giveUp func()) {
			c.SetPingHandler(func(string) error { giveUp(); return nil })
			c.ReadMessage()
		}, lifecycle.CausePongTimeout, lifecycle.NoCode},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			served := make(chan struct{})
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				defer close(served)
				c, err := new(websocket.Upgrader).Upgrade(w, r, nil)
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				tc.serve(c, cancel)
			}))
			defer server.Close()
			p, err := newProbe(probeSettings{url: "ws" + strings.TrimPrefix(server.URL, "http"), ping: true, timeout: patience})
			if err != nil {
				t.Fatal(err)
			}
			got := p.run(ctx)
			<-served
			if end := got.story.Outcome.Close; got.passed() || end.Cause != tc.cause || end.Code != tc.code {
				t.Errorf("got passed %t, %s with %d, want %s with %d", got.passed(), end.Cause, end.Code, tc.cause, tc.code)
			}
		})
	}
}
