package relay

import (
	"crypto/tls"
	"errors"
	"net"
	"syscall"
	"time"

	"wsproxy/lifecycle"
	"wsproxy/proxy/frame"
)

// ended reports a FIN, or a close_notify, from the leg that direction d reads. truncated says that a
// TLS leg ended without close_notify.
func (s *session) ended(d lifecycle.Direction, truncated bool) {
	f := &s.flows[d]
	leg := d.From()
	if s.leg(leg).cut {
		return // our own doing
	}
	// Writing had failed. With EPIPE a FIN had come first, and the reset only answered what we wrote.
	broken := s.leg(leg).broken
	if broken != nil && (s.closing || !errors.Is(broken, syscall.EPIPE)) {
		s.failed(leg, broken)
		return
	}
	f.reading = readDone
	s.changes++
	s.leg(leg).closeSeen = s.leg(leg).closeSeen || s.tunnel && broken == nil
	if s.closing {
		s.follow(f)
		return
	}
	toClient := leg == lifecycle.LegUpstream && s.framed(f)
	patience := s.policy.HalfClose
	if toClient || broken != nil {
		patience = s.policy.Close
	}
	inside := f.partial
	s.begin(lifecycle.Close{
		Cause: s.gone(leg), Initiator: initiator(leg), Code: lifecycle.NoCode,
		TLSTruncated: truncated, FrameTruncated: inside || f.held > 0,
	}, patience)
	if broken != nil {
		s.cut(leg)
	}
	switch {
	case inside:
		s.cut(d.To())
		s.farewell(leg)
	case toClient:
		s.lost(leg, "upstream gone")
		s.farewell(leg)
	default:
		f.fin()
	}
}

// gone is the cause where leg l has ended its side.
func (s *session) gone(l lifecycle.Leg) lifecycle.Cause {
	if s.tunnel {
		return lifecycle.CauseTunnelEnd
	}
	return by(l, lifecycle.CauseClientGone, lifecycle.CauseUpstreamGone)
}

// follow passes on the end of what f reads, where a closing is under way.
func (s *session) follow(f *flow) {
	switch {
	case f.finWanted || !s.writable(f.dir.To()):
	case f.partial:
		s.truncate(f)
	default:
		f.fin()
	}
}

// farewell shuts the writing side of a leg that has ended its own.
func (s *session) farewell(l lifecycle.Leg) {
	if s.writable(l) {
		s.to(l).fin()
	}
}

func (s *session) writable(l lifecycle.Leg) bool { return !s.leg(l).cut && s.leg(l).broken == nil }

// notWritten reports a write to leg l that failed, or an error found on it while nothing could be read
// from it. What it sent before it broke, perhaps a Close frame that tells why, is still to be read:
// only then is it given up.
func (s *session) notWritten(l lifecycle.Leg, err error) {
	state := s.leg(l)
	if state.cut {
		if s.over && s.framed(s.to(l)) { // we cut it, and a write was under way
			s.end.FrameTruncated = true
		}
		return
	}
	if state.broken == nil || errors.Is(state.broken, syscall.EPIPE) { // which says the least
		state.broken = err
	}
	f := s.to(l)
	f.partial = f.partial || !f.closed // how much of it went is not known
	f.mute()
	s.changes++
	switch {
	case s.from(l).reading == readDone || errors.Is(err, errSlow):
		s.failed(l, err)
	case s.deadline.IsZero():
		s.deadline = time.Now().Add(s.policy.Close)
	}
}

// failed reports that leg l's socket is broken and nothing more can be read from it, or that it is given
// up.
func (s *session) failed(l lifecycle.Leg, err error) {
	if s.leg(l).cut {
		return // our own doing
	}
	if s.closing {
		s.cut(l)
		s.follow(s.from(l))
		s.hurry()
		return
	}
	c := lifecycle.Close{Initiator: initiator(l), Code: lifecycle.NoCode}
	c.FrameTruncated = s.from(l).partial || s.from(l).held > 0
	switch {
	case errors.Is(err, errSlow):
		c.Cause, c.Leg, c.Initiator = lifecycle.CauseSlowPeer, l, lifecycle.InitiatorProxy
	case errors.Is(err, errSilent):
		c.Cause, c.Leg, c.Initiator = lifecycle.CausePongTimeout, l, lifecycle.InitiatorProxy
	case gaveUp(err):
		c.Cause = by(l, lifecycle.CauseClientTimeout, lifecycle.CauseUpstreamTimeout)
	case isTLS(err):
		c.Cause, c.Leg = lifecycle.CauseTLSError, l
	default:
		c.Cause = by(l, lifecycle.CauseClientReset, lifecycle.CauseUpstreamReset)
	}
	s.begin(c, s.policy.Close)
	s.cut(l)
	reset := c.Leg == lifecycle.LegNone
	switch {
	case reset && (l == lifecycle.LegClient || s.tunnel):
		s.cut(l.Other()) // a reset is passed on as one
	case reset:
		s.lost(l, "upstream reset")
	default:
		s.lost(l, "peer lost")
	}
}

// hurry gives what is left of a patient closing no longer than a Close handshake.
func (s *session) hurry() {
	if at := time.Now().Add(s.policy.Close); at.Before(s.deadline) {
		s.deadline = at
		s.changes++
	}
}

// lost tells the leg across from l that l is gone.
func (s *session) lost(l lifecycle.Leg, reason string) {
	other := l.Other()
	f := s.to(other)
	f.reading = readDone
	switch {
	case f.partial:
		s.truncate(f)
	case other == lifecycle.LegClient && s.policy.FIN:
		f.fin()
	default:
		s.tell(other, s.innocent(other), reason)
	}
}

