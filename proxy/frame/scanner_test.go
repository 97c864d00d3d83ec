package frame

import (
	"strings"
	"testing"
	"unsafe"
)

const (
	text         = finBit | byte(OpcodeText)
	binaryData   = finBit | byte(OpcodeBinary)
	beginText    = byte(OpcodeText)
	continuation = byte(OpcodeContinuation)
	lastPart     = finBit | byte(OpcodeContinuation)
	closing      = finBit | byte(OpcodeClose)
	ping         = finBit | byte(OpcodePing)
	pong         = finBit | byte(OpcodePong)
)

func payload(n int) []byte { return []byte(strings.Repeat("x", n)) }

func frames(all ...wire) (b []byte) {
	for _, w := range all {
		b = w.append(b)
	}
	return b
}

var ruleTests = []struct {
	name   string
	rules  Rules // Mode is set by the tests
	before []wire
	frame  wire
	want   Violation
}{
	{name: "text", frame: wire{first: text, payload: payload(5)}},
	{name: "binary", frame: wire{first: binaryData, payload: payload(126)}},
	{name: "empty text", frame: wire{first: text}},
	{name: "unused opcode 3", frame: wire{first: finBit | 3}, want: ViolationReservedOpcode},
	{name: "unused opcode 7", frame: wire{first: finBit | 7, payload: payload(9)}, want: ViolationReservedOpcode},
	{name: "unused control opcode 11", frame: wire{first: finBit | 11}, want: ViolationReservedOpcode},
	{name: "unused control opcode 15", frame: wire{first: finBit | 15}, want: ViolationReservedOpcode},
	{name: "opcode 3 with an extension", rules: Rules{Lenient: true}, frame: wire{first: finBit | 3, payload: payload(3)}},
	{name: "opcode 11 with an extension, long", rules: Rules{Lenient: true}, frame: wire{first: 11, payload: payload(300)}},

	{name: "masked from a client", rules: Rules{Masked: true}, frame: wire{first: text, masked: true, payload: payload(5)}},
	{name: "unmasked from a client", rules: Rules{Masked: true}, frame: wire{first: text, payload: payload(5)}, want: ViolationMaskMissing},
	{name: "unmasked ping from a client", rules: Rules{Masked: true}, frame: wire{first: ping}, want: ViolationMaskMissing},
	{name: "unmasked empty text from a client", rules: Rules{Masked: true}, frame: wire{first: text}, want: ViolationMaskMissing},
	{name: "masked from a server", frame: wire{first: text, masked: true, payload: payload(5)}, want: ViolationMaskUnexpected},
	{name: "mask is judged with an extension", rules: Rules{Lenient: true}, frame: wire{first: finBit | 3, masked: true}, want: ViolationMaskUnexpected},

	{name: "RSV1", frame: wire{first: text | 0x40}, want: ViolationReservedBits},
	{name: "RSV2", frame: wire{first: text | 0x20}, want: ViolationReservedBits},
	{name: "RSV3", frame: wire{first: text | 0x10}, want: ViolationReservedBits},
	{name: "RSV1 with deflate", rules: Rules{Deflate: true}, frame: wire{first: text | 0x40, payload: payload(5)}},
	{name: "no RSV1 with deflate", rules: Rules{Deflate: true}, frame: wire{first: text, payload: payload(5)}},
	{name: "RSV2 with deflate", rules: Rules{Deflate: true}, frame: wire{first: text | 0x60}, want: ViolationReservedBits},
	{name: "RSV1 on a continuation", rules: Rules{Deflate: true}, before: []wire{{first: beginText | 0x40}}, frame: wire{first: lastPart | 0x40}, want: ViolationReservedBits},
	{name: "RSV1 on a ping", rules: Rules{Deflate: true}, frame: wire{first: ping | 0x40}, want: ViolationReservedBits},
	{name: "RSV2 with an extension", rules: Rules{Lenient: true}, frame: wire{first: text | 0x20}},
	{name: "RSV1 on a ping with an extension", rules: Rules{Lenient: true}, frame: wire{first: ping | 0x40}},

	{name: "ping", frame: wire{first: ping, payload: payload(125)}},
	{name: "pong", frame: wire{first: pong}},
	{name: "ping too long", frame: wire{first: ping, payload: payload(126)}, want: ViolationControlTooLong},
	{name: "close too long", frame: wire{first: closing, payload: payload(70000)}, want: ViolationControlTooLong},
	{name: "ping without FIN", frame: wire{first: byte(OpcodePing)}, want: ViolationControlFragmented},
	{name: "close without FIN", frame: wire{first: byte(OpcodeClose)}, want: ViolationControlFragmented},
	{name: "ping inside a message", before: []wire{{first: beginText}}, frame: wire{first: ping}},
	{name: "control fragmented is judged with an extension", rules: Rules{Lenient: true}, frame: wire{first: byte(OpcodePong)}, want: ViolationControlFragmented},

	{name: "continuation", before: []wire{{first: beginText}}, frame: wire{first: lastPart, payload: payload(5)}},
	{name: "continuation of nothing", frame: wire{first: lastPart}, want: ViolationUnexpectedContinuation},
	{name: "continuation of a whole message", before: []wire{{first: text}}, frame: wire{first: continuation}, want: ViolationUnexpectedContinuation},
	{name: "continuation of an ended message", before: []wire{{first: beginText}, {first: lastPart}}, frame: wire{first: lastPart}, want: ViolationUnexpectedContinuation},
	{name: "text inside a message", before: []wire{{first: beginText}}, frame: wire{first: text}, want: ViolationUnfinishedMessage},
	{name: "binary inside a message", before: []wire{{first: beginText}, {first: continuation}}, frame: wire{first: byte(OpcodeBinary), payload: payload(5)}, want: ViolationUnfinishedMessage},
	{name: "an extension's frame inside a message", rules: Rules{Lenient: true}, before: []wire{{first: beginText}, {first: finBit | 4}}, frame: wire{first: lastPart}},

	{name: "125 in two bytes", frame: wire{first: text, form: 2, payload: payload(125)}, want: ViolationLengthNotMinimal},
	{name: "126 in two bytes", frame: wire{first: text, form: 2, payload: payload(126)}},
	{name: "65535 in two bytes", frame: wire{first: text, payload: payload(65535)}},
	{name: "65535 in eight bytes", frame: wire{first: text, form: 8, payload: payload(65535)}, want: ViolationLengthNotMinimal},
	{name: "65536 in eight bytes", frame: wire{first: text, payload: payload(65536)}},
	{name: "0 in eight bytes", frame: wire{first: text, form: 8}, want: ViolationLengthNotMinimal},
	{name: "ping of 5 in two bytes", frame: wire{first: ping, form: 2, payload: payload(5)}, want: ViolationLengthNotMinimal},
	{name: "ping of 125 in eight bytes, masked", rules: Rules{Masked: true}, frame: wire{first: ping, masked: true, form: 8, payload: payload(125)}, want: ViolationLengthNotMinimal},
	{name: "63 bits", frame: wire{first: text, claim: 1<<63 - 1}},
	{name: "64 bits", frame: wire{first: text, claim: 1 << 63}, want: ViolationLengthOverflow},
	{name: "64 bits, ping", frame: wire{first: ping, claim: 1<<64 - 1}, want: ViolationLengthOverflow},
	{name: "64 bits come before everything else", rules: Rules{Masked: true}, frame: wire{first: 0x7f, claim: 1 << 63}, want: ViolationLengthOverflow},

	{name: "close", frame: wire{first: closing}},
	{name: "close 1000 with reason", frame: wire{first: closing, payload: []byte("\x03\xe8bye")}},
	{name: "close 1000, masked", rules: Rules{Masked: true}, frame: wire{first: closing, masked: true, payload: []byte{0x03, 0xe8}}},
	{name: "close of one byte", frame: wire{first: closing, payload: []byte{0x03}}, want: ViolationClosePayloadOneByte},
	{name: "close 1005", frame: wire{first: closing, payload: []byte{0x03, 0xed}}, want: ViolationCloseCodeInvalid},
	{name: "close 1005, masked", rules: Rules{Masked: true}, frame: wire{first: closing, masked: true, payload: []byte{0x03, 0xed}}, want: ViolationCloseCodeInvalid},
}

