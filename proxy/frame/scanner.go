package frame

import (
	"encoding/binary"
	"math"
)

// endless is what remains where nothing is parsed any more; every real length is below it.
const endless = math.MaxUint64

// Event is why a scan ended.
type Event uint8

const (
	EventMore      Event = iota // all that could be judged was; what is left is the beginning of a header or a control frame
	EventControl                // a whole control frame is next
	EventViolation              // the next frame breaks the rules
	EventTooBig                 // the next frame is beyond the limits
)

var eventNames = [...]string{"more", "control", "violation", "too big"}

func (e Event) String() string { return name(eventNames[:], e) }

// Scanner follows the frames of one direction of a connection. It has one user at a time.
type Scanner struct {
	remaining uint64    // payload of the current frame still to come
	size      uint64    // payload of the open message, its current frame included
	current   byte      // first byte of the current frame
	message   byte      // opcode and RSV1 of the open message, 0 if none is
	found     Violation // of the frame that stopped a strict scan
	rules     Rules
	limits    *Limits
}

// New returns a Scanner at the first byte behind the handshake.
func New(rules Rules) Scanner {
	s := Scanner{rules: rules}
	if rules.Mode == ModeOff {
		s.remaining = endless
	}
	return s
}

// Limit bounds what may pass. l is not changed, and may be shared by many; nil lifts all limits.
func (s *Scanner) Limit(l *Limits) { s.limits = l }

// Scan judges b and counts b[:n], which may be passed on. It is then
//
//   - EventMore: the caller keeps b[n:], fewer than MaxHeld bytes and often none, and scans again with
//     what it reads next put behind them.
//   - EventControl: b[n:] begins with a control frame, ControlAt(b[n:]). The caller either passes it
//     on and counts it with Counts.Pass, or keeps it to itself; the Scanner need not know which. It
//     scans again from behind the frame, b[n+Control.Size:].
//   - EventViolation, in ModeStrict: b[n:] begins with a frame that breaks the rules, Violation says
//     which. It has been counted. A further scan from there comes to the same end, unless Relax is
//     called.
//   - EventTooBig, in either mode: b[n:] begins with a frame that exceeds a limit. It is not
//     counted, and it comes to the same again unless Relax is called.
//
// Data frames never end a scan.
func (s *Scanner) Scan(b []byte, c *Counts) (n int, ev Event) {
	for {
		n += int(s.payload(uint64(len(b)-n), c))
		if s.message == 0 && s.remaining == 0 {
			n += s.walk(b[n:], c)
		}
		var header int
		if header, ev = s.frame(b[n:], c); header == 0 {
			c.Bytes += uint64(n)
			return n, ev
		}
		n += header
	}
}

// walk passes whole unfragmented messages of up to 64 KiB, which is what most traffic is made of, and
// stops in front of anything else. It is there for speed only: frame would come to the same, at several
// times the cost.
func (s *Scanner) walk(b []byte, c *Counts) (n int) {
	mask, rsv, head := byte(0), byte(0), 2
	if s.rules.Masked {
		mask, head = maskBit, 6
	}
	if s.rules.Deflate {
		rsv = rsv1Bit
	}
	most := int(min(s.limits.smaller(), math.MaxInt))
	// Sums instead of branches: how short messages mix can't be predicted.
	var short, nonEmpty, over64, long, text, compressed int
	for n+1 < len(b) {
		first, length := b[n], int(b[n+1]^mask)
		if kind := first &^ rsv; kind != finBit|byte(OpcodeText) && kind != finBit|byte(OpcodeBinary) {
			break
		}
		end := n + head + length
		if length <= length7 {
			if end > len(b) || length > most {
				break
			}
			short++
			nonEmpty += (length + 127) / 128
			over64 += (length + 63) / 128
		} else {
			if length != length16 || n+4 > len(b) {
				break
			}
			length = int(binary.BigEndian.Uint16(b[n+2:]))
			end = n + head + 2 + length
			if length <= length7 || end > len(b) || length > most {
				break
			}
			long++
			c.Sizes[sizeBucket(uint64(length))]++
		}
		text += int(first) & int(OpcodeText)
		compressed += int(first/rsv1Bit) & 1
		n = end
	}
	if n == 0 {
		return 0
	}
	messages := short + long
	c.Frames += uint64(messages)
	c.Text += uint64(text)
	c.Binary += uint64(messages - text)
	c.Compressed += uint64(compressed)
	c.MessageBytes += uint64(n - messages*head - 2*long)
	c.Sizes[0] += uint64(short - nonEmpty)
	c.Sizes[1] += uint64(nonEmpty - over64)
	c.Sizes[2] += uint64(over64)
	return n
}

