package frame

import (
	"math"
	"testing"
)

func TestLimits(t *testing.T) {
	data := func(first byte, size int) []byte {
		switch {
		case size <= length7:
			return append([]byte{first, byte(size)}, make([]byte, size)...)
		case size <= math.MaxUint16:
			return append([]byte{first, length16, byte(size >> 8), byte(size)}, make([]byte, size)...)
		}
		return append([]byte{first, length64, 0, 0, 0, 0, 0, byte(size >> 16), byte(size >> 8), byte(size)}, make([]byte, size)...)
	}
	const text, ping = finBit | byte(OpcodeText), finBit | byte(OpcodePing)
	for _, c := range []struct {
		name   string
		limits Limits
		frames [][]byte
		pass   int // frames that may, -1 for all
	}{
		{"none", Limits{}, [][]byte{data(text, 100_000)}, -1},
		{"a frame of the size", Limits{Frame: 125}, [][]byte{data(text, 125), data(text, 0), data(text, 125)}, -1},
		{"a frame that is larger", Limits{Frame: 125}, [][]byte{data(text, 125), data(text, 126)}, 1},
		{"a small message of the size", Limits{Message: 5}, [][]byte{data(text, 5), data(text, 5)}, -1},
		{"a small message that is larger", Limits{Message: 5}, [][]byte{data(text, 5), data(text, 6)}, 1},
		{"a large one", Limits{Message: 70_000}, [][]byte{data(text, 70_000), data(text, 70_001)}, 1},
		{"the smaller limit counts", Limits{Frame: 1000, Message: 10}, [][]byte{data(text, 10), data(text, 11)}, 1},
		{"control frames are no messages", Limits{Message: 5}, [][]byte{data(ping, 125), data(text, 5)}, -1},
		{"a fragmented message of the size", Limits{Message: 9}, [][]byte{data(1, 4), data(ping, 20), data(0, 4), data(finBit, 1), data(text, 9)}, -1},
		{"a fragmented message that is larger", Limits{Message: 9}, [][]byte{data(1, 4), data(0, 4), data(finBit, 2)}, 2},
		{"a fragmented message of small frames", Limits{Frame: 4}, [][]byte{data(1, 4), data(0, 4), data(finBit, 4)}, -1},
	} {
		for _, mode := range []Mode{ModeStrict, ModeObserve} {
			t.Run(c.name+", "+mode.String(), func(t *testing.T) {
				s := New(Rules{Mode: mode})
				s.Limit(&c.limits)
				var all []byte
				want, ends := 0, EventMore
				for i, f := range c.frames {
					if i == c.pass {
						want, ends = len(all), EventTooBig
					}
					all = append(all, f...)
				}
				if ends == EventMore {
					want = len(all)
				}
				var counts Counts
				n, ev := 0, EventMore
				for {
					var k int
					k, ev = s.Scan(all[n:], &counts)
					n += k
					if ev != EventControl {
						break
					}
					n += ControlAt(all[n:]).Size
				}
				if n != want || ev != ends {
					t.Errorf("got %d bytes and %s, want %d and %s", n, ev, want, ends)
				}
				if ev != EventTooBig {
					return
				}
				if _, again := s.Scan(all[n:], &counts); again != EventTooBig {
					t.Errorf("again: got %s, want too big", again)
				}
				s.Relax()
				if _, after := s.Scan(all[n:], &counts); after != EventMore {
					t.Errorf("relaxed: got %s, want more", after)
				}
			})
		}
	}
}

// The length that can't be is too big, too, whatever came before it.
func TestLimitsOfHugeFrames(t *testing.T) {
	s := New(Rules{Mode: ModeObserve})
	s.Limit(&Limits{Message: math.MaxInt64})
	var counts Counts
	huge := []byte{1, length64, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	if _, ev := s.Scan(huge, &counts); ev != EventMore {
		t.Errorf("got %s, want more", ev)
	}
	s.Advance(s.Remaining(), &counts)
	if _, ev := s.Scan([]byte{finBit, length64, 0, 0, 0, 0, 0, 0, 0, 1}, &counts); ev != EventTooBig {
		t.Errorf("got %s, want too big", ev)
	}
}