func TestStrict(t *testing.T) {
	for _, test := range ruleTests {
		t.Run(test.name, func(t *testing.T) {
			before := frames(test.before...)
			var c Counts
			s, n, ev := scanTo(test.rules, before, test.frame.bytes(), &c)
			wantEvent := EventMore
			switch {
			case test.want != ViolationNone:
				wantEvent = EventViolation
			case Opcode(test.frame.first & opcodes).control():
				wantEvent = EventControl
			}
			if ev != wantEvent || s.Violation() != test.want {
				t.Errorf("got %v, %v, want %v, %v", ev, s.Violation(), wantEvent, test.want)
			}
			if ev != EventMore && n != len(before) {
				t.Errorf("got %d bytes passed, want the %d in front of the frame", n, len(before))
			}
			requireViolation(t, c, test.want)
		})
	}
}

func TestObserve(t *testing.T) {
	for _, test := range ruleTests {
		t.Run(test.name, func(t *testing.T) {
			test.rules.Mode = ModeObserve
			b := frames(test.before...)
			frame := test.frame.bytes()
			var c Counts
			s, n, ev := scanTo(test.rules, b, frame, &c)
			want := len(b) + len(frame)
			if ev == EventControl {
				want = len(b)
			}
			if ev == EventViolation || n != want {
				t.Errorf("got %d bytes passed and %v, want %d and no violation", n, ev, want)
			}
			if lost := test.want == ViolationLengthOverflow; s.Lost() != lost {
				t.Errorf("got lost %t, want %t", s.Lost(), lost)
			}
			requireViolation(t, c, test.want)
		})
	}
}

