//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// commands are the ones that end by themselves.
func (h *house) commands(t *testing.T) {
	folder := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(folder, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	good := write("good.yaml", `{listeners: [{address: "127.0.0.1:0"}], routes: [{name: a, match: /, upstream: a}], upstreams: [{name: a, targets: ["ws://127.0.0.1:9"]}]}`)
	bad := write("bad.yaml", `{listeners: [{adress: "127.0.0.1:0"}], routes: [{name: a, match: /, upstream: b}], upstreams: [{name: a, targets: ["ftp://127.0.0.1:9"]}]}`)
	nobody := h.ports.address(t)
	for _, tc := range []struct {
		name string
		args []string
		code int
		says []string
	}{
		{"version", []string{"version"}, 0, []string{"wsproxy"}},
		{"help", []string{"--help"}, 0, []string{"serve", "demo", "probe", "check", "ready", "completion"}},
		{"check, good", []string{"check", good}, 0, nil},
		{"check, bad", []string{"check", bad}, 2, []string{"listeners[0].adress", "routes[0].upstream", "upstreams[0].targets[0]"}},
		{"serve, bad", []string{"serve", "--config", bad}, 2, []string{"listeners[0].adress", "routes[0].upstream"}},
		{"serve, nothing to serve", []string{"serve"}, 2, []string{"nothing to serve"}},
		{"serve, no such file", []string{"serve", "--config", filepath.Join(folder, "none.yaml")}, 2, []string{"none.yaml"}},
		{"probe, nobody there", []string{"probe", "ws://" + nobody}, 1, []string{"connect", "connection_refused", "It could not be opened."}},
		{"probe, no URL", []string{"probe", "htp://" + nobody}, 2, []string{"ws:// or wss://"}},
		{"ready, nobody there", []string{"ready", "--admin", nobody}, 1, []string{"not ready"}},
		{"unknown flag", []string{"serve", "--upstreem", "ws://x"}, 2, []string{"--upstreem"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, out := h.run(t, folder, tc.args...)
			if code != tc.code {
				t.Errorf("got exit code %d, want %d: %s", code, tc.code, out)
			}
			for _, text := range tc.says {
				if !strings.Contains(out, text) {
					t.Errorf("got %q, want it to say %q", out, text)
				}
			}
		})
	}
}

// run runs wsproxy to its end.
func (h *house) run(t *testing.T, folder string, args ...string) (code int, out string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var b bytes.Buffer
	cmd := exec.CommandContext(ctx, h.binary, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = folder, environment(), &b, &b
	err := cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), b.String()
}

// lookFor is a few of the intervals in which metrics would be exported.
const lookFor = 3 * time.Second

// unconfigured runs wsproxy with nothing said about telemetry: it may have no socket but those of its listeners
// and of their clients and upstreams, and its page has the metrics all the same.
func (h *house) unconfigured(t *testing.T) {
	s := h.newSettings(t)
	e := startEcho(t, h)
	s.route("chat", nil, "ws://"+e.plain)
	delete(s.telemetry, "otlp")
	w := h.serve(t, s)
	known := map[string]bool{w.plain: true, w.tls: true, w.admin: true, e.plain: true}
	if code, out := h.run(t, t.TempDir(), "ready", "--admin", w.admin); code != 0 {
		t.Errorf("ready: got exit code %d: %s", code, out)
	}
	began := time.Now()
	looks := 0
	for time.Since(began) < lookFor {
		c := h.open(t, w, "/chat/quiet", request{})
		for range 5 {
			looks++
			for _, stray := range strays(t, w, known) {
				t.Fatalf("wsproxy has a socket %s, which nobody asked for", stray)
			}
			c.talk(t, websocket.TextMessage, []byte("anything there?"))
			<-time.After(pause / 2)
		}
		c.leave(t, 1000)
	}
	body, err := get(t.Context(), "http://"+w.admin+"/metrics")
	if err != nil || !bytes.Contains(body, []byte("wsproxy_connection_opened_total{")) {
		t.Errorf("/metrics: %v, %d bytes", err, len(body))
	}
	w.stop(t)
	for _, l := range complaints(w.log(t)) {
		t.Errorf("wsproxy complains: %s", l)
	}
	t.Logf("looked %d times in %v", looks, time.Since(began))
}

// strays are the process's sockets, neither end of which is known.
func strays(t *testing.T, w *wsproxy, known map[string]bool) []string {
	t.Helper()
	all, err := sockets(w.cmd.Process.Pid)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("sockets of a process are not told here")
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 3 {
		t.Fatalf("found only %d sockets, want the three listeners", len(all))
	}
	var found []string
	for _, s := range all {
		if !known[s.local] && !known[s.remote] {
			found = append(found, s.protocol+" "+s.local+" to "+s.remote)
		}
		if host, _, err := net.SplitHostPort(s.remote); err != nil || host != "127.0.0.1" && host != "0.0.0.0" {
			found = append(found, s.protocol+" to "+s.remote)
		}
	}
	return found
}

// socketEnds are the ends of one socket.
type socketEnds struct{ protocol, local, remote string }
