package upstream

import (
	"net/http"
	"time"

	"wsproxy/lifecycle"
)

// Lease is a connection's place at the endpoint that was picked for it. Failed or Closed ends it; what
// comes behind that has no effect. What it tells is the passive health check.
type Lease struct {
	ID string   // of the endpoint
	At Location // when it was picked

	pool     *Pool
	endpoint *endpoint
	retry    bool
	stage    stage // guarded by the book's mutex
}

type stage uint8

const (
	stageHandshake stage = iota
	stageOpen
	stageEnded
)

// Opened tells that the handshake succeeded.
func (l *Lease) Opened() {
	l.pool.book.mu.Lock()
	defer l.pool.book.mu.Unlock()
	if l.stage != stageHandshake {
		return
	}
	l.settled()
	l.stage = stageOpen
	l.endpoint.passed.dial.clear()
	l.endpoint.passed.avoid = time.Time{}
}

// Failed gives the place back and tells why no connection was opened; nil is nobody's fault.
func (l *Lease) Failed(f *lifecycle.Failure) {
	l.end(func(e *endpoint, opened bool, now time.Time) {
		switch {
		case f == nil || opened:
		case blamed(f, e.egress):
			if f.Phase == lifecycle.PhaseConnect || f.Reason == lifecycle.ReasonUpstreamGone { // a dying one may still accept
				e.passed.avoid = now.Add(avoidance)
			}
			l.pool.failed(e, &e.passed.dial, f, now)
		case f.Reason == lifecycle.ReasonUpgradeRejected: // by an application that works
			e.passed.dial.clear()
		}
	})
}

// Closed gives the place of an open connection back. spoke says whether a message passed in either
// direction.
func (l *Lease) Closed(c lifecycle.Close, spoke bool) {
	l.end(func(e *endpoint, _ bool, now time.Time) {
		if reset := c.Cause == lifecycle.CauseUpstreamReset || c.Cause == lifecycle.CauseUpstreamTimeout; !reset || spoke {
			e.passed.early.clear()
			return
		}
		f := lifecycle.Failf(lifecycle.ReasonConnectionReset, "%s before the first message", c.Cause)
		l.pool.failed(e, &e.passed.early, f, now)
	})
}

// end ends the lease, once.
func (l *Lease) end(judge func(e *endpoint, opened bool, now time.Time)) {
	p, now := l.pool, time.Now()
	p.book.mu.Lock()
	was := l.stage
	if was == stageEnded {
		p.book.mu.Unlock()
		return
	}
	if was == stageHandshake {
		l.settled()
	}
	l.stage = stageEnded
	e := l.endpoint
	e.open--
	judge(e, was == stageOpen, now)
	if !e.member && e.open == 0 {
		delete(p.book.endpoints, e.id)
	}
	changes := p.settle(now)
	p.book.mu.Unlock()
	if len(changes) > 0 {
		p.tell(changes)
		p.wake()
	}
}

// settled takes the lease out of the handshakes under way.
func (l *Lease) settled() {
	l.pool.handshakes--
	if l.retry {
		l.pool.retries--
	}
}

// Passive is when a target is ejected for what its connections tell.
type Passive struct {
	Failures int           // in a row that eject it; 0: it never is
	Eject    time.Duration // how long the first time; each further time twice as long
	Longest  time.Duration // until this
	Share    float64       // of all addresses, 0 to 1, that may be out at the same time
}

// avoidance is how long a target that could not be reached, or left in the handshake, is the last choice.
const avoidance = time.Second

// runGap is the time between two failures that do not belong together.
const runGap = time.Minute

// passiveHealth is what connections told of an endpoint.
type passiveHealth struct {
	dial      failures // of dials and handshakes
	early     failures // resets before the first message
	ejections int      // in a row
	until     time.Time
	avoid     time.Time // until then others come first
}

// failures is a run of them.
type failures struct {
	n    int
	last time.Time
}

func (r *failures) clear() { *r = failures{} }

// failed counts a failure, and ejects when there were too many in a row.
func (p *Pool) failed(e *endpoint, run *failures, f *lifecycle.Failure, now time.Time) {
	if now.Sub(run.last) > runGap {
		run.clear()
	}
	run.n, run.last = run.n+1, now
	s := p.settings.Passive
	if s.Failures == 0 || run.n < s.Failures || now.Before(e.passed.until) || !p.maySpare() {
		return
	}
	run.clear()
	if now.Sub(e.passed.until) > s.Longest { // it has been well for long
		e.passed.ejections = 0
	}
	d := s.Eject << min(e.passed.ejections, 16)
	if d > s.Longest || d <= 0 {
		d = s.Longest
	}
	e.passed.ejections++
	e.passed.until, e.why = now.Add(d), f
}

// maySpare says whether one more may be out.
func (p *Pool) maySpare() bool {
	all, out := 0, 1
	for _, t := range p.entries {
		for _, e := range t.members {
			all++
			if !e.shown.Usable() {
				out++
			}
		}
	}
	return float64(out) <= p.settings.Passive.Share*float64(all)
}

// blamed says whether a failure tells of its target: not of the client, of ourselves, or of the egress
// on the way.
func blamed(f *lifecycle.Failure, egress bool) bool {
	switch f.Phase {
	case lifecycle.PhaseDNS, lifecycle.PhaseConnect:
		if egress {
			return false
		}
	}
	switch f.Reason {
	case lifecycle.ReasonUpgradeRejected:
		return f.Status >= http.StatusInternalServerError
	case lifecycle.ReasonProxyRefused:
		return f.Status >= http.StatusBadGateway && f.Status <= http.StatusGatewayTimeout
	}
	return blameworthy[f.Reason]
}

var blameworthy = map[lifecycle.Reason]bool{
	lifecycle.ReasonDNSNotFound: true, lifecycle.ReasonDNSTemporary: true, lifecycle.ReasonDNSTimeout: true,
	lifecycle.ReasonConnectionRefused: true, lifecycle.ReasonConnectionReset: true, lifecycle.ReasonHostUnreachable: true,
	lifecycle.ReasonNetworkUnreachable: true, lifecycle.ReasonConnectTimeout: true,
	lifecycle.ReasonSOCKSNetworkUnreachable: true, lifecycle.ReasonSOCKSHostUnreachable: true,
	lifecycle.ReasonSOCKSConnectionRefused: true, lifecycle.ReasonSOCKSTTLExpired: true,
	lifecycle.ReasonTLSUnknownAuthority: true, lifecycle.ReasonTLSHostnameMismatch: true, lifecycle.ReasonTLSCertificateExpired: true,
	lifecycle.ReasonTLSCertificateNotYetValid: true, lifecycle.ReasonTLSAlert: true, lifecycle.ReasonTLSProtocol: true,
	lifecycle.ReasonTLSTimeout: true, lifecycle.ReasonUpgradeTimeout: true, lifecycle.ReasonBadUpgradeResponse: true,
	lifecycle.ReasonUpstreamGone: true,
}
