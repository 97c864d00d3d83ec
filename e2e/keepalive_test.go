//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// keepalive has clients of other makers stay: one that pings by itself, one that only answers. Then one of
// them stops without a word, as a machine that hangs does.
func (h *house) keepalive(t *testing.T) {
	if h.missing(t, append(node.needs, node.program, python.program)...) {
		return
	}
	const interval, timeout = 300 * time.Millisecond, 2 * time.Second
	s := h.newSettings(t)
	delete(s.telemetry, "otlp")
	s.route("stay", object{
		"keepalive": object{"interval": interval.String(), "timeout": timeout.String()}, "identity": "query:user",
	}, "ws://"+startEcho(t, h).plain)
	w := h.serve(t, s)
	answers := h.startPeer(t, node, "stay", w.url("/stay/answers"))
	pings := h.startPeer(t, python, "stay", w.url("/stay/pings?user=ann"), "0.1")
	for _, p := range []*process{answers, pings} {
		var open struct{ Open bool }
		p.report(t, &open)
	}
	counted := func(what, name string, least float64) {
		t.Helper()
		eventually(t, what, func(ctx context.Context) error {
			n, err := w.counter(ctx, name)
			if err == nil && n < least {
				err = errNotYet
			}
			return err
		})
	}
	counted("the client answers our pings", `wsproxy_ping_duration_seconds_count{[^}]*wsproxy_leg="client"[^}]*}`, 2)
	counted("the upstream answers the client's", `wsproxy_ping_duration_seconds_count{[^}]*wsproxy_leg="upstream"[^}]*}`, 2)
	wantRTT(t, w)
	if !answers.running() || !pings.running() {
		t.Errorf("got a client cut that was there: node runs: %t, python runs: %t", answers.running(), pings.running())
	}

	pings.signal(syscall.SIGSTOP)
	begun := time.Now()
	counted("the silent client is cut", `wsproxy_connection_closes_total{[^}]*wsproxy_close_cause="pong_timeout"[^}]*wsproxy_close_leg="client"[^}]*}`, 1)
	if took := time.Since(begun); took < timeout-interval || took > 3*(interval+timeout) {
		t.Errorf("got it found after %s, want at most %s and what a busy machine adds", took, interval+timeout)
	}
	pings.signal(syscall.SIGCONT)
	if !answers.running() {
		t.Error("got the other client cut, too")
	}
	again := h.startPeer(t, python, "stay", w.url("/stay/again?user=ann"), "0.1")
	counted("it comes back", `wsproxy_connection_reconnects_total{[^}]*wsproxy_close_cause="pong_timeout"[^}]*}`, 1)
	again.stop(t)
}

// wantRTT looks for round trips in the admin API: of both legs where the client pings, of one where it
// does not.
func wantRTT(t *testing.T, w *wsproxy) {
	t.Helper()
	body, err := get(t.Context(), "http://"+w.admin+"/api/connections")
	if err != nil {
		t.Fatal(err)
	}
	var page struct {
		Items []struct {
			RTT struct{ Client, Upstream *float64 }
		}
	}
	if err := json.Unmarshal(body, &page); err != nil {
		t.Fatal(err)
	}
	client, upstream := 0, 0
	for _, c := range page.Items {
		if c.RTT.Client != nil {
			client++
		}
		if c.RTT.Upstream != nil {
			upstream++
		}
	}
	if client == 0 || upstream != 1 {
		t.Errorf("got round trips of %d clients and %d upstreams, want some and 1: %s", client, upstream, body)
	}
}

// counter adds up what wsproxy's own /metrics has under a name with labels, a regular expression.
func (w *wsproxy) counter(ctx context.Context, series string) (sum float64, err error) {
	body, err := w.ask(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	for _, m := range regexp.MustCompile(`(?m)^`+series+` (\S+)`).FindAllSubmatch(body, -1) {
		n, err := strconv.ParseFloat(string(m[1]), 64)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}
