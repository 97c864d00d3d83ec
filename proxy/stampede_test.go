package proxy

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// faithful is a client that comes back at once whenever it is told to leave, until ctx ends.
func faithful(ctx context.Context, w *world, opened func()) {
	for ctx.Err() == nil {
		c, err := w.network.Dial(ctx, front)
		if err != nil {
			return
		}
		stop := context.AfterFunc(ctx, func() { c.Close() })
		if stay(c, opened) != nil && ctx.Err() == nil {
			w.t.Errorf("a client that comes back: %v", err)
		}
		stop()
		c.Close()
	}
}

// stay upgrades, waits for a Close, answers it and waits for the end.
func stay(c net.Conn, opened func()) error {
	io.WriteString(c, request())
	r := bufio.NewReader(c)
	answer, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusSwitchingProtocols {
		return http.ErrNotSupported
	}
	opened()
	head := make([]byte, 2)
	if _, err := io.ReadFull(r, head); err != nil {
		return err
	}
	payload := make([]byte, head[1])
	if _, err := io.ReadFull(r, payload); err != nil {
		return err
	}
	c.Write(append([]byte{0x88, 0x82, 0, 0, 0, 0}, payload[:2]...))
	_, err = io.Copy(io.Discard, r)
	return err
}

// TestReconnectsAfterADrain drains clients who come back at once: with a spread there are never more of them in a
// second than the spread has it, without one they all come in the first.
func TestReconnectsAfterADrain(t *testing.T) {
	const clients = 300
	for name, tc := range map[string]struct {
		spread time.Duration
		most   int // in a second
	}{
		"spread":   {30 * time.Second, clients / 30},
		"together": {0, clients},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.start()
				var mu sync.Mutex
				var returns []time.Time
				note := func() {
					mu.Lock()
					defer mu.Unlock()
					returns = append(returns, time.Now())
				}
				ctx, leave := context.WithCancel(t.Context())
				var all sync.WaitGroup
				for range clients {
					all.Go(func() { faithful(ctx, w, note) })
				}
				synctest.Wait()
				returns = nil
				begun := time.Now()
				d := w.server.Departure(Drain{Spread: tc.spread})
				d.Ask(t.Context())
				synctest.Wait()
				leave()
				all.Wait()
				inSecond := make(map[time.Duration]int)
				for _, at := range returns {
					inSecond[at.Sub(begun).Truncate(time.Second)]++
				}
				peak := 0
				for _, n := range inSecond {
					peak = max(peak, n)
				}
				if len(returns) != clients || peak != tc.most {
					t.Errorf("got %d clients back and %d in a second, want %d and %d", len(returns), peak, clients, tc.most)
				}
			})
		})
	}
}
