package relay

import (
	"time"

	"wsproxy/lifecycle"
)

// stalls says which directions wait for a slow peer to take what was read: nothing is read for them
// meanwhile, so nothing can be said of the legs that they read.
type stalls [2]bool

func (w stalls) any() bool { return w[lifecycle.Upstream] || w[lifecycle.Downstream] }

// timer is when tick wants to be called, zero for never.
func (s *session) timer(now time.Time, waits stalls) time.Time {
	switch {
	case s.over:
		return time.Time{}
	case !s.deadline.IsZero():
		return s.deadline
	}
	at := s.lifetime
	if s.throttled(lifecycle.Upstream) {
		waits[lifecycle.Upstream] = true
		at = earlier(at, s.conn.Accepted.Add(s.spending.until))
	}
	if s.policy.Idle > 0 {
		idle := s.active.Add(s.policy.Idle)
		if waits.any() {
			idle = now.Add(s.policy.Idle)
		}
		at = earlier(at, idle)
	}
	for _, l := range bothLegs {
		at = earlier(at, s.beat(l, now, waits))
	}
	return at
}

// earlier is the first of two moments, zero standing for never.
func earlier(x, y time.Time) time.Time {
	if x.IsZero() || !y.IsZero() && y.Before(x) {
		return y
	}
	return x
}

// tick does what is due.
func (s *session) tick(now time.Time, waits stalls, w wire) {
	s.release(now)
	waits[lifecycle.Upstream] = waits[lifecycle.Upstream] || s.throttled(lifecycle.Upstream)
	due := func(at time.Time) bool { return !at.IsZero() && !now.Before(at) }
	switch {
	case s.closing:
		if due(s.deadline) {
			s.expire()
		}
	case due(s.deadline):
		s.giveUpBroken()
	case due(s.lifetime):
		s.stop(lifecycle.StopRequest{Cause: lifecycle.CauseMaxLifetime})
	case s.policy.Idle > 0 && !waits.any() && due(s.active.Add(s.policy.Idle)):
		s.stop(lifecycle.StopRequest{Cause: lifecycle.CauseIdleTimeout})
	default:
		for _, l := range bothLegs {
			if !s.closing && due(s.beat(l, now, waits)) && !waits[reader(l)] {
				s.miss(l, now, w)
			}
		}
	}
}

// giveUpBroken ends a connection whose broken leg has not said why in time.
func (s *session) giveUpBroken() {
	for _, l := range []lifecycle.Leg{lifecycle.LegClient, lifecycle.LegUpstream} {
		if err := s.leg(l).broken; err != nil {
			s.failed(l, err)
		}
	}
}
