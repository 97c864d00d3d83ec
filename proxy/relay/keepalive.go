package relay

import (
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"time"

	"wsproxy/lifecycle"
	"wsproxy/proxy/frame"
)

// errSilent is a leg that gave no sign of life after a ping.
var errSilent = errors.New("no sign of life after a ping")

var bothLegs = [...]lifecycle.Leg{lifecycle.LegClient, lifecycle.LegUpstream}

// reader is the direction that reads leg l.
func reader(l lifecycle.Leg) lifecycle.Direction {
	if l == lifecycle.LegClient {
		return lifecycle.Upstream
	}
	return lifecycle.Downstream
}

// pulse is what is known of the life of one leg. Moments are those of session.clock.
type pulse struct {
	heard time.Duration // bytes last came from it
	asked time.Duration // it has had a ping to answer since then, in pulseAsked
	acked uint64        // bytes that its system had taken then
	told  time.Duration // a round trip was told last
	state pulseState

	// Our own pings, numbered from a random begin.
	unanswered uint8         // of the last ones
	number     uint64        // of the last one
	pinged     time.Duration // the last one was written

	theirs *pings // of the other endpoint to this leg; nil before the first
}

type pulseState uint8

const (
	pulseHeard pulseState = iota // nothing is asked of it
	pulseDue                     // it is to be pinged at the next boundary
	pulseAsked                   // a byte must come within the timeout
)

// clock is a moment in less space than a time.Time has.
func (s *session) clock(at time.Time) time.Duration { return at.Sub(s.conn.Accepted) }

// sign notes that bytes came from the leg. It reports whether they were waited for.
func (p *pulse) sign(at time.Duration) (awaited bool) {
	awaited = p.state != pulseHeard
	p.heard, p.state = at, pulseHeard
	return awaited
}

// resume goes on watching a leg that was not read until now.
func (p *pulse) resume(at time.Duration) {
	p.heard = at
	if p.state == pulseAsked {
		p.asked = at
	}
}

// interval is how long leg l may be quiet before it is pinged, 0 if it is not watched. A ping needs frames
// around it that can be seen, and nobody waits for more than the end once that has begun.
func (s *session) interval(l lifecycle.Leg) time.Duration {
	every := s.policy.Keepalive.Client
	if l == lifecycle.LegUpstream {
		every = s.policy.Keepalive.Upstream
	}
	if every == 0 || s.closing || !s.writable(l) || !s.framed(s.to(l)) || !s.framed(s.from(l)) {
		return 0
	}
	return every
}

// beat is when something is to be done about leg l's silence, zero for never.
func (s *session) beat(l lifecycle.Leg, now time.Time, waits stalls) time.Time {
	every := s.interval(l)
	if every == 0 {
		return time.Time{}
	}
	if waits[reader(l)] {
		return now.Add(every) // to look again: nothing is read from it
	}
	p := &s.leg(l).pulse
	switch p.state {
	case pulseDue: // waits for a boundary, not for a moment
		return time.Time{}
	case pulseAsked:
		return s.conn.Accepted.Add(p.asked + s.policy.Keepalive.Timeout)
	}
	at := p.heard + every
	if last, asked := p.theirs.last(); asked && last <= p.heard {
		at = max(at, last+s.policy.Keepalive.Timeout)
	}
	return s.conn.Accepted.Add(at)
}

// miss does what is due about a leg that is silent. A ping of the other endpoint that has found nothing but
// silence serves as ours; one that was passed over in what the leg has sent since will not be answered
// any more once the timeout is over.
func (s *session) miss(l lifecycle.Leg, now time.Time, w wire) {
	s.changes++
	p := &s.leg(l).pulse
	last, asked := p.theirs.last()
	switch {
	case p.state == pulseAsked && s.takes(l, w):
		p.asked = s.clock(now)
	case p.state == pulseAsked:
		s.failed(l, errSilent)
	case asked && last > p.heard:
		p.state, p.asked = pulseAsked, s.clock(now)
		s.takes(l, w)
	default:
		p.theirs.forget()
		p.state = pulseDue
	}
}

// pingDue reports whether the leg that f writes to is to get a ping of ours.
func (s *session) pingDue(f *flow) bool {
	return s.legs[1-f.dir].pulse.state == pulseDue && s.interval(f.dir.To()) > 0
}

// ping is the frame that the engine writes now in direction d; nil if it is no longer wanted.
func (s *session) ping(d lifecycle.Direction, w wire) []byte {
	f := &s.flows[d]
	if !s.pingDue(f) || f.partial {
		return nil
	}
	p := &s.legs[1-d].pulse
	if p.number == 0 {
		p.number = rand.Uint64()
	}
	p.number++
	p.unanswered = uint8(min(int(p.unanswered)+1, 255))
	p.pinged = s.clock(time.Now())
	p.state, p.asked = pulseAsked, p.pinged
	s.takes(d.To(), w)
	s.changes++
	var nonce [8]byte
	binary.BigEndian.PutUint64(nonce[:], p.number)
	ping := frame.AppendPing(nil, nonce[:], maskFor(d.To()))
	s.say(d, ping)
	return ping
}

// maskFor is a fresh key for a frame of ours to leg l: towards the upstream we are the client.
func maskFor(l lifecycle.Leg) *[4]byte {
	if l == lifecycle.LegClient {
		return nil
	}
	key := new([4]byte)
	crand.Read(key[:]) // never fails
	return key
}

// pinged notes that a ping of an endpoint is passed on in direction d. As long as it is unanswered none of
// ours may follow: its receiver may answer only the last (RFC 6455 §5.5.3).
func (s *session) pinged(d lifecycle.Direction, control frame.Control) {
	p := &s.legs[1-d].pulse
	now := s.clock(time.Now())
	if p.theirs == nil {
		p.theirs = newPings()
	}
	var buf [frame.MaxControlPayload]byte
	p.theirs.add(control.Unmasked(&buf), now)
	if p.state == pulseDue { // it serves as ours
		p.state, p.asked = pulseAsked, now
		s.changes++
	}
}

// ponged notes a pong that direction d read. It reports whether that answers a ping of ours, so that it
// concerns nobody else.
func (s *session) ponged(d lifecycle.Direction, control frame.Control) (ours bool) {
	p := &s.legs[d].pulse
	var buf [frame.MaxControlPayload]byte
	payload := control.Unmasked(&buf)
	now := s.clock(time.Now())
	if p.unanswered > 0 && len(payload) == 8 {
		if back := p.number - binary.BigEndian.Uint64(payload); back < uint64(p.unanswered) {
			p.unanswered = uint8(back) // those before it will not be answered any more
			if back == 0 {
				s.roundTrip(d.From(), now-p.pinged, now)
			}
			return true
		}
	}
	if sent, ok := p.theirs.answered(payload); ok {
		s.roundTrip(d.From(), now-sent, now)
	}
	return false
}

func (s *session) roundTrip(l lifecycle.Leg, took, now time.Duration) {
	p := &s.leg(l).pulse
	tell := p.told == 0 || now-p.told >= time.Second
	if tell {
		p.told = now
	}
	s.conn.Pinged(l, took, tell)
}
