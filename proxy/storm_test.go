package proxy

import (
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wsproxy/lifecycle"
	"wsproxy/lifecycle/ledger"
	"wsproxy/proxy/relay"
)

// fickle is an upstream that does something else with each connection.
func fickle(dice *rand.Rand) func(*peer) {
	var mu sync.Mutex
	return func(p *peer) {
		mu.Lock()
		what, wait := dice.IntN(9), time.Duration(dice.IntN(3000))*time.Millisecond
		mu.Unlock()
		p.awaitHead()
		time.Sleep(wait)
		switch what {
		case 0:
			replying(head("HTTP/1.1 403 No", "Content-Length: 0"))(p)
		case 1:
			replying("garbage\r\n\r\n")(p)
		case 2:
			p.conn.Reset()
		case 3:
			silent(p)
		case 4:
			replyingAndClosing(switching() + "\x88\x02\x03\xe8")(p)
		case 5:
			replying(switching() + "\x83\x00")(p)
		default:
			accepting("\x81\x02hi")(p)
		}
	}
}

// caprice is a client that does something, waits, and goes in some way.
func caprice(t *testing.T, w *world, dice *rand.Rand) {
	c, err := w.network.Dial(t.Context(), front)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	go io.Copy(io.Discard, c)
	raw := []string{
		request(), request(), request(), request(), request() + "\x88\x82\x00\x00\x00\x00\x03\xe8", request("Origin: https://evil.example"),
		strings.Replace(request(), "GET", "PUT", 1), plainRequest, plainRequest + request(), "garbage\r\n\r\n", "GET / HT", "",
	}[dice.IntN(12)]
	io.WriteString(c, raw)
	time.Sleep(time.Duration(dice.IntN(20_000)) * time.Millisecond)
	if dice.IntN(3) == 0 {
		c.(interface{ Reset() error }).Reset()
	}
}

// Whatever happens, every connection that was accepted is accounted for once, and nothing is left.
func TestEveryConnectionIsAccountedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const clients = 400
		w := newWorld(t, "a", "b")
		w.route.Retries = 1
		w.route.Origin = func(origin, _, _ string) bool { return !strings.Contains(origin, "evil") }
		w.route.Policy = relay.Policy{Idle: 15 * time.Second, Write: time.Second}
		w.targets[0].script = fickle(rand.New(rand.NewPCG(1, 1)))
		w.targets[1].script = fickle(rand.New(rand.NewPCG(1, 2)))
		var began ledger.Ledger
		w.server.Registry.Observers = append(w.server.Registry.Observers, &began)
		w.start()
		var all sync.WaitGroup
		for i := range uint64(clients) {
			dice := rand.New(rand.NewPCG(2, i))
			all.Go(func() {
				time.Sleep(time.Duration(dice.IntN(10_000)) * time.Millisecond)
				caprice(t, w, dice)
			})
			if i == clients/2 {
				all.Go(func() {
					time.Sleep(20 * time.Second)
					w.server.Refuse(Drain{Spread: time.Second})
					w.server.Drain(t.Context(), Drain{Spread: time.Second})
				})
			}
		}
		all.Wait()
		time.Sleep(time.Minute)
		w.server.Close()
		if err := w.engine.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		w.settled()
		began.Check(t)
		if got := w.server.Registry.Snapshot().Open(); got != 0 {
			t.Errorf("open: got %d, want 0", got)
		}
		kinds := began.Sums().Kinds
		for _, k := range []lifecycle.OutcomeKind{
			lifecycle.OutcomeClosed, lifecycle.OutcomeRejected, lifecycle.OutcomeFailed, lifecycle.OutcomeUnused, lifecycle.OutcomeDismissed,
		} {
			if kinds[k] == 0 {
				t.Errorf("%s: got none, want some", k)
			}
		}
	})
}
