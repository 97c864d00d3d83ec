package relay

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"wsproxy/lifecycle"
	"wsproxy/proxy/frame"
)

// frame takes the next whole frame, with its masking key if it has one.
func (p *peer) frame() (op frame.Opcode, payload, key []byte) {
	p.t.Helper()
	for p.end == "" {
		if len(p.buf) > 1 {
			if op, size, payload, ok := parse(p.buf, p.masked); ok {
				head := header(p.buf)
				if p.masked {
					key = bytes.Clone(p.buf[head-4 : head])
				}
				p.buf = p.buf[head+size:]
				return op, payload, key
			}
		}
		p.read()
	}
	p.t.Fatalf("%s: got %s, want a frame", p.name, p.end)
	return 0, nil, nil
}

// ping takes a ping of ours and returns its payload.
func (p *peer) ping() string {
	p.t.Helper()
	op, payload, _ := p.frame()
	if op != frame.OpcodePing || len(payload) != 8 {
		p.t.Fatalf("%s: got %s %x, want a ping with 8 bytes", p.name, op, payload)
	}
	return string(payload)
}

// cutOff ends a connection that a test has seen enough of.
func (r *rig) cutOff() lifecycle.Close {
	r.t.Helper()
	r.record.Stop(lifecycle.StopRequest{Cause: lifecycle.CauseForcedStop})
	return r.finish()
}

// alive checks that nothing has begun to end the connection.
func (r *rig) alive() {
	r.t.Helper()
	if c := r.record.Closing(); c.Cause != lifecycle.CauseNone {
		r.t.Errorf("got %s, want an open connection", c.Cause)
	}
}

// quick is short for the stages whose time is real; patient is for those of its peers that answer.
var (
	quick   = Keepalive{Client: 20 * time.Millisecond, Upstream: 20 * time.Millisecond, Timeout: 100 * time.Millisecond}
	patient = Keepalive{Client: 20 * time.Millisecond, Upstream: 20 * time.Millisecond, Timeout: patience}
)

func onEveryStage(t *testing.T, f func(t *testing.T, e Engine, n network)) {
	for _, s := range stages(t) {
		t.Run(s.name, func(t *testing.T) { s.run(t, func(t *testing.T, e Engine) { f(t, e, s.network) }) })
	}
}

