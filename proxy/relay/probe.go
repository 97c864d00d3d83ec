package relay

import (
	"math/rand/v2"
	"sync/atomic"
	"time"

	"wsproxy/lifecycle"
)

// sampled is true for one chunk in 64: to time each would cost too much.
func sampled() bool { return rand.Uint32()&63 == 0 }

// stalledAfter is how long a direction waits for a slow peer until that is told.
const stalledAfter = 5 * time.Second

// budget bounds how often the system is asked about its TCP: each time costs a system call or two.
type budget struct{ last atomic.Int64 }

// probeEvery is between two connections that are probed by the same engine or loop.
const probeEvery = 10 * time.Millisecond

func (b *budget) allows(now time.Time) bool {
	last, at := b.last.Load(), now.UnixNano()
	return at-last >= int64(probeEvery) && b.last.CompareAndSwap(last, at)
}

// tcpInfo is what the system knows of a connection.
type tcpInfo struct {
	rtt         time.Duration
	retransmits uint32 // segments, ever
	acked       uint64 // bytes, ever
	waiting     bool   // there are bytes that the peer's system has not acknowledged
}

// tcp is a leg's TCP as of the last probe.
type tcp struct{ retransmits uint32 }

func (t *tcp) probed(c *lifecycle.Connection, l lifecycle.Leg, now tcpInfo) {
	again := now.retransmits - t.retransmits
	t.retransmits = now.retransmits
	c.Probed(l, now.rtt, int(again))
}

// wire is what an engine tells of its sockets.
type wire interface {
	// tcp is not ok where the system does not tell.
	tcp(l lifecycle.Leg) (now tcpInfo, ok bool)
}

// takes reports whether leg l has taken something of what waited for it since the last time. Behind bulk
// that it is slow to read its answer to a ping may be a long way off.
func (s *session) takes(l lifecycle.Leg, w wire) bool {
	p := &s.leg(l).pulse
	now, ok := w.tcp(l)
	before := p.acked
	p.acked = now.acked
	return ok && now.waiting && now.acked > before
}
