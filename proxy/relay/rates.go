package relay

import (
	"time"

	"wsproxy/lifecycle"
	"wsproxy/proxy/frame"
)

// Rates bound what one client may send per second, each with a burst of a second's worth; 0 is no bound.
type Rates struct {
	Messages float64 // at least one is the burst
	Bytes    float64
	Throttle bool // a client that sends more is read no faster; else it is closed with 1008
}

// allowance is a token bucket that may go into debt: what came can't be sent back.
type allowance struct {
	level float64
	at    time.Duration // of level
}

// take takes n and returns how long it is until the debt is paid, 0 without one.
func (b *allowance) take(n, rate, burst float64, now time.Duration) time.Duration {
	b.level = min(burst, b.level+(now-b.at).Seconds()*rate) - n
	b.at = now
	if b.level >= 0 {
		return 0
	}
	return time.Duration(-b.level / rate * float64(time.Second))
}

// spending is what a client has sent, where that is limited.
type spending struct {
	messages, bytes allowance
	throttled       bool
	until           time.Duration // nothing is read from it, if throttled
}

func newSpending(r *Rates) *spending {
	if r.Messages == 0 && r.Bytes == 0 {
		return nil
	}
	return &spending{messages: allowance{level: r.burst()}, bytes: allowance{level: r.Bytes}}
}

func (r *Rates) burst() float64 { return max(r.Messages, 1) }

// spend accounts for what came in direction d.
func (s *session) spend(d lifecycle.Direction, bytes int, c *frame.Counts) {
	if s.spending == nil || d != lifecycle.Upstream || s.closing {
		return
	}
	rates, now := &s.policy.Rates, s.legs[d].pulse.heard
	var debt time.Duration
	if rates.Messages > 0 {
		debt = s.spending.messages.take(float64(c.Messages()), rates.Messages, rates.burst(), now)
	}
	if rates.Bytes > 0 {
		debt = max(debt, s.spending.bytes.take(float64(bytes), rates.Bytes, rates.Bytes, now))
	}
	switch {
	case debt == 0:
	case rates.Throttle:
		s.spending.throttled, s.spending.until = true, now+debt
		s.changes++
	default:
		s.offended(d, tooMuch())
	}
}

// throttled reports whether nothing is to be read in direction d for now.
func (s *session) throttled(d lifecycle.Direction) bool {
	return s.spending != nil && s.spending.throttled && d == lifecycle.Upstream && !s.closing
}

// release goes on reading from a client whose time has come.
func (s *session) release(now time.Time) {
	if s.throttled(lifecycle.Upstream) && s.clock(now) >= s.spending.until {
		s.spending.throttled = false
		s.taken(lifecycle.Upstream, now)
		s.changes++
	}
}
