package egress

import (
	"errors"
	"slices"
	"sync"
	"time"

	"wsproxy/lifecycle"
)

const (
	// failuresUntilDown is after how many failures in a row, all its own, a proxy counts as down.
	failuresUntilDown = 3
	// downFor is how long its fallback then goes first, until it is tried again.
	downFor = 10 * time.Second
)

// Health is what dials through a proxy have shown of it.
type Health struct {
	Up       bool
	Granted  uint64           // tunnels
	Failed   uint64           // dials that failed by the proxy's own fault
	Failures int              // of these, since the last tunnel
	Reason   lifecycle.Reason // of the last of them
	At       time.Time        // when that was; zero if none failed
}

type health struct {
	mu        sync.Mutex
	seen      Health
	downUntil time.Time
}

// Health tells what dials have shown so far. Nobody asks the proxy.
func (p *Proxy) Health() Health {
	h := &p.health
	h.mu.Lock()
	defer h.mu.Unlock()
	seen := h.seen
	seen.Up = seen.Failures < failuresUntilDown
	return seen
}

func (h *health) down(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return now.Before(h.downUntil)
}

func (h *health) granted() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen.Granted++
	h.seen.Failures, h.downUntil = 0, time.Time{}
}

func (h *health) failed(reason lifecycle.Reason, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen.Failed++
	h.seen.Failures++
	h.seen.Reason, h.seen.At = reason, now
	if h.seen.Failures >= failuresUntilDown {
		h.downUntil = now.Add(downFor)
	}
}

// order lists p and its fallbacks in the order in which to try them: those that are down last. Without
// a proxy there is one way, the direct one.
func (p *Proxy) order(now time.Time) []*Proxy {
	if p == nil || p.Fallback == nil {
		return []*Proxy{p}
	}
	var up, down []*Proxy
	for ; p != nil; p = p.Fallback {
		if p.health.down(now) {
			down = append(down, p)
		} else {
			up = append(up, p)
		}
	}
	return slices.Concat(up, down)
}

// note takes down what the attempt shows of its proxy. One that was called off shows nothing.
func (a *attempt) note(err error) {
	if a.proxy == nil {
		return
	}
	h := &a.proxy.health
	if a.proxy.owner != nil {
		h = &a.proxy.owner.health
	}
	f, failed := errors.AsType[*lifecycle.Failure](err)
	switch {
	case a.granted:
		h.granted()
	case !failed || f.Reason == lifecycle.ReasonClientGone || f.Reason == lifecycle.ReasonCanceled:
		a.elsewhere = false
	case a.elsewhere && ownFault(f):
		h.failed(f.Reason, time.Now())
	}
}

// ownFault says whether a failure that another egress might not have tells of the proxy and not of the
// target: one that can't be reached, or does not know its trade. A 502 or a timeout may be either.
func ownFault(f *lifecycle.Failure) bool {
	return f.Phase != lifecycle.PhaseProxy || f.Reason == lifecycle.ReasonProxyAuthRequired || f.Reason == lifecycle.ReasonProxyProtocolError
}

// failsAlone says whether a proxy phase failed so that another proxy might do better. A proxy that
// forbids has decided, and one whose target refused the connection has asked it.
func failsAlone(err error) bool {
	f, ok := errors.AsType[*lifecycle.Failure](err)
	if !ok {
		return false
	}
	switch f.Reason {
	case lifecycle.ReasonProxyAuthRequired, lifecycle.ReasonProxyProtocolError, lifecycle.ReasonProxyTimeout,
		lifecycle.ReasonSOCKSGeneralFailure, lifecycle.ReasonSOCKSNetworkUnreachable, lifecycle.ReasonSOCKSHostUnreachable,
		lifecycle.ReasonSOCKSTTLExpired, lifecycle.ReasonSOCKSUnsupported:
		return true
	case lifecycle.ReasonProxyRefused:
		return f.Status >= 500
	}
	return false
}
