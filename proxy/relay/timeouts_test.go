package relay

import (
	"context"
	"errors"
	"io"

	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"wsproxy/internal/memnet"
	"wsproxy/lifecycle"
)

func TestIdleTimeout(t *testing.T) {
	policy := Policy{Idle: time.Minute}
	idle := lifecycle.Close{Cause: lifecycle.CauseIdleTimeout, Initiator: lifecycle.InitiatorProxy, Code: 1001}
	t.Run("from the start", func(t *testing.T) {
		inBubble(t, func(t *testing.T, e Engine) {
			begun := time.Now()
			r := start(t, e, inMemory, policy)
			r.client.conn.SetReadDeadline(time.Time{})
			r.client.expectLater("close 1001 idle")
			took(t, begun, time.Minute)
			r.upstream.expect("close 1001 idle")
			r.upstream.fin()
			r.client.expect("FIN")
			r.client.fin()
			if got := r.finish(); got != idle {
				t.Errorf("got %+v, want %+v", got, idle)
			}
		})
	})
	for name, alive := range map[string]func(r *rig){
		"a message":  func(r *rig) { r.client.send(text(3)); r.upstream.expect("text 3") },
		"a ping":     func(r *rig) { r.upstream.send(ping("x")); r.client.expect("ping 1") },
		"one byte":   func(r *rig) { r.client.write(fromClient(text(3))[:1]) },
		"part of it": func(r *rig) { r.client.write(fromClient(text(300))[:100]) },
	} {
		t.Run("not before "+name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, e Engine) {
				r := start(t, e, inMemory, policy)
				time.Sleep(50 * time.Second)
				alive(r)
				begun := time.Now()
				r.client.expectLater("close 1001 idle")
				took(t, begun, time.Minute)
				r.record.Stop(lifecycle.StopRequest{Cause: lifecycle.CauseForcedStop})
				if got := r.finish().Cause; got != lifecycle.CauseIdleTimeout {
					t.Errorf("got %s, want idle_timeout", got)
				}
			})
		})
	}
	t.Run("not while a slow peer is waited for", func(t *testing.T) {
		inBubble(t, func(t *testing.T, e Engine) {
			r := start(t, e, inMemory, policy)
			large := fromUpstream(binaryOf(300_000))
			go r.upstream.conn.Write(large)
			for range 5 {
				time.Sleep(18 * time.Second)
				r.client.take(1000)
			}
			if c := r.record.Closing(); c.Cause != lifecycle.CauseNone {
				t.Errorf("got %s, want an open connection", c.Cause)
			}
			r.client.fill(len(large))
			begun := time.Now()
			r.client.buf = nil
			r.client.expectLater("close 1001 idle")
			took(t, begun, time.Minute)
			r.record.Stop(lifecycle.StopRequest{Cause: lifecycle.CauseForcedStop})
			r.finish()
			if got := time.Duration(r.record.Flow(lifecycle.Downstream).StallNanos.Load()); got < 80*time.Second {
				t.Errorf("stalled: got %s, want about 90s", got)
			}
		})
	})
	t.Run("counts from when a slow peer took the last byte", func(t *testing.T) {
		inBubble(t, func(t *testing.T, e Engine) {
			r := start(t, e, inMemory, policy)
			size := memnet.DefaultBuffer + 1000 // one read brings all of it, and not all can be written
			r.upstream.write(fromUpstream(binaryOf(size - 10))[:memnet.DefaultBuffer])
			synctest.Wait()
			r.upstream.write(fromUpstream(binaryOf(size - 10))[memnet.DefaultBuffer:])
			time.Sleep(110 * time.Second)
			r.client.fill(size)
			begun := time.Now()
			r.client.buf = nil
			r.client.expectLater("close 1001 idle")
			took(t, begun, time.Minute)
			r.record.Stop(lifecycle.StopRequest{Cause: lifecycle.CauseForcedStop})
			r.finish()
		})
	})
}

