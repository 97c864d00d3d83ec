package relay

import (
	"testing"
	"testing/synctest"
	"time"

	"wsproxy/lifecycle"
	"wsproxy/proxy/frame"
)

func TestTooBig(t *testing.T) {
	policy := Policy{Sizes: frame.Limits{Frame: 300, Message: 500}}
	for _, c := range []struct {
		name  string
		sends []message
		pass  []string
	}{
		{"a frame", []message{text(300), text(301)}, []string{"text 300"}},
		{"a large frame", []message{text(300), binaryOf(200_000)}, []string{"text 300"}},
		{"a message", []message{text(300).unfinished(), {op: frame.OpcodeContinuation, payload: pattern(201)}}, []string{"text 300"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			onEveryStage(t, func(t *testing.T, e Engine, n network) {
				r := start(t, e, n, policy)
				r.client.send(c.sends...)
				r.upstream.expect(append(c.pass, "close 1001 peer sent too much at once")...)
				r.client.expect("close 1009 message too big")
				r.bothLeave(1009, 1001)
				want := lifecycle.Close{Cause: lifecycle.CauseMessageTooBig, Initiator: lifecycle.InitiatorProxy, Leg: lifecycle.LegClient, Code: 1009, Clean: true}
				if got := r.finish(); got != want {
					t.Errorf("got %+v, want %+v", got, want)
				}
				r = start(t, e, n, policy)
				r.upstream.send(c.sends...)
				r.client.expect(append(c.pass, "close 1012 peer sent too much at once")...)
				r.upstream.expect("close 1009 message too big")
				r.bothLeave(1012, 1009)
				want.Leg = lifecycle.LegUpstream
				if got := r.finish(); got != want {
					t.Errorf("got %+v, want %+v", got, want)
				}
			})
		})
	}
}

// bothLeave has the endpoints answer a Close of ours with these codes and go.
func (r *rig) bothLeave(client, upstream int) {
	r.t.Helper()
	r.client.send(closing(client, ""))
	r.client.expect("FIN")
	r.upstream.send(closing(upstream, ""))
	r.upstream.fin()
	r.client.fin()
}

func TestTooMuch(t *testing.T) {
	for name, policy := range map[string]Policy{
		"messages": {Rates: Rates{Messages: 3}},
		"bytes":    {Rates: Rates{Bytes: 3 * 11}},
	} {
		t.Run(name, func(t *testing.T) {
			onEveryStage(t, func(t *testing.T, e Engine, n network) {
				r := start(t, e, n, policy)
				r.client.send(text(5), text(5), text(5))
				r.upstream.expect("text 5", "text 5", "text 5")
				for range 10 { // what the upstream sends has no limit
					r.upstream.send(text(5))
					r.client.expect("text 5")
				}
				r.client.send(text(5), text(5))
				r.client.expect("close 1008 too much per second")
				r.upstream.expect("text 5", "text 5", "close 1001 peer sent too much")
				r.bothLeave(1008, 1001)
				want := lifecycle.Close{Cause: lifecycle.CauseMessageRate, Initiator: lifecycle.InitiatorProxy, Leg: lifecycle.LegClient, Code: 1008, Clean: true}
				if got := r.finish(); got != want {
					t.Errorf("got %+v, want %+v", got, want)
				}
			})
		})
	}
	t.Run("not at the rate", func(t *testing.T) {
		inBubble(t, func(t *testing.T, e Engine) {
			r := start(t, e, inMemory, Policy{Rates: Rates{Messages: 10, Bytes: 110}})
			for range 1000 {
				r.client.send(text(5))
				r.upstream.expect("text 5")
				time.Sleep(100 * time.Millisecond)
			}
			r.alive()
			r.cutOff()
		})
	})
	t.Run("less than one in a second", func(t *testing.T) {
		inBubble(t, func(t *testing.T, e Engine) {
			r := start(t, e, inMemory, Policy{Rates: Rates{Messages: 0.5}})
			for range 10 {
				r.client.send(text(5))
				r.upstream.expect("text 5")
				time.Sleep(2 * time.Second)
			}
			r.alive()
			r.client.send(text(5), text(5))
			r.client.expect("close 1008 too much per second")
			r.cutOff()
		})
	})
}

