package relay

import (
	"time"

	"wsproxy/lifecycle"
	"wsproxy/proxy/frame"
)

// overhear tells whoever taps the connection of the frames that f is about to find in b.
func (s *session) overhear(f *flow, b []byte) { s.expose(f.dir, b, f.scanner.Remaining(), false) }

// say tells of a frame of ours.
func (s *session) say(d lifecycle.Direction, b []byte) {
	if s.conn.Tapped() {
		s.expose(d, b, 0, true)
	}
}

func (s *session) expose(d lifecycle.Direction, b []byte, remaining uint64, own bool) {
	now := time.Now()
	for h := range frame.Headers(b, remaining) {
		s.conn.Tell(lifecycle.Frame{
			At: now, Direction: d, Opcode: h.Opcode.String(), Length: h.Length, Bits: h.Bits, Masked: h.Masked, Own: own,
		})
	}
}