func TestSlowPeer(t *testing.T) {
	policy := Policy{Write: 10 * time.Second}
	t.Run("takes nothing", func(t *testing.T) {
		inBubble(t, func(t *testing.T, e Engine) {
			r := start(t, e, inMemory, policy)
			begun := time.Now()
			go r.upstream.conn.Write(fromUpstream(binaryOf(1 << 20)))
			r.upstream.expect("close 1001 peer lost")
			took(t, begun, 10*time.Second)
			r.upstream.reset()
			got := r.finish()
			want := lifecycle.Close{
				Cause: lifecycle.CauseSlowPeer, Initiator: lifecycle.InitiatorProxy, Leg: lifecycle.LegClient, Code: 1001,
			}
			if got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
			r.client.end, r.client.buf = "", nil
		})
	})
	t.Run("takes a little at a time", func(t *testing.T) {
		inBubble(t, func(t *testing.T, e Engine) {
			r := start(t, e, inMemory, policy)
			large := fromUpstream(binaryOf(200_000))
			go r.upstream.conn.Write(large)
			for range 30 {
				time.Sleep(9 * time.Second)
				r.client.take(100)
			}
			if c := r.record.Closing(); c.Cause != lifecycle.CauseNone {
				t.Errorf("got %s, want an open connection", c.Cause)
			}
			r.client.fill(len(large))
			r.client.expect("binary 200000")
			r.record.Stop(lifecycle.StopRequest{Cause: lifecycle.CauseForcedStop})
			r.finish()
		})
	})
	t.Run("without a limit", func(t *testing.T) {
		inBubble(t, func(t *testing.T, e Engine) {
			r := start(t, e, inMemory, Policy{})
			large := fromClient(binaryOf(200_000))
			go r.client.conn.Write(large)
			time.Sleep(24 * time.Hour)
			r.upstream.fill(len(large))
			r.upstream.expect("binary 200000")
			r.record.Stop(lifecycle.StopRequest{Cause: lifecycle.CauseForcedStop})
			r.finish()
		})
	})
}

func TestClosingTakesNoLonger(t *testing.T) {
	const hour = time.Hour
	for _, c := range []struct {
		name     string
		policy   Policy
		begin    func(r *rig)
		after    time.Duration
		cause    lifecycle.Cause
		upstream string // what it sees at the end
	}{
		{"a Close that is not answered", Policy{}, func(r *rig) { r.client.send(closing(1000, "")) }, defaultClose, lifecycle.CauseClientClose, "RST"},
		{"or not in time", Policy{Close: time.Second}, func(r *rig) { r.upstream.send(closing(1000, "")) }, time.Second, lifecycle.CauseUpstreamClose, "RST"},
		{"a client that has half-closed", Policy{}, func(r *rig) { r.client.fin() }, defaultHalfClose, lifecycle.CauseClientGone, "FIN"},
		{"or with another limit", Policy{HalfClose: hour}, func(r *rig) { r.client.fin() }, hour, lifecycle.CauseClientGone, "FIN"},
		{"an upstream that has half-closed", Policy{HalfClose: hour}, func(r *rig) { r.upstream.fin() }, defaultClose, lifecycle.CauseUpstreamGone, "FIN"},
		{"a drain", Policy{}, func(r *rig) { r.record.Stop(lifecycle.StopRequest{Cause: lifecycle.CauseDrain}) }, defaultClose, lifecycle.CauseDrain, "RST"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, e Engine) {
				r := start(t, e, inMemory, c.policy)
				begun := time.Now()
				c.begin(r)
				got := <-r.ended
				took(t, begun, c.after)
				if got.Cause != c.cause || got.Clean {
					t.Errorf("got %+v, want an unclean %s", got, c.cause)
				}
				r.client.untilEnd("RST")
				r.upstream.untilEnd(c.upstream)
				r.ended <- got
				r.finish()
			})
		})
	}
}

// What the session has passed on need not have been written when we cut.
func TestForcedStopInsideAWrite(t *testing.T) {
	inBubble(t, func(t *testing.T, e Engine) {
		r := start(t, e, inMemory, Policy{})
		for range 3 { // whole frames, more than the network takes
			r.upstream.send(binaryOf(50_000))
		}
		synctest.Wait()
		r.record.Stop(lifecycle.StopRequest{Cause: lifecycle.CauseForcedStop})
		if got := r.finish(); !got.FrameTruncated {
			t.Errorf("got %+v, want a truncated frame", got)
		}
	})
}

func TestMaxLifetime(t *testing.T) {
	inBubble(t, func(t *testing.T, e Engine) {
		begun := time.Now()
		r := start(t, e, inMemory, Policy{MaxLifetime: time.Hour})
		for time.Since(begun) < 50*time.Minute { // traffic does not matter
			time.Sleep(10 * time.Minute)
			r.client.send(text(1))
			r.upstream.expect("text 1")
		}
		r.client.expectLater("close 1012 max lifetime")
		if got := time.Since(begun); got > time.Hour || got < 54*time.Minute {
			t.Errorf("got %s, want 54 to 60 minutes", got)
		}
		r.upstream.expect("close 1001 max lifetime")
		r.client.fin()
		r.upstream.fin()
		if got := r.finish().Cause; got != lifecycle.CauseMaxLifetime {
			t.Errorf("got %s, want max_lifetime", got)
		}
	})
}

