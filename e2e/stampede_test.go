//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// stampedeSize is how many clients come back after a drain, over how many seconds, and how many handshakes per second
// are let in where there is a limit. WSPROXY_STAMPEDE changes it, as "clients=1000 spread=10 rate=100".
type stampedeSize struct{ clients, spread, rate int }

func stampedeOf(t *testing.T) stampedeSize {
	t.Helper()
	s := stampedeSize{clients: 200, spread: 3, rate: 80}
	for part := range strings.FieldsSeq(os.Getenv("WSPROXY_STAMPEDE")) {
		name, value, _ := strings.Cut(part, "=")
		n, err := strconv.Atoi(value)
		field := map[string]*int{"clients": &s.clients, "spread": &s.spread, "rate": &s.rate}[name]
		if err != nil || field == nil {
			t.Fatalf("WSPROXY_STAMPEDE: %q", part)
		}
		*field = n
	}
	return s
}

// stampede drains clients who come back at once, and holds how many are let in by any moment against what the spread or
// the limit has by then. A client may be slow to see that it is in, never early, so that a busy machine can't fail it.
// The log has the curves of docs/operations.md.
func (h *house) stampede(t *testing.T) {
	size := stampedeOf(t)
	var table []curve
	for _, tc := range []struct {
		name   string
		spread int
		limits object
		most   func(after float64) float64 // let in so long after the drain began; nil: any number
	}{
		{"without spread", 0, nil, nil},
		{fmt.Sprintf("spread %d s", size.spread), size.spread, nil, func(after float64) float64 {
			return after/float64(size.spread)*float64(size.clients) + 1
		}},
		{fmt.Sprintf("limit %d/s", size.rate), 0, object{"limits": object{"handshakes_per_second": size.rate}}, func(after float64) float64 {
			return float64(size.rate) * (1 + after) // a second's worth at once
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := h.drainAndReturn(t, size.clients, tc.spread, tc.limits)
			c.name = tc.name
			for i, after := range c.opened {
				if tc.most != nil && float64(i+1) > tc.most(after.Seconds()) {
					t.Fatalf("got %d clients let in by %v, want %.1f at most", i+1, after, tc.most(after.Seconds()))
				}
			}
			table = append(table, c)
		})
	}
	t.Log(drawn(table))
}

// curve is when clients were let in and refused, from the begin of a drain on, in order.
type curve struct {
	name            string
	opened, refused []time.Duration
}

// returning are clients that come back whenever they are told to, and when they are refused, as late as that says.
type returning struct {
	url string

	mu              sync.Mutex
	opened, refused []time.Time
	fault           error
}

func (h *house) drainAndReturn(t *testing.T, clients, spread int, with object) curve {
	s := h.newSettings(t)
	e := startEcho(t, h)
	s.route("chat", with, "ws://"+e.plain)
	s.drain = object{"timeout": "60s", "spread": "0s"}
	w := h.serve(t, s)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	r := &returning{url: "ws://" + w.plain + "/chat/1"}
	for range clients {
		running.Go(func() { r.run(ctx) })
	}
	r.await(t, clients)
	if with != nil { // what was left of the limit is there again
		linger(ctx, time.Second)
	}
	r.mu.Lock()
	r.opened, r.refused = nil, nil
	r.mu.Unlock()
	begun := time.Now()
	w.changeTo(t, http.MethodPost, "/api/drain", fmt.Sprintf(`{"spread": %d}`, spread), http.StatusAccepted)
	r.await(t, clients)
	return curve{opened: since(begun, r.opened), refused: since(begun, r.refused)}
}

// await returns when so many were let in.
func (r *returning) await(t *testing.T, clients int) {
	t.Helper()
	eventuallyWithin(t, 5*patience, "every client is there", func(context.Context) error { // a limit lets them in little by little
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.fault != nil {
			t.Fatal(r.fault)
		}
		if len(r.opened) < clients {
			return fmt.Errorf("%d of %d", len(r.opened), clients)
		}
		return nil
	})
}

func (r *returning) run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := r.visit(ctx); err != nil && ctx.Err() == nil {
			r.mu.Lock()
			r.fault = err
			r.mu.Unlock()
			return
		}
	}
}

// visit is one try to be let in, until the client is told to leave or to come later.
func (r *returning) visit(ctx context.Context) error {
	c, answer, err := (&websocket.Dialer{HandshakeTimeout: patience}).DialContext(ctx, r.url, nil)
	if errors.Is(err, websocket.ErrBadHandshake) && answer.StatusCode == http.StatusTooManyRequests {
		r.note(&r.refused)
		wait, err := strconv.Atoi(answer.Header.Get("Retry-After"))
		if err != nil {
			return fmt.Errorf("refused without Retry-After: %w", err)
		}
		linger(ctx, time.Duration(wait)*time.Second)
		return nil
	}
	if err != nil {
		return fmt.Errorf("dial: %w", err)
	}
	defer c.Close()
	r.note(&r.opened)
	defer context.AfterFunc(ctx, func() { c.Close() })()
	if _, _, err := c.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseServiceRestart) {
		return fmt.Errorf("got %w, want a Close with 1012", err)
	}
	return nil
}

func (r *returning) note(in *[]time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*in = append(*in, time.Now())
}

func linger(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func since(begun time.Time, all []time.Time) []time.Duration {
	var d []time.Duration
	for _, at := range all {
		d = append(d, at.Sub(begun))
	}
	slices.Sort(d)
	return d
}

// drawn is a table with a row for each second: let in, and refused where anybody was.
func drawn(all []curve) string {
	var b strings.Builder
	b.WriteString("\n| second |")
	last := 0
	for _, c := range all {
		fmt.Fprintf(&b, " %s |", c.name)
		for _, at := range slices.Concat(c.opened, c.refused) {
			last = max(last, int(at/time.Second))
		}
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(all)) + "\n")
	for second := range last + 1 {
		fmt.Fprintf(&b, "| %d |", second)
		for _, c := range all {
			text := strconv.Itoa(within(c.opened, second))
			if n := within(c.refused, second); n > 0 {
				text += fmt.Sprintf(" (%d refused)", n)
			}
			fmt.Fprintf(&b, " %s |", text)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func within(all []time.Duration, second int) (n int) {
	for _, at := range all {
		if int(at/time.Second) == second {
			n++
		}
	}
	return n
}