func TestSilentClientIsCut(t *testing.T) {
	onEveryStage(t, func(t *testing.T, e Engine, n network) {
		begun := time.Now()
		r := start(t, e, n, Policy{Keepalive: Keepalive{Client: quick.Client, Timeout: quick.Timeout}})
		r.client.ping()
		r.upstream.expect("close 1001 peer lost")
		if got, least := time.Since(begun), quick.Client+quick.Timeout; got < least || got > least+patience/2 {
			t.Errorf("got it after %s, want %s", got, least)
		}
		r.client.expect("RST")
		r.upstream.send(closing(1001, ""))
		r.upstream.fin()
		want := lifecycle.Close{Cause: lifecycle.CausePongTimeout, Initiator: lifecycle.InitiatorProxy, Leg: lifecycle.LegClient, Code: 1001}
		if got := r.finish(); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}

func TestSilentUpstreamIsCut(t *testing.T) {
	onEveryStage(t, func(t *testing.T, e Engine, n network) {
		r := start(t, e, n, Policy{Keepalive: Keepalive{Upstream: quick.Upstream, Timeout: quick.Timeout}})
		r.upstream.ping()
		r.client.expect("close 1012 peer lost")
		r.upstream.expect("RST")
		r.client.send(closing(1012, ""))
		r.client.expect("FIN")
		r.client.fin()
		want := lifecycle.Close{Cause: lifecycle.CausePongTimeout, Initiator: lifecycle.InitiatorProxy, Leg: lifecycle.LegUpstream, Code: 1012}
		if got := r.finish(); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}

// The exact pong is for us, and nobody else sees it.
func TestOnlyOurPongIsKept(t *testing.T) {
	onEveryStage(t, func(t *testing.T, e Engine, n network) {
		r := start(t, e, n, Policy{Keepalive: Keepalive{Client: patient.Client, Timeout: patience}})
		first := r.client.ping()
		r.client.send(text(1), pong(first), text(2), pong(first), pong("other"), pong("8 bytes!"), text(3))
		r.upstream.expect("text 1", "text 2", "pong 8", "pong 5", "pong 8", "text 3")
		second := r.client.ping()
		if first == second {
			t.Error("got the same nonce twice")
		}
		r.client.write(fromClient(pong(second))[:7])
		r.client.write(fromClient(pong(second), text(4))[7:])
		r.upstream.expect("text 4")
		flow := r.record.Flow(lifecycle.Upstream)
		if got := flow.Pong.Load(); got != 3 {
			t.Errorf("got %d pongs relayed, want 3", got)
		}
		if _, ok := r.record.RTT(lifecycle.LegClient); !ok {
			t.Error("got no round trip of the client")
		}
		if took, ok := r.record.RTT(lifecycle.LegUpstream); ok {
			t.Errorf("got a round trip of the upstream, %s, want none", took)
		}
		r.cutOff()
	})
}

func TestPingsToTheUpstreamHaveFreshKeys(t *testing.T) {
	onEveryStage(t, func(t *testing.T, e Engine, n network) {
		r := start(t, e, n, Policy{Keepalive: Keepalive{Upstream: patient.Upstream, Timeout: patience}})
		var keys [2][]byte
		for i := range keys {
			op, payload, key := r.upstream.frame()
			if op != frame.OpcodePing {
				t.Fatalf("got %s, want a ping", op)
			}
			keys[i] = key
			r.upstream.send(pong(string(payload)))
		}
		if bytes.Equal(keys[0], keys[1]) {
			t.Errorf("got the key %x twice", keys[0])
		}
		r.cutOff()
	})
}

// Any byte after the ping proves life, be it of a client that answers nothing.
func TestAnyByteProvesLife(t *testing.T) {
	inBubble(t, func(t *testing.T, e Engine) {
		r := start(t, e, inMemory, Policy{Keepalive: Keepalive{Client: 30 * time.Second, Timeout: 15 * time.Second}})
		for range 100 {
			time.Sleep(44 * time.Second)
			r.client.write(fromClient(text(0)))
		}
		r.alive()
		r.cutOff()
	})
}

func TestPingsWaitForABoundary(t *testing.T) {
	inBubble(t, func(t *testing.T, e Engine) {
		r := start(t, e, inMemory, Policy{Keepalive: Keepalive{Client: 30 * time.Second, Timeout: 15 * time.Second}})
		large := fromUpstream(text(300), text(5))
		r.upstream.write(large[:200])
		time.Sleep(10 * time.Minute)
		r.alive()
		r.upstream.write(large[200:])
		r.client.expect("text 300", "text 5")
		nonce := r.client.ping()
		r.client.send(pong(nonce), text(1))
		r.upstream.expect("text 1")
		r.cutOff()
	})
}

func TestNoPings(t *testing.T) {
	hourly := Policy{Keepalive: Keepalive{Client: time.Minute, Upstream: time.Minute, Timeout: 15 * time.Second}, Close: 24 * time.Hour}
	for _, c := range []struct {
		name  string
		mode  frame.Mode
		begin func(r *rig)
		both  bool // neither leg gets one; else the client may
	}{
		{"without framing", frame.ModeOff, func(*rig) {}, true},
		{"once the frames of a direction are lost", frame.ModeObserve, func(r *rig) {
			r.client.write([]byte{0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4})
			r.upstream.fill(14)
			r.upstream.buf = nil
		}, true},
		{"behind a Close frame", frame.ModeStrict, func(r *rig) {
			r.client.send(closing(1000, ""))
			r.upstream.expect("close 1000")
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, e Engine) {
				r := start(t, e, inMemory, hourly, framing(c.mode))
				c.begin(r)
				for _, p := range []*peer{r.client, r.upstream} {
					p.conn.SetReadDeadline(time.Now().Add(time.Hour))
					if n, err := p.conn.Read(make([]byte, 100)); !isTimeout(err) {
						t.Errorf("%s: got %d bytes, %v, want nothing", p.name, n, err)
					}
				}
				r.cutOff()
			})
		})
	}
}

func isTimeout(err error) bool {
	e, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err)
	return ok && e.Timeout()
}

// An endpoint may answer only the latest ping (RFC 6455 §5.5.3): ours must not take the place of another's.
func TestPingsOfEndpoints(t *testing.T) {
	policy := Policy{Keepalive: Keepalive{Client: 30 * time.Second, Upstream: 30 * time.Second, Timeout: 15 * time.Second}}
	t.Run("unanswered they stand for ours", func(t *testing.T) {
		inBubble(t, func(t *testing.T, e Engine) {
			begun := time.Now()
			r := start(t, e, inMemory, Policy{Keepalive: Keepalive{Client: 30 * time.Second, Timeout: 15 * time.Second}})
			time.Sleep(20 * time.Second)
			r.upstream.send(ping("theirs"))
			r.client.expect("ping 6")
			time.Sleep(24 * time.Second)
			r.alive()
			r.client.expect("RST")
			took(t, begun, 45*time.Second)
			r.upstream.reset()
			if got := r.finish().Cause; got != lifecycle.CausePongTimeout {
				t.Errorf("got %s, want pong_timeout", got)
			}
		})
	})
	t.Run("from one that never answers nobody is kept waiting for ever", func(t *testing.T) {
		inBubble(t, func(t *testing.T, e Engine) {
			r := start(t, e, inMemory, Policy{Keepalive: Keepalive{Client: 30 * time.Second, Timeout: 15 * time.Second}})
			r.upstream.send(ping("theirs"))
			r.client.expect("ping 6")
			time.Sleep(time.Second)
			r.client.send(text(1)) // and no pong
			r.client.conn.SetReadDeadline(time.Now().Add(time.Hour))
			b := make([]byte, 100)
			begun := time.Now()
			n, _ := r.client.conn.Read(b)
			took(t, begun, 30*time.Second)
			r.client.buf = b[:n]
			r.client.ping()
			r.cutOff()
		})
	})
	t.Run("answered late they hold ours back", func(t *testing.T) {
		inBubble(t, func(t *testing.T, e Engine) {
			r := start(t, e, inMemory, Policy{Keepalive: Keepalive{Client: 5 * time.Second, Timeout: 15 * time.Second}})
			r.upstream.send(ping("theirs"))
			r.client.expect("ping 6")
			time.Sleep(time.Second)
			r.client.send(text(1))
			time.Sleep(13 * time.Second) // quiet for longer than the interval
			synctest.Wait()
			r.client.send(pong("theirs"))
			r.upstream.expect("text 1", "pong 6")
			begun := time.Now()
			r.client.expectPing(5 * time.Second)
			took(t, begun, 5*time.Second)
			r.cutOff()
		})
	})
	t.Run("every second", func(t *testing.T) {
		inBubble(t, func(t *testing.T, e Engine) {
			r := start(t, e, inMemory, policy)
			for range 3600 {
				time.Sleep(time.Second)
				r.client.send(ping("c"))
				r.upstream.send(ping("up"))
				r.client.expect("ping 2")
				r.upstream.expect("ping 1")
				r.client.send(pong("up"))
				r.upstream.send(pong("c"))
				r.client.expect("pong 1")
				r.upstream.expect("pong 2")
			}
			r.alive()
			r.cutOff()
		})
	})
	t.Run("never, and only the latest answered", func(t *testing.T) {
		inBubble(t, func(t *testing.T, e Engine) {
			r := start(t, e, inMemory, policy)
			for range 200 {
				time.Sleep(35 * time.Second)
				r.client.answerLatest()
				r.upstream.answerLatest()
				time.Sleep(time.Second)
			}
			r.alive()
			r.cutOff()
		})
	})
	t.Run("of an upstream, to a client that answers only the latest", func(t *testing.T) {
		inBubble(t, func(t *testing.T, e Engine) {
			r := start(t, e, inMemory, Policy{Keepalive: Keepalive{Client: 10 * time.Second, Timeout: 15 * time.Second}})
			for range 200 {
				time.Sleep(9990 * time.Millisecond) // just before ours would be due
				r.upstream.send(ping("theirs"))
				time.Sleep(5 * time.Second) // slow to answer
				r.client.answerLatest()
				r.upstream.expect("pong 6")
			}
			r.alive()
			r.cutOff()
		})
	})
}

// expectPing waits for so long for a ping of ours.
func (p *peer) expectPing(within time.Duration) {
	p.t.Helper()
	p.conn.SetReadDeadline(time.Now().Add(within + time.Second))
	b := make([]byte, 100)
	n, err := p.conn.Read(b)
	if err != nil {
		p.t.Errorf("%s: %v", p.name, err)
	}
	p.buf = append(p.buf, b[:n]...)
	p.ping()
}

// answerLatest reads what is there and answers the last ping of it.
func (p *peer) answerLatest() {
	p.t.Helper()
	synctest.Wait()
	b := make([]byte, 64<<10)
	p.conn.SetReadDeadline(time.Now().Add(time.Nanosecond))
	n, err := io.ReadAtLeast(p.conn, b, 1)
	if n == 0 {
		p.t.Errorf("%s: got nothing to answer: %v", p.name, err)
		return
	}
	p.buf = append(p.buf, b[:n]...)
	var last []byte
	for len(p.buf) > 0 {
		if op, payload, _ := p.frame(); op == frame.OpcodePing {
			last = payload
		}
	}
	p.send(pong(string(last)))
}

func TestRoundTripsOfEndpoints(t *testing.T) {
	inBubble(t, func(t *testing.T, e Engine) {
		r := start(t, e, inMemory, Policy{})
		rtt := func(l lifecycle.Leg, want time.Duration) {
			t.Helper()
			if got, _ := r.record.RTT(l); got != want {
				t.Errorf("%s: got %s, want %s", l, got, want)
			}
		}
		r.upstream.send(ping("one"))
		time.Sleep(20 * time.Millisecond)
		r.upstream.send(ping("two"))
		time.Sleep(30 * time.Millisecond)
		r.client.send(pong("one"))
		synctest.Wait()
		rtt(lifecycle.LegClient, 50*time.Millisecond)
		r.client.send(pong("two"))
		synctest.Wait()
		rtt(lifecycle.LegClient, 30*time.Millisecond)
		r.client.send(pong("unasked"))
		synctest.Wait()
		rtt(lifecycle.LegClient, 30*time.Millisecond)
		rtt(lifecycle.LegUpstream, 0)

		r.client.send(ping(""))
		time.Sleep(time.Second)
		r.client.send(ping("")) // which one the pong answers can't be told
		synctest.Wait()
		r.upstream.send(pong(""))
		synctest.Wait()
		rtt(lifecycle.LegUpstream, 0)
		r.client.send(ping(""))
		time.Sleep(7 * time.Millisecond)
		r.upstream.send(pong(""))
		synctest.Wait()
		rtt(lifecycle.LegUpstream, 7*time.Millisecond)
		r.cutOff()
	})
}

// While the upstream is too slow to take what the client sent, nothing is read from the client, and its
// silence says nothing.
func TestSilenceOfALegThatIsNotRead(t *testing.T) {
	inBubble(t, func(t *testing.T, e Engine) {
		r := start(t, e, inMemory, Policy{Write: time.Hour, Keepalive: Keepalive{Client: 30 * time.Second, Timeout: 15 * time.Second}})
		large := fromClient(binaryOf(300_000))
		go r.client.conn.Write(large)
		time.Sleep(20 * time.Minute)
		r.alive()
		r.upstream.fill(len(large))
		begun := time.Now()
		r.client.expectPing(31 * time.Second)
		if got := time.Since(begun); got > 30*time.Second {
			t.Errorf("got a ping after %s, want at most 30s", got)
		}
		r.cutOff()
	})
}

func TestOurPongsAreNoTraffic(t *testing.T) {
	inBubble(t, func(t *testing.T, e Engine) {
		begun := time.Now()
		r := start(t, e, inMemory, Policy{Idle: time.Minute, Keepalive: Keepalive{Client: 25 * time.Second, Timeout: 15 * time.Second}})
		for range 2 {
			b := make([]byte, 100)
			r.client.conn.SetReadDeadline(time.Time{})
			n, _ := r.client.conn.Read(b)
			r.client.buf = b[:n]
			r.client.send(pong(r.client.ping()))
		}
		r.client.expectLater("close 1001 idle")
		took(t, begun, time.Minute)
		r.cutOff()
	})
}
