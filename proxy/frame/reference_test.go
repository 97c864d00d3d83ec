package frame

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
)

// outcome is everything that a caller can see of a direction, however its bytes were cut.
type outcome struct {
	passed   []byte
	events   []string
	counts   Counts
	headers  []Header
	left     []byte // neither passed nor dropped
	boundary bool
	lost     bool
}

// caller is what a relay does around a Scanner, with its choices reduced to flags.
type caller struct {
	rules     Rules
	dropPongs bool
	relax     bool // go on after a violation, as when waiting for the answer to a Close
}

// refer reads stream as a whole, one frame after another, the slow and obvious way.
func (cl caller) refer(stream []byte) outcome {
	r := reference{caller: cl, rest: stream}
	r.boundary = true
	for r.next() {
	}
	r.left = r.rest
	return r.outcome
}

type reference struct {
	caller
	outcome
	rest    []byte
	open    Opcode // of the open message
	deflate bool
	size    int
	judged  bool // the next frame's violation has been counted
}

func (r *reference) next() bool {
	if r.rules.Mode == ModeOff || r.lost {
		r.pass(len(r.rest))
		r.boundary = false
		return false
	}
	head, length, ok := r.header()
	if !ok {
		return false
	}
	op, total := Opcode(r.rest[0]&15), uint64(head)+length
	small := slices.Contains([]Opcode{OpcodeClose, OpcodePing, OpcodePong}, op) && length <= 125
	whole := total <= uint64(len(r.rest)) && length < 1<<63
	broken := r.broken(head, length, whole && small)
	if small && !whole && (broken == 0 || r.rules.Mode != ModeStrict) {
		return false
	}
	if broken != 0 && !r.judged {
		r.counts.Violations[broken]++
	}
	r.judged = false
	if broken != 0 && r.rules.Mode == ModeStrict {
		r.events = append(r.events, broken.String())
		r.rules.Mode, r.judged = ModeObserve, true
		return r.relax
	}
	r.headers = append(r.headers, Header{Opcode: op, Bits: r.rest[0] & 0xf0, Masked: r.rest[1] >= 128, Length: length})
	switch {
	case broken == ViolationLengthOverflow:
		r.lost = true
	case small:
		r.control(op, head, int(total))
	default:
		r.data(op, length, total, whole)
	}
	return r.boundary
}

// header returns the sizes of the next frame's header and payload.
func (r *reference) header() (head int, length uint64, ok bool) {
	if len(r.rest) < 2 {
		return 0, 0, false
	}
	extra := map[byte]int{126: 2, 127: 8}[r.rest[1]&127]
	head = 2 + extra + int(r.rest[1]>>7)*4
	if len(r.rest) < head {
		return 0, 0, false
	}
	if extra == 0 {
		return head, uint64(r.rest[1] & 127), true
	}
	for _, b := range r.rest[2 : 2+extra] {
		length = length<<8 | uint64(b)
	}
	return head, length, true
}

// broken lists every rule that the next frame breaks and returns the first of them, or 0.
func (r *reference) broken(head int, length uint64, wholeControl bool) Violation {
	first, op := r.rest[0], Opcode(r.rest[0]&15)
	data, control := op == 1 || op == 2, op == 8 || op == 9 || op == 10
	masked := r.rest[1] >= 128
	known := data || control || op == 0
	rsv1Fine := data && r.rules.Deflate
	shortest := 2
	if length > 125 {
		shortest = 4
	}
	if length > 65535 {
		shortest = 10
	}
	if masked {
		shortest += 4
	}
	all := map[Violation]bool{
		ViolationLengthOverflow:         length >= 1<<63,
		ViolationMaskMissing:            r.rules.Masked && !masked,
		ViolationMaskUnexpected:         masked && !r.rules.Masked,
		ViolationReservedBits:           !r.rules.Lenient && (first>>4&3 != 0 || first&64 != 0 && !rsv1Fine),
		ViolationReservedOpcode:         !r.rules.Lenient && !known,
		ViolationControlFragmented:      control && first < 128,
		ViolationControlTooLong:         control && length > 125,
		ViolationUnexpectedContinuation: op == 0 && r.open == 0,
		ViolationUnfinishedMessage:      data && r.open != 0,
		ViolationLengthNotMinimal:       head > shortest,
	}
	if wholeControl && op == OpcodeClose {
		payload := r.clear(head, int(length))
		all[ViolationClosePayloadOneByte] = len(payload) == 1
		if len(payload) > 1 {
			code := int(payload[0])<<8 + int(payload[1])
			all[ViolationCloseCodeInvalid] = code < 1000 || code >= 1004 && code <= 1006 || code >= 1015 && code < 3000 || code > 4999
		}
	}
	for v := range violationCount {
		if all[v] {
			return v
		}
	}
	return 0
}

