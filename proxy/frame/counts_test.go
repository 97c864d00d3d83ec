package frame

import (
	"math"
	"testing"
)

func TestCounts(t *testing.T) {
	stream := frames(
		wire{first: text, payload: payload(5)},
		wire{first: text | rsv1Bit, payload: payload(64)},
		wire{first: binaryData, payload: payload(65)},
		wire{first: beginText | rsv1Bit, payload: payload(1000)},
		wire{first: ping, payload: payload(4)},
		wire{first: continuation},
		wire{first: lastPart, payload: payload(30)},
		wire{first: text},
		wire{first: pong},
		wire{first: closing, payload: []byte{3, 232}},
	)
	want := Counts{
		Bytes: uint64(len(stream)), Frames: 10, Text: 4, Binary: 1, Compressed: 2, Ping: 1, Pong: 1, CloseFrames: 1,
		MessageBytes: 5 + 64 + 65 + 1030, Sizes: [SizeBuckets]uint64{1, 2, 1, 0, 1},
	}
	var got Counts
	passAll(t, Rules{Deflate: true}, stream, &got)
	if got != want {
		t.Errorf("\n got %+v\nwant %+v", got, want)
	}
	if got.Messages() != 5 {
		t.Errorf("got %d messages, want 5", got.Messages())
	}
}

// passAll passes a legal stream on, control frames included.
func passAll(t *testing.T, rules Rules, stream []byte, c *Counts) {
	t.Helper()
	s := New(rules)
	for {
		n, ev := s.Scan(stream, c)
		stream = stream[n:]
		switch ev {
		case EventViolation:
			t.Fatalf("got %v, want none", s.Violation())
		case EventMore:
			if len(stream) > 0 || !s.AtBoundary() {
				t.Fatalf("got %d bytes left, boundary %t, want a whole number of frames", len(stream), s.AtBoundary())
			}
			return
		}
		f := ControlAt(stream)
		c.Pass(f)
		stream = stream[f.Size:]
	}
}

func TestUnfinishedIsNotCounted(t *testing.T) {
	tests := []struct {
		name   string
		stream []byte
		frames uint64
	}{
		{"short message", wire{first: text, payload: payload(50)}.bytes(), 0},
		{"long message", wire{first: text, payload: payload(5000)}.bytes(), 0},
		{"last fragment", frames(wire{first: beginText, payload: payload(9)}, wire{first: lastPart, payload: payload(9)}), 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, c := New(Rules{}), Counts{}
			s.Scan(test.stream[:len(test.stream)-1], &c)
			if c.Messages() != 0 || c.MessageBytes != 0 || c.Frames != test.frames {
				t.Errorf("got %+v, want %d frames and no message", c, test.frames)
			}
			s.Scan(test.stream[len(test.stream)-1:], &c)
			if c.Messages() != 1 {
				t.Errorf("got %d messages after the last byte, want 1", c.Messages())
			}
		})
	}
}

func TestUnfinishedMessageIsNeverCounted(t *testing.T) {
	var c Counts
	passAll(t, Rules{Mode: ModeObserve}, frames(
		wire{first: beginText, payload: payload(9)},
		wire{first: binaryData, payload: payload(2)},
		wire{first: lastPart, payload: payload(3)},
	), &c)
	if c.Text != 0 || c.Binary != 1 || c.MessageBytes != 2 || c.Frames != 3 {
		t.Errorf("got %+v, want one binary message of 2 bytes in 3 frames", c)
	}
}

func TestLongControlFramePassesWhenObserved(t *testing.T) {
	var c Counts
	passAll(t, Rules{Mode: ModeObserve}, frames(
		wire{first: beginText, payload: payload(9)},
		wire{first: ping, payload: payload(500)},
		wire{first: lastPart, payload: payload(3)},
	), &c)
	if c.Ping != 1 || c.Text != 1 || c.MessageBytes != 12 || c.Frames != 3 {
		t.Errorf("got %+v, want a ping inside a message of 12 bytes", c)
	}
}

func TestDroppedControlFrameIsNotCounted(t *testing.T) {
	s, c := New(Rules{}), Counts{}
	b := frames(wire{first: pong, payload: payload(8)}, wire{first: text, payload: payload(3)})
	n, ev := s.Scan(b, &c)
	if ev != EventControl {
		t.Fatalf("got %v, want control", ev)
	}
	b = b[n+ControlAt(b[n:]).Size:]
	s.Scan(b, &c)
	if c.Pong != 0 || c.Frames != 1 || c.Bytes != 5 {
		t.Errorf("got %+v, want the text alone", c)
	}
}

func TestSizeBuckets(t *testing.T) {
	for i, bound := range SizeBounds() {
		if got := sizeBucket(bound); got != i {
			t.Errorf("%d bytes: got bucket %d, want %d", bound, got, i)
		}
		if got := sizeBucket(bound + 1); got != i+1 {
			t.Errorf("%d bytes: got bucket %d, want %d", bound+1, got, i+1)
		}
	}
	if got, want := sizeBucket(math.MaxUint64), SizeBuckets-1; got != want {
		t.Errorf("got bucket %d, want %d", got, want)
	}
}

// The shortest messages don't go through sizeBucket.
func TestShortMessagesFallInTheSameBuckets(t *testing.T) {
	for size := range length7 + 1 {
		var c Counts
		passAll(t, Rules{}, wire{first: text, payload: payload(size)}.bytes(), &c)
		if c.Sizes[sizeBucket(uint64(size))] != 1 {
			t.Errorf("%d bytes: got %v, want bucket %d", size, c.Sizes, sizeBucket(uint64(size)))
		}
	}
}
