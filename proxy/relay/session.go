package relay

import (
	"context"
	"math/rand/v2"
	"time"

	"wsproxy/lifecycle"
	"wsproxy/proxy/frame"
)

// session is the logic of one pair. It does no I/O: an engine asks it what to do next in each
// direction and reports what came of it. Its methods are called by one goroutine at a time.
type session struct {
	conn   *lifecycle.Connection
	policy *Policy
	off    bool // frames are not looked at
	tunnel bool // nor is it a WebSocket
	flows  [2]flow
	legs   [2]legState // by the direction that reads it

	spending *spending // nil without limits

	closing  bool
	end      lifecycle.Close
	told     lifecycle.Leg // whom we told first: that Close counts as the first of ours
	ours     bool          // end.Code is of a Close frame of ours
	theirs   int           // code of an endpoint's first Close while closing; it counts if none of ours goes out
	deadline time.Time     // of the closing, or for a broken leg to tell why it broke
	lifetime time.Time     // end of max_lifetime, zero without one
	active   time.Time     // when bytes of an endpoint last came, or were last taken by a peer that had kept them waiting
	over     bool          // the deadline passed: whatever is left is cut
	foul     bool          // the closing itself was not by the rules
	changes  int           // counts what may concern the other direction, or the timer

	step    *lifecycle.Step // transfer, then close
	stepCtx context.Context // carries values only; nothing waits on it
}

// legState is what is known of one socket.
type legState struct {
	closeSeen bool  // it sent a Close frame; of a tunnel, its FIN
	cut       bool  // to be reset, or reset already
	broken    error // of the first write that failed
	pulse     pulse
}

// reading is what becomes of the bytes that a direction reads.
type reading uint8

const (
	readPass reading = iota // they are passed on
	readLast                // passed on up to the end of the frame, then dropped
	readDrop                // dropped; only a Close frame is looked for
	readDone                // there are no more
)

// flow is one direction: bytes read from one leg and written to the other.
type flow struct {
	dir     lifecycle.Direction
	scanner frame.Scanner
	reading reading
	held    int  // bytes of a header or control frame that the engine keeps for the next sift
	partial bool // what was passed on ends inside a frame; never so where frames can't be seen

	inject    []byte // a Close frame of ours, for the next boundary
	code      int    // its code
	closed    bool   // a Close frame was passed on or injected: nothing may follow it
	finWanted bool   // shut the writing side once everything is written
	finSent   bool
}

// action is what an engine does next in a direction.
type action uint8

const (
	actRead   action = iota // read, sift, write what passes; or report ended, failed
	actInject               // write flow.inject, report injected
	actPing                 // write what session.ping returns, if anything
	actFIN                  // shut the writing side, report finished
	actWait                 // nothing, until something else changes the session
	actStop                 // this direction is over
)

func newSession(p *Pair) *session {
	mode := p.Framing
	if p.Tunnel {
		mode = frame.ModeOff
	}
	s := &session{conn: p.Conn, policy: p.Policy.complete(), off: mode == frame.ModeOff, tunnel: p.Tunnel, theirs: lifecycle.NoCode}
	s.end.Code = lifecycle.NoCode
	var limits *frame.Limits
	if s.policy.Sizes != (frame.Limits{}) {
		limits = &s.policy.Sizes
	}
	for d := range s.flows {
		f := &s.flows[d]
		f.dir = lifecycle.Direction(d)
		f.scanner = frame.New(frame.Rules{
			Masked: f.dir == lifecycle.Upstream, Deflate: p.Deflate, Lenient: p.Lenient, Mode: mode,
		})
		f.scanner.Limit(limits)
	}
	s.spending = newSpending(&s.policy.Rates)
	s.stepCtx, s.step = p.Conn.Begin(lifecycle.NewContext(context.Background(), p.Conn), &lifecycle.Step{Phase: lifecycle.PhaseTransfer, Begun: p.Begun})
	s.active = s.step.Begun
	for d := range s.legs {
		s.legs[d].pulse.heard = s.clock(s.active)
	}
	if m := s.policy.MaxLifetime; m > 0 {
		// Up to a tenth is taken off by chance, so that connections opened together don't end together.
		s.lifetime = s.step.Begun.Add(m - rand.N(m/10+1))
	}
	return s
}

// next says what to do in direction d. The engine asks again after each action.
func (s *session) next(d lifecycle.Direction) action {
	f := &s.flows[d]
	if s.over {
		return actStop
	}
	if f.inject != nil && f.reading == readDone && f.partial {
		s.truncate(f)
	}
	switch {
	case f.inject != nil && !f.partial:
		return actInject
	case s.pingDue(f) && !f.partial:
		return actPing
	case f.finWanted && !f.finSent && f.inject == nil:
		return actFIN
	case s.throttled(d):
		return actWait
	case f.reading != readDone:
		return actRead
	case s.flows[1-d].idle():
		return actStop
	}
	return actWait
}

// idle reports that nothing is left to read and nothing to write.
func (f *flow) idle() bool {
	return f.reading == readDone && f.inject == nil && (!f.finWanted || f.finSent)
}