func TestTCPGivesUp(t *testing.T) {
	t.Run("on the client", func(t *testing.T) {
		inBubble(t, func(t *testing.T, e Engine) {
			r := start(t, e, inMemory, Policy{})
			r.client.conn.(*memnet.Conn).Peer().Fail(syscall.ETIMEDOUT)
			r.upstream.expect("RST")
			if got := r.finish().Cause; got != lifecycle.CauseClientTimeout {
				t.Errorf("got %s, want client_timeout", got)
			}
		})
	})
	t.Run("on the upstream", func(t *testing.T) {
		inBubble(t, func(t *testing.T, e Engine) {
			r := start(t, e, inMemory, Policy{})
			r.upstream.conn.(*memnet.Conn).Peer().Fail(syscall.ETIMEDOUT)
			r.client.expect("close 1012 upstream reset")
			r.client.fin()
			if got := r.finish().Cause; got != lifecycle.CauseUpstreamTimeout {
				t.Errorf("got %s, want upstream_timeout", got)
			}
		})
	})
}

// A request that comes when all is over must not bring anything back to life.
func TestStopAfterTheEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, e Engine) {
		r := start(t, e, inMemory, Policy{})
		r.record.Stop(lifecycle.StopRequest{Cause: lifecycle.CauseForcedStop})
		end := r.finish()
		r.record.Stop(lifecycle.StopRequest{Cause: lifecycle.CauseForcedStop})
		r.record.Stop(lifecycle.StopRequest{Cause: lifecycle.CauseDrain})
		time.Sleep(time.Hour)
		if got := r.record.Closing(); got != end {
			t.Errorf("got %+v, want %+v", got, end)
		}
	})
}

func TestStopBeforeTheStart(t *testing.T) {
	inBubble(t, func(t *testing.T, e Engine) {
		r := start(t, e, inMemory, Policy{}, func(p *Pair) {
			p.Conn.Stop(lifecycle.StopRequest{Cause: lifecycle.CauseDrain})
			p.Early[lifecycle.Upstream] = fromClient(closing(1000, ""))
		})
		r.client.expect("close 1012 drain", "FIN") // its own Close had come with the handshake
		r.client.fin()
		r.upstream.expect("close 1001 drain")
		r.upstream.send(closing(1001, ""))
		r.upstream.fin()
		if got := r.finish(); got.Cause != lifecycle.CauseDrain || !got.Clean {
			t.Errorf("got %+v, want a clean drain", got)
		}
	})
}

func TestWait(t *testing.T) {
	inBubble(t, func(t *testing.T, e Engine) {
		if err := e.Wait(t.Context()); err != nil {
			t.Errorf("without a connection: got %v, want nil", err)
		}
		r := start(t, e, inMemory, Policy{})
		if err := e.Wait(expired(t)); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the context's error", err)
		}
		waited := make(chan error, 1)
		go func() { waited <- e.Wait(t.Context()) }()
		synctest.Wait()
		second := start(t, e, inMemory, Policy{})
		for _, r := range []*rig{r, second} {
			select {
			case err := <-waited:
				t.Errorf("got %v with an open connection, want to wait", err)
			default:
			}
			r.record.Stop(lifecycle.StopRequest{Cause: lifecycle.CauseForcedStop})
			r.finish()
			synctest.Wait()
		}
		if err := <-waited; err != nil {
			t.Errorf("got %v, want nil", err)
		}
	})
}

// take reads at most n bytes.
func (p *peer) take(n int) {
	b := make([]byte, n)
	p.conn.SetReadDeadline(time.Now().Add(patience))
	got, _ := io.ReadAtLeast(p.conn, b, 1)
	p.buf = append(p.buf, b[:got]...)
}

// expectLater is expect with all the time in the world.
func (p *peer) expectLater(want string) {
	p.t.Helper()
	b := make([]byte, 64<<10)
	p.conn.SetReadDeadline(time.Time{})
	n, err := p.conn.Read(b)
	if err != nil {
		p.t.Errorf("%s reads: %v", p.name, err)
	}
	p.buf = append(p.buf, b[:n]...)
	p.expect(want)
}

// untilEnd reads on to the end and compares that.
func (p *peer) untilEnd(want string) {
	p.t.Helper()
	for p.end == "" {
		p.read()
	}
	if p.end != want {
		p.t.Errorf("%s: got %s, want %s", p.name, p.end, want)
	}
}
