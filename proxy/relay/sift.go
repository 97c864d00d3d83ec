package relay

import (
	"time"

	"wsproxy/lifecycle"
	"wsproxy/proxy/frame"
)

// sift judges b, read in direction d behind the held bytes of the last call. It moves what is to be
// passed on to the front of b and returns how much that is, and how many bytes at the end of b are
// the beginning of a header or a control frame, to be put in front of what is read next.
func (s *session) sift(d lifecycle.Direction, b []byte) (pass, held int) {
	f := &s.flows[d]
	if s.conn.Tapped() {
		s.overhear(f, b)
	}
	fresh, kept := len(b)-f.held, 0
	var counts, dropped frame.Counts
	in := 0
	for more := true; more; {
		var n int
		var keep bool
		switch c := &counts; f.reading {
		case readLast:
			n = int(min(f.scanner.Remaining(), uint64(len(b)-in)))
			f.scanner.Advance(uint64(n), c)
			pass += copy(b[pass:], b[in:in+n])
			in += n
			f.partial = s.framed(f) && !f.scanner.AtBoundary()
			f.drop()
			more = f.reading != readLast
		case readPass:
			var ev frame.Event
			n, ev = f.scanner.Scan(b[in:], c)
			if pass != in {
				copy(b[pass:], b[in:in+n])
			}
			pass, in = pass+n, in+n
			f.partial = s.framed(f) && !f.scanner.AtBoundary()
			n, keep, more = s.event(f, ev, b[in:], c)
			if keep {
				kept += n
			} else {
				pass += copy(b[pass:], b[in:in+n])
			}
			in += n
		default:
			var ev frame.Event
			n, ev = f.scanner.Scan(b[in:], &dropped)
			in += n
			n, _, more = s.event(f, ev, b[in:], &dropped)
			in += n
		}
	}
	f.held = len(b) - in
	s.heard(d, kept == 0 || pass > 0 || dropped.Bytes > 0)
	s.publish(d, uint64(fresh), &counts, dropped.Bytes)
	s.spend(d, fresh, &counts)
	return pass, f.held
}

// passing is how much of the frame under way in direction d will be passed on without being looked at.
func (s *session) passing(d lifecycle.Direction) uint64 {
	f := &s.flows[d]
	if f.reading > readLast || !s.framed(f) {
		return 0
	}
	return f.scanner.Remaining()
}

// advance accounts for n bytes of it that were passed on without sift.
func (s *session) advance(d lifecycle.Direction, n int) {
	f := &s.flows[d]
	var counts frame.Counts
	f.scanner.Advance(uint64(n), &counts)
	f.partial = !f.scanner.AtBoundary()
	if f.reading == readLast {
		f.drop()
	}
	s.heard(d, true)
	s.publish(d, uint64(n), &counts, 0)
	s.spend(d, n, &counts)
}

// heard notes that bytes came in direction d. Pongs for us alone are a sign of life, but no traffic.
func (s *session) heard(d lifecycle.Direction, traffic bool) {
	now := time.Now()
	if p := &s.legs[d].pulse; p.sign(s.clock(now)) {
		s.changes++
	}
	if traffic {
		s.active = now
		s.conn.Flow(d).Heard(s.step.Begun, now)
	}
}

// event handles what ended a scan in front of b. It returns how many bytes of b that settles, whether we
// keep them to ourselves, and whether to go on scanning.
func (s *session) event(f *flow, ev frame.Event, b []byte, c *frame.Counts) (n int, keep, more bool) {
	switch ev {
	case frame.EventControl:
		control := frame.ControlAt(b)
		if s.control(f, control) {
			return control.Size, true, true
		}
		c.Pass(control)
		return control.Size, false, true
	case frame.EventViolation:
		s.offends(f, violation(f.scanner.Violation()))
		return 0, false, true
	case frame.EventTooBig:
		s.offends(f, tooBig())
		return 0, false, true
	}
	return 0, false, false
}

// offends handles a frame that may not pass.
func (s *session) offends(f *flow, o offence) {
	if s.closing { // it has been answered, or nobody listens any more
		s.foul = true
		f.ignore()
		return
	}
	s.offended(f.dir, o)
}

// control notes a control frame. It reports whether that is for us alone.
func (s *session) control(f *flow, control frame.Control) (ours bool) {
	switch control.Opcode {
	case frame.OpcodeClose:
		s.closeSeen(f, control)
	case frame.OpcodePing:
		if f.reading == readPass {
			s.pinged(f.dir, control)
		}
	case frame.OpcodePong:
		return s.ponged(f.dir, control)
	}
	return false
}

// closeSeen notes a Close frame of an endpoint. The first of the connection is its cause.
func (s *session) closeSeen(f *flow, control frame.Control) {
	leg := f.dir.From()
	s.leg(leg).closeSeen = true
	if f.reading == readPass {
		f.closed = true
		f.drop()
	}
	var buf [frame.MaxControlPayload]byte
	code, _, _ := frame.ParseClose(control.Unmasked(&buf))
	if !s.closing {
		s.begin(lifecycle.Close{
			Cause: by(leg, lifecycle.CauseClientClose, lifecycle.CauseUpstreamClose), Initiator: initiator(leg), Code: int(code),
		}, s.policy.Close)
	} else {
		if s.theirs == lifecycle.NoCode {
			s.theirs = int(code)
		}
		if s.told == lifecycle.LegNone && s.end.Code == lifecycle.NoCode {
			s.setCode(int(code))
		}
		s.hurry()
	}
	s.letGo()
}

// publish adds what one chunk brought to the connection's counters. It is the only place that does,
// once per chunk, however many messages the chunk had.
func (s *session) publish(d lifecycle.Direction, read uint64, c *frame.Counts, dropped uint64) {
	f := s.conn.Flow(d)
	f.Bytes.Add(read)
	if dropped > 0 {
		f.Dropped.Add(dropped)
	}
	if c.Frames == 0 && c.Violations == [frame.ViolationKinds]uint64{} {
		return
	}
	add := func(to interface{ Add(uint64) uint64 }, n uint64) {
		if n > 0 {
			to.Add(n)
		}
	}
	add(&f.Frames, c.Frames)
	add(&f.Text, c.Text)
	add(&f.Binary, c.Binary)
	add(&f.Compressed, c.Compressed)
	add(&f.Ping, c.Ping)
	add(&f.Pong, c.Pong)
	add(&f.CloseFrames, c.CloseFrames)
	add(&f.MessageBytes, c.MessageBytes)
	for i, n := range c.Sizes {
		add(&f.Sizes[i], n)
	}
	for kind, n := range c.Violations {
		for range n {
			f.Violation(uint8(kind))
		}
	}
}
