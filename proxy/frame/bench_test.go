package frame

import (
	"math/rand/v2"
	"testing"
)

const chunk = 64 << 10

type traffic struct {
	name   string
	rules  Rules
	stream []byte
}

// everyTraffic is about 1 MiB of each kind of masked traffic.
func everyTraffic() []traffic {
	r := rand.New(rand.NewPCG(1, 1))
	masked := Rules{Masked: true}
	deflate := Rules{Masked: true, Deflate: true}
	of := func(first byte, size func() int) func(int) wire {
		return func(int) wire { return wire{first: first, masked: true, payload: make([]byte, size())} }
	}
	fixed := func(n int) func() int { return func() int { return n } }
	pinged := func(i int) wire {
		if i%10 == 9 {
			return wire{first: ping, masked: true, payload: make([]byte, 8)}
		}
		return wire{first: text, masked: true, payload: make([]byte, 64)}
	}
	return []traffic{
		{"64B", masked, repeat(of(binaryData, fixed(64)))},
		{"64B-deflate", deflate, repeat(of(text|rsv1Bit, fixed(64)))},
		{"0-125B", masked, repeat(of(text, func() int { return r.IntN(126) }))},
		{"1KiB", masked, repeat(of(binaryData, fixed(1<<10)))},
		{"64KiB", masked, repeat(of(binaryData, fixed(64<<10)))},
		{"64B-pings", masked, repeat(pinged)},
	}
}

func repeat(next func(i int) wire) (b []byte) {
	for i := 0; len(b) < 1<<20; i++ {
		b = next(i).append(b)
	}
	return b
}

// passChunks scans stream as reads of one chunk each would bring it.
func passChunks(rules Rules, stream []byte, c *Counts) {
	s := New(rules)
	for len(stream) > 0 {
		b := stream[:min(chunk, len(stream))]
		n, ev := s.Scan(b, c)
		if ev == EventControl {
			f := ControlAt(b[n:])
			c.Pass(f)
			n += f.Size
		}
		if n == 0 {
			return
		}
		stream = stream[n:]
	}
}

func BenchmarkScan(b *testing.B) {
	for _, test := range everyTraffic() {
		b.Run(test.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(test.stream)))
			var c Counts
			for b.Loop() {
				passChunks(test.rules, test.stream, &c)
			}
		})
	}
}

// BenchmarkScanOne is what an echoed message costs.
func BenchmarkScanOne(b *testing.B) {
	b.ReportAllocs()
	message := wire{first: text, masked: true, payload: make([]byte, 64)}.bytes()
	s, c := New(Rules{Masked: true}), Counts{}
	for b.Loop() {
		s.Scan(message, &c)
	}
}

func TestScanDoesNotAllocate(t *testing.T) {
	for _, test := range everyTraffic() {
		t.Run(test.name, func(t *testing.T) {
			var c Counts
			if got := testing.AllocsPerRun(10, func() { passChunks(test.rules, test.stream, &c) }); got != 0 {
				t.Errorf("got %v allocations, want 0", got)
			}
			if c.Bytes != 11*uint64(len(test.stream)) { // AllocsPerRun warms up with one run more
				t.Errorf("got %d bytes, want %d", c.Bytes, 11*len(test.stream))
			}
		})
	}
}

func TestControlFramesDoNotAllocate(t *testing.T) {
	closeFrame := AppendClose(nil, CloseGoingAway, "bye", &testMask)
	s, c := New(Rules{Masked: true}), Counts{}
	own := make([]byte, 0, MaxHeld)
	got := testing.AllocsPerRun(100, func() {
		s.Scan(closeFrame, &c)
		var buf [MaxControlPayload]byte
		code, _, _ := ParseClose(ControlAt(closeFrame).Unmasked(&buf))
		own = AppendClose(own[:0], code, "bye", &testMask)
		own = AppendPing(own[:0], buf[:8], &testMask)
	})
	if got != 0 {
		t.Errorf("got %v allocations, want 0", got)
	}
}