// frame judges the frame at the start of b and, if it may pass, returns the size of its header. The
// size is 0 where the scan ends.
func (s *Scanner) frame(b []byte, c *Counts) (size int, ev Event) {
	h, ok := parseHeader(b)
	if !ok {
		return 0, EventMore
	}
	v := s.rules.judge(h, s.message != 0)
	strict := s.rules.Mode == ModeStrict
	if h.held() && (v == ViolationNone || !strict) {
		if len(b) < h.size+int(h.length) {
			return 0, EventMore
		}
		if v == ViolationNone && h.opcode() == OpcodeClose {
			v = judgeClose(ControlAt(b))
		}
	}
	if v != ViolationNone {
		if s.found == ViolationNone {
			c.Violations[v]++
		}
		if strict {
			s.found = v
			return 0, EventViolation
		}
	}
	s.found = ViolationNone
	if h.held() {
		return 0, EventControl
	}
	if s.limits.exceeded(h, s.size) {
		return 0, EventTooBig
	}
	s.begin(h, c)
	return h.size, EventMore
}

// begin takes up a frame that passes before its payload is there.
func (s *Scanner) begin(h header, c *Counts) {
	if h.length > maxLength {
		s.remaining = endless // where the next frame would begin is unknown
		return
	}
	s.current, s.remaining = h.first, h.length
	switch h.opcode() {
	case OpcodeText, OpcodeBinary:
		s.message = h.first & (opcodes | s.rules.allowedBits(h.opcode()))
		s.size = h.length
	case OpcodeContinuation:
		s.size += h.length
	}
	if h.length == 0 {
		s.end(c)
	}
}

// payload passes up to n bytes of the current frame's payload and returns how many.
func (s *Scanner) payload(n uint64, c *Counts) uint64 {
	if s.remaining == 0 {
		return 0
	}
	n = min(n, s.remaining)
	s.remaining -= n
	if s.remaining == 0 {
		s.end(c)
	}
	return n
}

// end counts the current frame, and the message if it was its last.
func (s *Scanner) end(c *Counts) {
	op := Opcode(s.current & opcodes)
	if op.control() {
		c.control(op)
		return
	}
	c.Frames++
	if op.reserved() || s.message == 0 || s.current&finBit == 0 {
		return
	}
	c.message(s.message, s.size)
	s.message, s.size = 0, 0
}

// Violation is what ended the last scan with EventViolation.
func (s *Scanner) Violation() Violation { return s.found }

// Relax turns ModeStrict into ModeObserve and lifts the limits. After a violation has been answered with a
// Close of ours the rest of that direction is read only for the Close that answers it.
func (s *Scanner) Relax() {
	s.limits = nil
	if s.rules.Mode == ModeStrict {
		s.rules.Mode = ModeObserve
	}
}

// Remaining is the payload of the current frame that is still to come, in bytes: what may pass
// without being scanned, if Advance is told. With ModeOff, and once the frames are lost, it has no end
// (it is above 1<<63).
func (s *Scanner) Remaining() uint64 { return s.remaining }

// Advance accounts for n bytes, at most Remaining, that passed without being scanned.
func (s *Scanner) Advance(n uint64, c *Counts) {
	if n > s.remaining {
		panic("frame: advanced beyond the current frame")
	}
	c.Bytes += s.payload(n, c)
}

// AtBoundary reports whether what passed so far ends with a whole frame, so that a frame of our own
// may follow it. It never does where nothing is parsed.
func (s *Scanner) AtBoundary() bool { return s.remaining == 0 }

// Lost reports that ModeObserve met a header that can't be parsed; the direction is as with ModeOff
// since.
func (s *Scanner) Lost() bool { return s.rules.Mode == ModeObserve && s.remaining > maxLength }
