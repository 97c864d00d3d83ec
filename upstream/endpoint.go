package upstream

import (
	"time"

	"github.com/cespare/xxhash/v2"

	"wsproxy/lifecycle"
)

// Location is where a connection goes.
type Location struct {
	Target  string // name of the target, as configured
	Network string // tcp or unix
	Address string // to dial: host:port, or a socket's path
	Host    string // what the target is called there, for its Host header and its certificate: host:port, or the path
	Secure  bool   // it is spoken to over TLS
}

// endpoint is one address of a target: what is balanced, checked and ejected. All of it is guarded by
// the book's mutex. It outlives the Pool that made it if the next one has it, too.
type endpoint struct {
	id       string // of the target and the address
	hash     uint64 // of id
	at       Location
	weight   float64
	priority int
	egress   bool // dialled through one
	member   bool // of the current Pool

	open   int
	picked uint64  // the turn at which it was picked last
	credit float64 // in the smooth weighted round robin

	shown  lifecycle.TargetState // the state that was told last
	since  time.Time
	why    *lifecycle.Failure // of a state that a failure led to
	active activeHealth
	passed passiveHealth
	slow   time.Time // it came back then; zero if it has its whole share
}

func newEndpoint(id string, now time.Time) *endpoint {
	return &endpoint{id: id, hash: xxhash.Sum64String(id), since: now}
}

// state is derived from all that is known; times pass without anybody's doing.
func (e *endpoint) state(p *Pool, now time.Time) lifecycle.TargetState {
	switch {
	case !e.member:
		return lifecycle.TargetDraining
	case p.settings.Health != nil && e.active.down:
		return lifecycle.TargetUnhealthy
	case now.Before(e.passed.until):
		return lifecycle.TargetEjected
	case e.isSlow(p, now):
		return lifecycle.TargetSlowStart
	case p.settings.Health != nil && !e.active.known:
		return lifecycle.TargetUnknown
	}
	return lifecycle.TargetHealthy
}

func (e *endpoint) isSlow(p *Pool, now time.Time) bool {
	return !e.slow.IsZero() && now.Sub(e.slow) < p.settings.SlowStart
}

// slowest is the part of its share that an endpoint gets at the beginning of a slow start.
const slowest = 0.1

// share is the endpoint's weight, as far as a slow start lets it have it.
func (e *endpoint) share(p *Pool, now time.Time) float64 {
	if !e.isSlow(p, now) {
		return e.weight
	}
	return e.weight * max(float64(now.Sub(e.slow))/float64(p.settings.SlowStart), slowest)
}

// settle tells apart what changed since it was told last. An endpoint that can be used again starts slowly.
func (e *endpoint) settle(p *Pool, now time.Time) (c lifecycle.TargetChange, changed bool) {
	s := e.state(p, now)
	back := s.Usable() && (e.shown == lifecycle.TargetEjected || e.shown == lifecycle.TargetUnhealthy || e.shown == lifecycle.TargetDraining)
	if back && p.settings.SlowStart > 0 {
		e.slow = now
		s = lifecycle.TargetSlowStart
	}
	if s == e.shown {
		return c, false
	}
	c = lifecycle.TargetChange{Upstream: p.settings.Name, Target: e.at.Target, Address: e.at.Address, From: e.shown, To: s}
	if !s.Usable() && s != lifecycle.TargetDraining {
		c.Failure = e.why
	}
	e.shown, e.since = s, now
	return c, true
}

// changesAt is when time alone changes the state; zero if it will not.
func (e *endpoint) changesAt(p *Pool, now time.Time) time.Time {
	switch {
	case now.Before(e.passed.until):
		return e.passed.until
	case e.isSlow(p, now):
		return e.slow.Add(p.settings.SlowStart)
	}
	return time.Time{}
}

func (e *endpoint) status(p *Pool, now time.Time) lifecycle.AddressStatus {
	s := lifecycle.AddressStatus{
		Address: e.at.Address, State: e.shown, Since: e.since, Open: e.open, Weight: e.weight, Priority: e.priority,
		Checked: e.active.at, RTT: e.active.rtt, Failure: e.active.failure,
	}
	if e.shown == lifecycle.TargetEjected {
		s.EjectedUntil = e.passed.until
	}
	s.Ejections = e.passed.ejections
	return s
}