// clear is the payload of the next frame, unmasked.
func (r *reference) clear(head, length int) []byte {
	payload := bytes.Clone(r.rest[head : head+length])
	if r.rest[1] >= 128 {
		for i := range payload {
			payload[i] ^= r.rest[head-4+i%4]
		}
	}
	return payload
}

func (r *reference) control(op Opcode, head, total int) {
	drop := r.dropPongs && op == OpcodePong
	r.events = append(r.events, told(op, r.clear(head, total-head), drop))
	if drop {
		r.rest = r.rest[total:]
		return
	}
	r.pass(total)
	r.count(op)
}

func (r *reference) data(op Opcode, length, total uint64, whole bool) {
	first := r.rest[0]
	r.pass(int(min(total, uint64(len(r.rest)))))
	r.boundary = whole
	switch op {
	case OpcodeText, OpcodeBinary:
		r.open, r.deflate, r.size = op, first&64 != 0 && r.rules.Deflate, 0
		fallthrough
	case OpcodeContinuation:
		r.size += int(length)
	}
	if !whole {
		return
	}
	r.count(op)
	if op > OpcodeBinary || first < 128 || r.open == 0 {
		return
	}
	r.counts.Text += map[Opcode]uint64{OpcodeText: 1}[r.open]
	r.counts.Binary += map[Opcode]uint64{OpcodeBinary: 1}[r.open]
	r.counts.Compressed += map[bool]uint64{true: 1}[r.deflate]
	r.counts.MessageBytes += uint64(r.size)
	bounds := SizeBounds()
	bucket, _ := slices.BinarySearch(bounds[:], uint64(r.size))
	r.counts.Sizes[bucket]++
	r.open = 0
}

func (r *reference) count(op Opcode) {
	r.counts.Frames++
	r.counts.Ping += map[Opcode]uint64{OpcodePing: 1}[op]
	r.counts.Pong += map[Opcode]uint64{OpcodePong: 1}[op]
	r.counts.CloseFrames += map[Opcode]uint64{OpcodeClose: 1}[op]
}

func (r *reference) pass(n int) {
	r.passed = append(r.passed, r.rest[:n]...)
	r.counts.Bytes += uint64(n)
	r.rest = r.rest[n:]
}

func told(op Opcode, payload []byte, dropped bool) string {
	return fmt.Sprintf("%s %x dropped=%t", op, payload, dropped)
}

// relay sends stream through a Scanner in the pieces that cuts makes of it.
func (cl caller) relay(stream []byte, cuts *rand.Rand) (outcome, error) {
	var (
		o    outcome
		s    = New(cl.rules)
		held []byte
	)
	for len(stream) > 0 {
		if most := min(s.Remaining(), uint64(len(stream))); most > 0 && cuts.IntN(4) == 0 {
			k := cuts.IntN(int(most)) + 1 // as splice would
			s.Advance(uint64(k), &o.counts)
			o.passed = append(o.passed, stream[:k]...)
			stream = stream[k:]
			continue
		}
		k := cuts.IntN(min(len(stream), 1<<cuts.IntN(12))) + 1
		b := append(held, stream[:k]...)
		stream = stream[k:]
		o.headers = slices.AppendSeq(o.headers, Headers(b, s.Remaining()))
		rest, stopped, err := cl.scan(&s, b, &o)
		if err != nil {
			return o, err
		}
		held = rest
		if stopped {
			break
		}
	}
	o.left = append(held, stream...)
	o.boundary, o.lost = s.AtBoundary(), s.Lost()
	return o, nil
}

// scan is a relay's work on what one read brought.
func (cl caller) scan(s *Scanner, b []byte, o *outcome) (rest []byte, stopped bool, err error) {
	for {
		n, ev := s.Scan(b, &o.counts)
		o.passed = append(o.passed, b[:n]...)
		b = b[n:]
		switch ev {
		case EventMore:
			if len(b) >= MaxHeld {
				return b, false, fmt.Errorf("got %d bytes to hold, want fewer than %d", len(b), MaxHeld)
			}
			return b, false, nil
		case EventControl:
			f := ControlAt(b)
			var buf [MaxControlPayload]byte
			drop := cl.dropPongs && f.Opcode == OpcodePong
			o.events = append(o.events, told(f.Opcode, f.Unmasked(&buf), drop))
			if !drop {
				o.counts.Pass(f)
				o.passed = append(o.passed, b[:f.Size]...)
			}
			b = b[f.Size:]
		case EventViolation:
			o.events = append(o.events, s.Violation().String())
			if !cl.relax {
				return b, true, nil
			}
			s.Relax()
		}
	}
}