// framed reports whether the direction's frames can be seen, so that one of ours can stand among them.
func (s *session) framed(f *flow) bool { return !s.off && !f.scanner.Lost() }

func (s *session) leg(l lifecycle.Leg) *legState {
	if l == lifecycle.LegClient {
		return &s.legs[lifecycle.Upstream]
	}
	return &s.legs[lifecycle.Downstream]
}

// to is the flow that writes to leg l; from is the one that reads it.
func (s *session) to(l lifecycle.Leg) *flow {
	if l == lifecycle.LegClient {
		return &s.flows[lifecycle.Downstream]
	}
	return &s.flows[lifecycle.Upstream]
}

func (s *session) from(l lifecycle.Leg) *flow { return s.to(l.Other()) }

// drop stops passing on what f reads, at the end of the frame that is under way.
func (f *flow) drop() {
	switch {
	case f.reading == readDone:
	case !f.partial:
		f.ignore()
	default:
		f.reading = readLast
	}
}

// sendClose has a Close frame of ours written to leg l at the next boundary. In a direction whose
// frames can't be seen the end is a FIN, and behind a Close frame nothing more is sent.
func (s *session) sendClose(l lifecycle.Leg, code frame.CloseCode, reason string) {
	s.changes++
	f := s.to(l)
	switch {
	case !s.writable(l) || f.closed || f.finWanted || f.inject != nil:
	case !s.framed(f):
		f.fin()
	default:
		if !code.Valid() {
			code = frame.CloseNone
		}
		f.drop()
		f.inject, f.code = frame.AppendClose(nil, code, reason, maskFor(l)), int(code)
	}
}

// fin ends the writing side of f with what was written so far. Behind a FIN nothing can follow, so
// whatever f reads from then on is dropped.
func (f *flow) fin() {
	f.finWanted = true
	f.ignore()
}

// ignore drops what f reads from now on, be it the rest of a frame.
func (f *flow) ignore() {
	if f.reading != readDone {
		f.reading = readDrop
		f.scanner.Relax()
	}
}

// cut has leg l reset. Nothing more is read from it or written to it.
func (s *session) cut(l lifecycle.Leg) {
	s.changes++
	s.leg(l).cut = true
	s.from(l).reading = readDone
	s.to(l).mute()
}

// mute ends all writing of f; what it reads is dropped.
func (f *flow) mute() {
	f.inject, f.finWanted = nil, false
	f.ignore()
}

// truncate cuts the leg that f writes to, because a frame to it was left unfinished.
func (s *session) truncate(f *flow) {
	s.end.FrameTruncated = true
	s.cut(f.dir.To())
}

// injected reports that flow.inject was written.
func (s *session) injected(d lifecycle.Direction) {
	f := &s.flows[d]
	if f.inject == nil {
		return // the leg broke or was cut meanwhile
	}
	s.say(d, f.inject)
	f.inject, f.closed = nil, true
	if s.end.Code == lifecycle.NoCode || s.ours && s.told == d.To() {
		s.ours = true
		s.setCode(f.code)
	}
	s.letGo()
}

func (s *session) setCode(code int) {
	s.end.Code = code
	s.conn.SetClose(s.end)
}

// finished reports that the writing side of direction d was shut.
func (s *session) finished(d lifecycle.Direction) { s.flows[d].finSent = true }

// taken reports that the peer of direction d has taken what it had kept waiting: until now nobody could
// say that the connection was idle, or that the other leg was silent.
func (s *session) taken(d lifecycle.Direction, at time.Time) {
	s.active = at
	s.legs[d].pulse.resume(s.clock(at))
}

// letGo shuts the client's side as soon as its close handshake is complete: a server ends the TCP
// connection first (RFC 6455 §7.1.1). From the upstream, the server there, the FIN is awaited.
func (s *session) letGo() {
	s.changes++
	if f := s.to(lifecycle.LegClient); f.closed && s.leg(lifecycle.LegClient).closeSeen && s.writable(lifecycle.LegClient) {
		f.fin()
	}
}

// begin starts the closing. The first cause is the connection's cause.
func (s *session) begin(c lifecycle.Close, patience time.Duration) {
	s.changes++
	s.closing, s.end = true, c
	s.conn.SetClose(c)
	s.step.End(s.stepCtx, nil)
	s.stepCtx, s.step = s.conn.Begin(s.stepCtx, &lifecycle.Step{Phase: lifecycle.PhaseClose, Begun: s.step.Ended}) // without a gap
	s.deadline = s.step.Begun.Add(patience)
}

// done ends the connection, both of whose sockets are closed.
func (s *session) done() lifecycle.Close {
	if !s.closing { // an engine gave up without a cause: our own fault
		s.begin(internalFault, 0)
	}
	if s.end.Code == lifecycle.NoCode {
		s.end.Code = s.theirs
	}
	cut := s.over || s.end.FrameTruncated || s.flows[0].partial || s.flows[1].partial
	s.end.Clean = s.legs[0].closeSeen && s.legs[1].closeSeen && !cut && !s.foul
	s.conn.SetClose(s.end)
	s.step.End(s.stepCtx, nil)
	s.conn.Closed(s.end)
	return s.end
}
