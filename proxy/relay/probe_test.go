package relay

import (
	"sync/atomic"
	"testing"
	"time"

	"wsproxy/lifecycle"
)

// meters counts what the engine measures.
type meters struct {
	pinged, relayed, stalled atomic.Int64
	probed                   [2]atomic.Int64
	rtt                      atomic.Int64 // nanoseconds, of the last probe
}

// Pinged and the others implement lifecycle.Meter.
func (r *recorder) Pinged(lifecycle.Leg, time.Duration)        { r.meters.pinged.Add(1) }
func (r *recorder) Relayed(lifecycle.Direction, time.Duration) { r.meters.relayed.Add(1) }
func (r *recorder) Probed(l lifecycle.Leg, rtt time.Duration, _ int) {
	r.meters.probed[l-1].Add(1)
	r.meters.rtt.Store(int64(rtt))
}
func (r *recorder) Stalled(lifecycle.Direction, time.Duration) { r.meters.stalled.Add(1) }

func TestMeasuring(t *testing.T) {
	for _, s := range realStages(t) {
		t.Run(s.name, func(t *testing.T) {
			s.run(t, func(t *testing.T, e Engine) {
				begun := time.Now()
				r := start(t, e, s.network, Policy{Keepalive: Keepalive{Client: 30 * time.Millisecond, Timeout: patience}})
				m := &r.steps.meters
				for range 1000 {
					r.client.send(text(5))
					r.upstream.expect("text 5")
				}
				if got := m.relayed.Load(); got == 0 || got > 100 {
					t.Errorf("got %d of 1000 reads timed, want about 16", got)
				}
				answered := 0
				for ; answered < 3 || m.pinged.Load() == 0; answered++ { // only the answer to the latest ping tells
					r.client.send(pong(r.client.ping()))
				}
				if got, most := m.pinged.Load(), 1+int64(time.Since(begun)/time.Second); got > most {
					t.Errorf("got %d round trips of %d told, want one in each second", got, answered)
				}
				if readsTCP(r) {
					eventually(t, "both legs are probed", func() bool { return m.probed[0].Load() > 0 && m.probed[1].Load() > 0 })
					if rtt := time.Duration(m.rtt.Load()); rtt <= 0 || rtt > time.Second {
						t.Errorf("got a round trip of %s on loopback", rtt)
					}
				}
				r.cutOff()
			})
		})
	}
}

// readsTCP reports whether the system tells of its TCP.
func readsTCP(r *rig) (ok bool) {
	raw := rawConn(r.client.socket())
	raw.Control(func(fd uintptr) { _, ok = readTCP(int(fd)) })
	return ok
}

func TestBudget(t *testing.T) {
	var b budget
	now := time.Now()
	allowed := 0
	for i := range 1000 {
		if b.allows(now.Add(time.Duration(i) * time.Millisecond)) {
			allowed++
		}
	}
	if want := int(time.Second / probeEvery); allowed != want {
		t.Errorf("got %d in a second, want %d", allowed, want)
	}
}

func TestStallIsTold(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for real time")
	}
	for _, s := range realStages(t) {
		if s.tls {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			s.run(t, func(t *testing.T, e Engine) {
				r := start(t, e, small(s.network, 64<<10), Policy{})
				go r.upstream.conn.Write(fromUpstream(binaryOf(32 << 20)))
				begun := time.Now()
				eventually(t, "the stall is told", func() bool { return r.steps.meters.stalled.Load() > 0 })
				if took := time.Since(begun); took < stalledAfter {
					t.Errorf("got it after %s, want %s", took, stalledAfter)
				}
				r.cutOff()
				if got := r.steps.meters.stalled.Load(); got != 1 {
					t.Errorf("got it told %d times, want once", got)
				}
			})
		})
	}
}

// A client that takes what is sent to it, but slowly, has its ping far behind: that it does not answer in
// time says nothing.
func TestSlowIsNotSilent(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for real time")
	}
	// Longer than a busy machine may keep the client from reading.
	keepalive := Keepalive{Client: 20 * time.Millisecond, Timeout: 2 * time.Second}
	for _, s := range realStages(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			s.run(t, func(t *testing.T, e Engine) {
				r := start(t, e, small(s.network, 64<<10), Policy{Keepalive: keepalive})
				if !readsTCP(r) {
					t.Skip("the system does not tell of its TCP")
				}
				stop, sent := make(chan struct{}), make(chan struct{})
				go func() {
					defer close(sent)
					r.upstream.flood(stop)
				}()
				// So slowly that there is more than a second's worth on its way: a flood that a busy machine interrupts
				// does not run dry. A client that has taken all and does not answer is silent.
				slowly := time.NewTicker(50 * time.Millisecond)
				defer slowly.Stop()
				for begun := time.Now(); time.Since(begun) < 2*keepalive.Timeout+time.Second; <-slowly.C {
					r.client.take(10_000)
					r.client.buf = nil
				}
				r.alive()
				close(stop)
				r.cutOff()
				<-sent
			})
		})
	}
}

// flood sends messages until stop, or until the connection is gone.
func (p *peer) flood(stop <-chan struct{}) {
	message := p.frames(binaryOf(1000))
	for {
		select {
		case <-stop:
			return
		default:
			if _, err := p.conn.Write(message); err != nil {
				return
			}
		}
	}
}