// innocent is the close code for a leg whose other side is at fault.
func (s *session) innocent(l lifecycle.Leg) frame.CloseCode {
	if l == lifecycle.LegUpstream {
		return frame.CloseGoingAway
	}
	return s.policy.OnUpstreamLost
}

// tell sends a Close frame of ours. Its code is the connection's if it is the first.
func (s *session) tell(l lifecycle.Leg, code frame.CloseCode, reason string) {
	s.sendClose(l, code, reason)
	if s.told == lifecycle.LegNone {
		s.told = l
	}
}

// offence is what a leg did to have its connection ended.
type offence struct {
	cause  lifecycle.Cause
	code   frame.CloseCode // for the leg that did it,
	reason string          // and its reason
	other  string          // the reason for the innocent one
}

func violation(v frame.Violation) offence {
	return offence{lifecycle.CauseProtocolError, frame.CloseProtocolError, v.String(), "peer broke the protocol"}
}

func tooBig() offence {
	return offence{lifecycle.CauseMessageTooBig, frame.CloseMessageTooBig, "message too big", "peer sent too much at once"}
}

func tooMuch() offence {
	return offence{lifecycle.CauseMessageRate, frame.ClosePolicyViolation, "too much per second", "peer sent too much"}
}

// offended ends the connection because of what came in direction d.
func (s *session) offended(d lifecycle.Direction, o offence) {
	s.begin(lifecycle.Close{Cause: o.cause, Initiator: lifecycle.InitiatorProxy, Leg: d.From(), Code: lifecycle.NoCode}, s.policy.Close)
	s.tell(d.From(), o.code, o.reason)
	if d.To() == lifecycle.LegClient && s.policy.FIN {
		s.flows[d].fin()
		return
	}
	s.tell(d.To(), s.innocent(d.To()), o.other)
}

// stop ends the connection by our own decision. Only a forced stop ends one that is closing already.
func (s *session) stop(r lifecycle.StopRequest) {
	if r.Cause == lifecycle.CauseForcedStop {
		if !s.closing {
			s.begin(lifecycle.Close{Cause: r.Cause, Initiator: lifecycle.InitiatorProxy, Code: lifecycle.NoCode}, 0)
		}
		s.expire()
		return
	}
	if s.closing {
		return
	}
	s.begin(lifecycle.Close{Cause: r.Cause, Initiator: lifecycle.InitiatorProxy, Code: lifecycle.NoCode}, s.policy.Close)
	code, reason := clientWords(r)
	s.tell(lifecycle.LegClient, code, reason)
	s.tell(lifecycle.LegUpstream, frame.CloseGoingAway, reason)
}

// clientWords is what a client is told of our decision, unless the request says otherwise.
func clientWords(r lifecycle.StopRequest) (frame.CloseCode, string) {
	code, reason := frame.CloseServiceRestart, r.Cause.String()
	switch r.Cause {
	case lifecycle.CauseIdleTimeout:
		code, reason = frame.CloseGoingAway, "idle"
	case lifecycle.CauseMaxLifetime:
		reason = "max lifetime"
	case lifecycle.CauseAuthExpired:
		code, reason = 4401, "authentication expired"
	case lifecycle.CauseAdmin:
		code = frame.ClosePolicyViolation
	case lifecycle.CauseInternal:
		code, reason = frame.CloseInternalError, "internal error"
	}
	if r.Code != 0 {
		code = frame.CloseCode(r.Code)
	}
	if r.Reason != "" {
		reason = r.Reason
	}
	return code, reason
}

// fault ends the connection because of a fault of ours in direction d, which is not to be relayed any
// further. dirty says that the leg it writes to may have the beginning of a frame and not its end.
func (s *session) fault(d lifecycle.Direction, dirty bool) {
	if !s.closing {
		s.begin(internalFault, s.policy.Close)
	}
	f := &s.flows[d]
	f.reading = readDone
	if dirty && s.writable(d.To()) {
		s.truncate(f)
	}
	code, reason := clientWords(lifecycle.StopRequest{Cause: lifecycle.CauseInternal})
	s.tell(lifecycle.LegClient, code, reason)
	s.tell(lifecycle.LegUpstream, frame.CloseGoingAway, reason)
}

var internalFault = lifecycle.Close{Cause: lifecycle.CauseInternal, Initiator: lifecycle.InitiatorProxy, Code: lifecycle.NoCode}

// expire ends the closing, however far it came.
func (s *session) expire() {
	for d := range s.flows {
		if f := &s.flows[d]; f.partial && !f.finWanted && s.writable(f.dir.To()) {
			s.end.FrameTruncated = true
		}
	}
	s.over = true
	s.cut(lifecycle.LegClient)
	s.cut(lifecycle.LegUpstream)
}

func by(l lifecycle.Leg, client, upstream lifecycle.Cause) lifecycle.Cause {
	if l == lifecycle.LegClient {
		return client
	}
	return upstream
}

func initiator(l lifecycle.Leg) lifecycle.Initiator {
	if l == lifecycle.LegClient {
		return lifecycle.InitiatorClient
	}
	return lifecycle.InitiatorUpstream
}

// gaveUp reports that the system's TCP gave up on the peer; with the last ICMP message that it had got,
// if there was one.
func gaveUp(err error) bool {
	return errors.Is(err, syscall.ETIMEDOUT) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH)
}

// isTLS reports an error of the TLS layer itself rather than of the socket below it.
func isTLS(err error) bool {
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return true
	}
	if _, ok := errors.AsType[tls.AlertError](err); ok {
		return true
	}
	// crypto/tls reports a bad record as a local, a received alert as a remote error of net.OpError.
	e, ok := errors.AsType[*net.OpError](err)
	return ok && (e.Op == "local error" || e.Op == "remote error")
}