// scanTo scans before, which has data frames only, and frame as one chunk.
func scanTo(rules Rules, before, frame []byte, c *Counts) (s Scanner, n int, ev Event) {
	s = New(rules)
	n, ev = s.Scan(append(before, frame...), c)
	return s, n, ev
}

func requireViolation(t *testing.T, c Counts, want Violation) {
	t.Helper()
	for kind, n := range c.Violations {
		wantCount := uint64(0)
		if Violation(kind) == want && want != ViolationNone {
			wantCount = 1
		}
		if n != wantCount {
			t.Errorf("got %s counted %d times, want %d", Violation(kind), n, wantCount)
		}
	}
}

func TestStrictStopsForGood(t *testing.T) {
	s, c := New(Rules{}), Counts{}
	b := frames(wire{first: text, payload: payload(3)}, wire{first: finBit | 3}, wire{first: text})
	n, _ := s.Scan(b, &c)
	for range 3 {
		again, ev := s.Scan(b[n:], &c)
		if again != 0 || ev != EventViolation || s.Violation() != ViolationReservedOpcode {
			t.Fatalf("got %d, %v, %v, want 0, violation, reserved_opcode", again, ev, s.Violation())
		}
	}
	if got := c.Violations[ViolationReservedOpcode]; got != 1 {
		t.Errorf("got %d violations, want 1", got)
	}
}

func TestViolationIsToldBeforeThePayloadIsThere(t *testing.T) {
	tests := []struct {
		name  string
		frame wire
		want  Violation
	}{
		{"text", wire{first: text, payload: payload(50)}, ViolationMaskMissing},
		{"ping", wire{first: ping, payload: payload(50)}, ViolationMaskMissing},
		{"fragmented close", wire{first: byte(OpcodeClose), masked: true, payload: payload(50)}, ViolationControlFragmented},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := test.frame.bytes()
			s, c := New(Rules{Masked: true}), Counts{}
			if n, ev := s.Scan(b[:len(b)-50], &c); n != 0 || ev != EventViolation || s.Violation() != test.want {
				t.Errorf("got %d, %v, %v, want 0, violation, %v", n, ev, s.Violation(), test.want)
			}
		})
	}
}

func TestRelaxGoesOnToTheClose(t *testing.T) {
	s, c := New(Rules{Masked: true}), Counts{}
	b := frames(wire{first: text, payload: payload(3)}, wire{first: finBit | 3, masked: true}, wire{first: closing, masked: true})
	n, _ := s.Scan(b, &c)
	s.Relax()
	b = b[n:]
	n, ev := s.Scan(b, &c)
	if ev != EventControl || ControlAt(b[n:]).Opcode != OpcodeClose {
		t.Fatalf("got %v at %d, want the close", ev, n)
	}
	if m, o := c.Violations[ViolationMaskMissing], c.Violations[ViolationReservedOpcode]; m != 1 || o != 1 {
		t.Errorf("got %d and %d violations, want 1 of each", m, o)
	}
}

