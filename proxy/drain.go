package proxy

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"wsproxy/lifecycle"
	"wsproxy/proxy/relay"
)

// Drain says which open connections are asked to leave, and how.
type Drain struct {
	// Match picks the connections; nil picks all.
	Match func(*lifecycle.Connection) bool

	// Pending has connections leave, too, that are not open yet, as soon as they are; without it those only
	// whose upgrade is under way.
	Pending bool

	// Share of those, chosen at random, rounded up. Zero: all of them.
	Share float64

	Spread time.Duration   // the Close frames are spread over it, each at a random moment of its part
	Cause  lifecycle.Cause // zero: drain
	Code   int             // for the client; 0: 1012
	Reason string
}

func (d *Drain) request() lifecycle.StopRequest {
	cause := lifecycle.CauseDrain
	if d.Cause != lifecycle.CauseNone {
		cause = d.Cause
	}
	return lifecycle.StopRequest{Cause: cause, Code: d.Code, Reason: d.Reason}
}

// start hands an upgraded pair to the engine. One whose handshake was under way when a drain of everything
// began leaves at once.
func (s *Server) start(p *relay.Pair) {
	s.Engine.Start(p)
	if d := s.drain.Load(); d != nil {
		p.Conn.Stop(d.request())
	}
}

// Refuse has new upgrades refused from now on. The clients are told to come back at some time within the
// drain's spread.
func (s *Server) Refuse(d Drain) { s.draining.Store(&d) }

// Drain asks the open connections to leave, one after the other, until all were asked or ctx ends, and from
// then on everyone who gets as far as an open connection. It does not wait for them; the engine does.
func (s *Server) Drain(ctx context.Context, d Drain) {
	s.Departure(d).Ask(ctx)
	s.drain.Store(&d)
	for c := range s.Registry.All() { // those upgraded since the list was made
		if c.Phase() == lifecycle.PhaseTransfer {
			c.Stop(d.request())
		}
	}
}

// Stop cuts every open connection off, and one that is being set up as soon as it is open: its client may have its 101 already.
func (s *Server) Stop() {
	for c := range s.Registry.All() {
		c.Stop(lifecycle.StopRequest{Cause: lifecycle.CauseForcedStop})
	}
}

// Departure is open connections that are to leave.
type Departure struct {
	drain Drain

	mu      sync.Mutex
	waiting []*lifecycle.Connection // to be asked
	asked   []*lifecycle.Connection // and not known to be gone
	total   int
}

// Departure picks the connections that are open now, and those in their upgrade: their clients may have the 101
// already. Nothing happens to them before Ask.
func (s *Server) Departure(d Drain) *Departure {
	var open []*lifecycle.Connection
	for c := range s.Registry.All() {
		switch p := c.Phase(); {
		case p == lifecycle.PhaseTransfer, p == lifecycle.PhaseUpgrade, p < lifecycle.PhaseTransfer && d.Pending:
		default:
			continue
		}
		if d.Match == nil || d.Match(c) {
			open = append(open, c)
		}
	}
	if d.Share > 0 && d.Share < 1 {
		rand.Shuffle(len(open), func(i, j int) { open[i], open[j] = open[j], open[i] })
		open = open[:int(math.Ceil(float64(len(open))*d.Share))]
	}
	return &Departure{drain: d, waiting: open, total: len(open)}
}

// Total is how many connections were picked.
func (p *Departure) Total() int { return p.total }

// Ask asks each to leave, the first at once, until all were asked or ctx ends.
func (p *Departure) Ask(ctx context.Context) {
	begun := time.Now()
	for i := range p.total {
		var at time.Duration
		if i > 0 {
			at = time.Duration((float64(i) + rand.Float64()) / float64(p.total) * float64(p.drain.Spread))
		}
		if !sleepUntil(ctx, begun.Add(at)) {
			return
		}
		c := p.next()
		if c == nil {
			return
		}
		c.Stop(p.drain.request())
	}
}

// next is the next connection to ask, nil if the rest left by themselves.
func (p *Departure) next() *lifecycle.Connection {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.waiting) > 0 {
		c := p.waiting[0]
		p.waiting = p.waiting[1:]
		if c.Live() {
			p.asked = append(p.asked, c)
			return c
		}
	}
	return nil
}

// Remaining is how many of the connections are still there.
func (p *Departure) Remaining() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting, p.asked = slices.DeleteFunc(p.waiting, gone), slices.DeleteFunc(p.asked, gone)
	return len(p.waiting) + len(p.asked)
}

func gone(c *lifecycle.Connection) bool { return !c.Live() }

// departureInterval is how often Await looks.
const departureInterval = 100 * time.Millisecond

// Await returns when all have left, or with ctx's error.
func (p *Departure) Await(ctx context.Context) error {
	tick := time.NewTicker(departureInterval)
	defer tick.Stop()
	for p.Remaining() > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Cut cuts off those that are left.
func (p *Departure) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range slices.Concat(p.waiting, p.asked) {
		c.Stop(lifecycle.StopRequest{Cause: lifecycle.CauseForcedStop})
	}
}

func sleepUntil(ctx context.Context, at time.Time) bool {
	t := time.NewTimer(time.Until(at))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
