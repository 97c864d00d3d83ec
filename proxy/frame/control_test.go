package frame

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"
)

var testMask = [4]byte{0x11, 0x22, 0x33, 0x44}

func TestAppendControl(t *testing.T) {
	tests := []struct {
		name string
		got  []byte
		want string
	}{
		{"ping", AppendPing(nil, []byte("ab"), nil), "\x89\x02ab"},
		{"masked ping", AppendPing(nil, []byte("\x00\x00\x00\x00\x00"), &testMask), "\x89\x85\x11\x22\x33\x44\x11\x22\x33\x44\x11"},
		{"pong", AppendPong([]byte("x"), nil, nil), "x\x8a\x00"},
		{"long ping is cut", AppendPing(nil, payload(200), nil), "\x89\x7d" + strings.Repeat("x", 125)},
		{"close", AppendClose(nil, CloseGoingAway, "idle", nil), "\x88\x06\x03\xe9idle"},
		{"masked close", AppendClose(nil, CloseNormal, "", &testMask), "\x88\x82\x11\x22\x33\x44\x12\xca"},
		{"close without code", AppendClose(nil, CloseNone, "lost", nil), "\x88\x00"},
		{"1006 is not written", AppendClose(nil, CloseAbnormal, "lost", nil), "\x88\x00"},
		{"application's code", AppendClose(nil, 4401, "", nil), "\x88\x02\x11\x31"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if string(test.got) != test.want {
				t.Errorf("got %x, want %x", test.got, test.want)
			}
		})
	}
}

func TestCloseReasonIsCutBetweenCharacters(t *testing.T) {
	for _, char := range []string{"x", "é", "€", "😀"} {
		for lead := range 5 {
			reason := strings.Repeat("x", lead) + strings.Repeat(char, 125)
			f := ControlAt(AppendClose(nil, CloseServiceRestart, reason, nil))
			_, got, ok := ParseClose(f.Payload)
			if !ok || !utf8.Valid(got) || !strings.HasPrefix(reason, string(got)) {
				t.Errorf("%s: got %q, want a beginning of the reason", char, got)
			}
			if most := MaxControlPayload - 2; len(got) > most || len(got)+len(char) <= most {
				t.Errorf("%s: got %d bytes, want as many as fit in %d", char, len(got), most)
			}
		}
	}
}

func TestControlAt(t *testing.T) {
	for _, mask := range []*[4]byte{nil, &testMask} {
		payload := []byte("\x03\xe8going home")
		b := append(AppendClose(nil, CloseNormal, "going home", mask), "what follows"...)
		wireCopy := bytes.Clone(b)
		f := ControlAt(b)
		if f.Opcode != OpcodeClose || f.Size != len(b)-len("what follows") {
			t.Errorf("got %v of %d bytes, want close of %d", f.Opcode, f.Size, len(b)-len("what follows"))
		}
		var buf [MaxControlPayload]byte
		if got := f.Unmasked(&buf); !bytes.Equal(got, payload) {
			t.Errorf("got %q, want %q", got, payload)
		}
		if !bytes.Equal(b, wireCopy) {
			t.Error("got the bytes on the wire changed, want them as they were")
		}
	}
}

func TestParseClose(t *testing.T) {
	tests := []struct {
		name, payload string
		code          CloseCode
		reason        string
		ok            bool
	}{
		{"empty", "", CloseNone, "", true},
		{"one byte", "\x03", CloseNone, "", false},
		{"code", "\x03\xe8", CloseNormal, "", true},
		{"code and reason", "\x03\xf4later", CloseServiceRestart, "later", true},
		{"never on the wire", "\x03\xeewhy", CloseAbnormal, "why", false},
		{"reason is not UTF-8", "\x0f\xa0\xff\xfe", 4000, "\xff\xfe", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			code, reason, ok := ParseClose([]byte(test.payload))
			if code != test.code || string(reason) != test.reason || ok != test.ok {
				t.Errorf("got %d, %q, %t, want %d, %q, %t", code, reason, ok, test.code, test.reason, test.ok)
			}
		})
	}
}

func TestCloseCodeValid(t *testing.T) {
	ranges := []struct {
		from, to int
		want     bool
	}{
		{0, 999, false}, {1000, 1003, true}, {1004, 1006, false}, {1007, 1014, true},
		{1015, 2999, false}, {3000, 4999, true}, {5000, 65535, false},
	}
	for _, r := range ranges {
		for code := r.from; code <= r.to; code++ {
			if got := CloseCode(code).Valid(); got != r.want {
				t.Errorf("%d: got %t, want %t", code, got, r.want)
			}
		}
	}
}

func TestNames(t *testing.T) {
	tests := []struct {
		got  interface{ String() string }
		want string
	}{
		{OpcodeContinuation, "continuation"}, {OpcodeText, "text"}, {OpcodeBinary, "binary"}, {Opcode(3), "reserved"},
		{OpcodeClose, "close"}, {OpcodePing, "ping"}, {OpcodePong, "pong"}, {Opcode(11), "reserved"}, {Opcode(200), "reserved"},
		{ModeStrict, "strict"}, {ModeObserve, "observe"}, {ModeOff, "off"}, {Mode(9), "invalid"},
		{EventMore, "more"}, {EventControl, "control"}, {EventViolation, "violation"},
		{ViolationNone, "none"}, {ViolationLengthOverflow, "length_overflow"}, {ViolationCloseCodeInvalid, "close_code_invalid"},
		{violationCount, "invalid"},
	}
	for _, test := range tests {
		if got := test.got.String(); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
	for v := range violationCount {
		if v.String() == "" {
			t.Errorf("violation %d has no name", v)
		}
	}
}