func TestOffCountsBytesOnly(t *testing.T) {
	s, c := New(Rules{Masked: true, Mode: ModeOff}), Counts{}
	for range 2 {
		if n, ev := s.Scan(payload(1000), &c); n != 1000 || ev != EventMore {
			t.Fatalf("got %d, %v, want 1000, more", n, ev)
		}
	}
	s.Advance(1<<40, &c)
	if want := (Counts{Bytes: 2000 + 1<<40}); c != want {
		t.Errorf("got %+v, want %+v", c, want)
	}
	if s.AtBoundary() || s.Lost() {
		t.Errorf("got boundary %t, lost %t, want neither", s.AtBoundary(), s.Lost())
	}
}

func TestLostIsAsOff(t *testing.T) {
	s, c := New(Rules{Mode: ModeObserve}), Counts{}
	b := frames(wire{first: text, payload: payload(3)}, wire{first: text, claim: 1 << 63}, wire{first: text})
	if n, _ := s.Scan(b, &c); n != len(b) || !s.Lost() || s.AtBoundary() {
		t.Fatalf("got %d of %d bytes, lost %t, boundary %t, want all, lost, none", n, len(b), s.Lost(), s.AtBoundary())
	}
	s.Advance(1000, &c)
	if c.Frames != 1 || c.Bytes != uint64(len(b))+1000 {
		t.Errorf("got %d frames, %d bytes, want 1, %d", c.Frames, c.Bytes, len(b)+1000)
	}
}

func TestBoundary(t *testing.T) {
	b := frames(wire{first: beginText, masked: true, payload: payload(200)}, wire{first: lastPart, masked: true, payload: payload(1)})
	first := 8 + 200
	for _, step := range []struct {
		name      string
		end       int
		n         int
		remaining uint64
	}{
		{"nothing", 0, 0, 0},
		{"half a header", 5, 0, 0},
		{"a header", 8, 8, 200},
		{"half a payload", 100, 100, 108},
		{"a frame inside a message", first, first, 0},
		{"and half a header", first + 3, first, 0},
		{"the message", len(b), len(b), 0},
	} {
		s, c := New(Rules{Masked: true}), Counts{}
		n, ev := s.Scan(b[:step.end], &c)
		if n != step.n || ev != EventMore || s.Remaining() != step.remaining || s.AtBoundary() != (step.remaining == 0) {
			t.Errorf("%s: got %d, %v, remaining %d, boundary %t, want %d, more, %d", step.name, n, ev, s.Remaining(), s.AtBoundary(), step.n, step.remaining)
		}
	}
}

func TestAdvance(t *testing.T) {
	s, c := New(Rules{}), Counts{}
	s.Scan(wire{first: text, claim: 1 << 20}.bytes(), &c)
	s.Advance(1<<20-1, &c)
	if c.Frames != 0 || c.Text != 0 || s.AtBoundary() {
		t.Errorf("got %d frames, %d messages before the last byte, want none", c.Frames, c.Text)
	}
	s.Advance(1, &c)
	if c.Frames != 1 || c.Text != 1 || c.MessageBytes != 1<<20 || c.Bytes != 10+1<<20 || !s.AtBoundary() {
		t.Errorf("got %+v, want one message of 1 MiB", c)
	}
	defer func() {
		if recover() == nil {
			t.Error("got no panic beyond the frame, want one")
		}
	}()
	s.Advance(1, &c)
}

func TestHeldBytesAreBounded(t *testing.T) {
	rules := Rules{Masked: true, Mode: ModeObserve}
	b := wire{first: ping, masked: true, form: 8, payload: payload(MaxControlPayload)}.bytes()
	if len(b) != MaxHeld {
		t.Fatalf("got a longest frame of %d bytes, want %d", len(b), MaxHeld)
	}
	s, c := New(rules), Counts{}
	for end := range b {
		if n, ev := s.Scan(b[:end], &c); n != 0 || ev != EventMore {
			t.Fatalf("%d bytes: got %d, %v, want 0, more", end, n, ev)
		}
	}
	if _, ev := s.Scan(b, &c); ev != EventControl {
		t.Errorf("got %v, want control", ev)
	}
}

func TestScannerIsSmall(t *testing.T) {
	if got := unsafe.Sizeof(Scanner{}); got > 32 {
		t.Errorf("got a Scanner of %d bytes, want at most 32: there are two for each idle connection", got)
	}
}