func TestThrottle(t *testing.T) {
	t.Run("takes as long as it must", func(t *testing.T) {
		inBubble(t, func(t *testing.T, e Engine) {
			begun := time.Now()
			r := start(t, e, inMemory, Policy{Rates: Rates{Messages: 10, Throttle: true}})
			for range 110 {
				r.client.send(text(5))
				r.upstream.expect("text 5")
			}
			if got := time.Since(begun).Round(100 * time.Millisecond); got != 9900*time.Millisecond {
				t.Errorf("got %s, want 9.9s: 11 s less the burst, and the last is not waited for", got)
			}
			if got := r.record.Flow(lifecycle.Upstream).Messages(); got != 110 {
				t.Errorf("got %d messages, want 110", got)
			}
			r.cutOff()
		})
	})
	t.Run("on every stage, and the other direction flows on", func(t *testing.T) {
		onEveryStage(t, func(t *testing.T, e Engine, n network) {
			r := start(t, e, n, Policy{Rates: Rates{Messages: 20, Throttle: true}})
			for range 30 {
				r.client.send(text(5))
			}
			for range 30 {
				r.upstream.expect("text 5")
				r.upstream.send(text(7))
				r.client.expect("text 7")
			}
			r.client.send(closing(1000, ""))
			r.upstream.expect("close 1000")
			r.cutOff()
		})
	})
	t.Run("nothing is said of a silence that we made", func(t *testing.T) {
		inBubble(t, func(t *testing.T, e Engine) {
			r := start(t, e, inMemory, Policy{
				Idle: time.Minute, Rates: Rates{Bytes: 10, Throttle: true}, Keepalive: Keepalive{Client: 30 * time.Second, Timeout: 15 * time.Second},
			})
			r.client.send(text(10_000)) // a debt of 1000 s
			r.upstream.expect("text 10000")
			time.Sleep(990 * time.Second)
			r.alive()
			r.client.expectPing(time.Minute)
			r.cutOff()
		})
	})
	t.Run("ends with the connection", func(t *testing.T) {
		onEveryStage(t, func(t *testing.T, e Engine, n network) {
			r := start(t, e, n, Policy{Rates: Rates{Bytes: 1, Throttle: true}})
			r.client.send(text(100))
			r.upstream.expect("text 100")
			r.client.send(text(3), closing(1000, ""))
			r.upstream.send(closing(4000, ""))
			r.client.expect("close 4000")
			r.upstream.expect("text 3", "close 1000")
			r.upstream.fin()
			r.client.fin()
			if got := r.finish(); got.Cause != lifecycle.CauseUpstreamClose || !got.Clean {
				t.Errorf("got %+v, want a clean upstream_close", got)
			}
		})
	})
	t.Run("a reset is seen all the same", func(t *testing.T) {
		for _, s := range realStages(t) {
			if s.tls {
				continue // what TLS has read ahead hides it
			}
			t.Run(s.name, func(t *testing.T) {
				s.run(t, func(t *testing.T, e Engine) {
					r := start(t, e, s.network, Policy{Close: 50 * time.Millisecond, Rates: Rates{Bytes: 1, Throttle: true}})
					r.client.send(text(5000))
					r.upstream.expect("text 5000")
					r.client.reset()
					if got := r.finish().Cause; got != lifecycle.CauseClientReset {
						t.Errorf("got %s, want client_reset", got)
					}
				})
			})
		}
	})
}

func TestByteRateWithoutFraming(t *testing.T) {
	inBubble(t, func(t *testing.T, e Engine) {
		r := start(t, e, inMemory, Policy{Rates: Rates{Bytes: 100}}, framing(frame.ModeOff))
		r.client.write(make([]byte, 101))
		synctest.Wait()
		r.upstream.fill(101)
		r.upstream.buf = nil
		r.upstream.expect("FIN")
		r.client.expect("FIN")
		r.upstream.fin()
		r.client.fin()
		if got := r.finish().Cause; got != lifecycle.CauseMessageRate {
			t.Errorf("got %s, want message_rate", got)
		}
	})
}
