//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

const (
	fewDescriptors = 128
	manyDials      = 300
)

// dialled is what became of one of many dials.
type dialled struct {
	conn   *websocket.Conn // nil if there is none
	status int
	retry  string
	reason string
	err    error
	took   time.Duration
}

// dialAll dials many times at once.
func (h *house) dialAll(t *testing.T, url string, n int, header http.Header) []dialled {
	t.Helper()
	all := make([]dialled, n)
	var dials sync.WaitGroup
	for i := range all {
		dials.Go(func() { all[i] = h.dialOnce(t.Context(), url, header) })
	}
	dials.Wait()
	return all
}

func (h *house) dialOnce(ctx context.Context, url string, header http.Header) (d dialled) {
	begun := time.Now()
	dialer := websocket.Dialer{HandshakeTimeout: patience, TLSClientConfig: h.clientTLS()}
	conn, resp, err := dialer.DialContext(ctx, url, header)
	d = dialled{conn: conn, err: err, took: time.Since(begun)}
	if resp != nil {
		d.status, d.retry = resp.StatusCode, resp.Header.Get("Retry-After")
	}
	if errors.Is(err, websocket.ErrBadHandshake) {
		d.err = nil
		body := make([]byte, 1024)
		n, _ := resp.Body.Read(body)
		if m := regexp.MustCompile(`"reason":"(\w+)"`).FindSubmatch(body[:n]); m != nil {
			d.reason = string(m[1])
		}
	}
	return d
}

func closeAll(all []dialled) {
	for _, d := range all {
		if d.conn != nil {
			d.conn.Close()
		}
	}
}

// descriptors dials far more often than wsproxy has descriptors: the surplus is told at once, nobody
// waits, and there is room again as soon as some have left.
func (h *house) descriptors(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(map[bool]string{false: "ws", true: "wss"}[secure], func(t *testing.T) {
			s := h.newSettings(t)
			s.files = fewDescriptors
			delete(s.telemetry, "otlp")
			e := startEcho(t, h)
			s.route("chat", nil, "ws://"+e.plain)
			w := h.serve(t, s)
			url := "ws://" + w.plain + "/chat/crowd"
			if secure {
				url = "wss://" + strings.Replace(w.tls, "127.0.0.1", "localhost", 1) + "/chat/crowd"
			}
			limit := w.limit(t)
			if limit < fewDescriptors/8 || limit > fewDescriptors/2 {
				t.Errorf("got a limit of %d connections for %d descriptors", limit, fewDescriptors)
			}
			all := h.dialAll(t, url, manyDials, nil)
			defer func() { closeAll(all) }()
			open := 0
			for _, d := range all {
				switch {
				case d.err != nil:
					t.Errorf("got %v after %v, want an answer", d.err, d.took)
				case d.conn != nil:
					open++
				case d.status != 503 || d.reason != "connection_limit" || d.retry == "":
					t.Errorf("got %d %s, Retry-After %q, want 503 connection_limit", d.status, d.reason, d.retry)
				}
				if d.took > patience/2 {
					t.Errorf("got an answer after %v", d.took)
				}
			}
			if open < limit/2-1 || open > limit { // one that is being set up has two more descriptors set aside
				t.Errorf("got %d open, want %d to %d", open, limit/2-1, limit)
			}
			eventually(t, "the rest is let in one after the other", func(ctx context.Context) error {
				if open == limit {
					return nil
				}
				d := h.dialOnce(ctx, url, nil)
				if all = append(all, d); d.conn != nil {
					open++
				}
				return errNotYet
			})
			if d := h.dialOnce(t.Context(), url, nil); d.status != 503 {
				all = append(all, d)
				t.Errorf("one more: got %d, want 503", d.status)
			}
			closeAll(all)
			eventually(t, "there is room again", func(ctx context.Context) error {
				d := h.dialOnce(ctx, url, nil)
				if d.conn == nil {
					return errNotYet
				}
				return d.conn.Close()
			})
			w.stop(t)
			if bytes.Contains(w.log(t), []byte("too many open files")) {
				t.Error("wsproxy ran out of descriptors")
			}
		})
	}
}

var limitMetric = regexp.MustCompile(`(?m)^wsproxy_connection_limit\{[^}]*\} (\d+)$`)

// limit is how many connections the process takes.
func (w *wsproxy) limit(t *testing.T) int {
	t.Helper()
	body, err := get(t.Context(), "http://"+w.admin+"/metrics")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range limitMetric.FindAllSubmatch(body, -1) {
		if !bytes.Contains(m[0], []byte("route")) {
			n, _ := strconv.Atoi(string(m[1]))
			return n
		}
	}
	t.Fatal("got no limit of the process")
	return 0
}

// limits holds clients to the limits of routes.
func (h *house) limits(t *testing.T) {
	s := h.newSettings(t)
	delete(s.telemetry, "otlp")
	e := startEcho(t, h)
	for name, limits := range map[string]object{
		"few":    {"connections": 2},
		"client": {"per_client": 1},
		"rate":   {"handshakes_per_second": 3},
		"slow":   {"client_handshakes_per_second": 0.1},
	} {
		s.route(name, object{"limits": limits}, "ws://"+e.plain)
	}
	w := h.serve(t, s)
	for _, tc := range []struct {
		route  string
		open   int
		status int
		reason string
	}{
		{"few", 2, 503, "connection_limit"},
		{"client", 1, 503, "connection_limit"},
		{"rate", 3, 429, "rate_limit"},
		{"slow", 1, 429, "rate_limit"},
	} {
		t.Run(tc.route, func(t *testing.T) {
			all := h.dialAll(t, "ws://"+w.plain+"/"+tc.route+"/crowd", 20, nil)
			defer closeAll(all)
			open := 0
			for _, d := range all {
				switch {
				case d.conn != nil:
					open++
				case d.status != tc.status || d.reason != tc.reason || d.retry == "":
					t.Errorf("got %d %s, Retry-After %q, %v, want %d %s", d.status, d.reason, d.retry, d.err, tc.status, tc.reason)
				}
			}
			if open < tc.open || open > tc.open+2 && tc.route == "rate" || open > tc.open && tc.route != "rate" {
				t.Errorf("got %d open, want %d", open, tc.open)
			}
			counted := `wsproxy_connection_rejected_total\{error_type="` + tc.reason + `"[^}]*wsproxy_route_name="` + tc.route + `"\}`
			eventually(t, "every refusal is counted", func(ctx context.Context) error { // a client has its answer before
				n, err := w.counter(ctx, counted)
				if err == nil && n != float64(20-open) {
					err = fmt.Errorf("got %v rejected, want %d", n, 20-open)
				}
				return err
			})
		})
	}
}
