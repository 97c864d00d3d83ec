package frame

import "iter"

// Header is what a frame says of itself, its masking key excepted.
type Header struct {
	Opcode Opcode
	Bits   byte // FIN and RSV1 to RSV3, where they are in the frame's first byte
	Masked bool
	Length uint64 // of the payload
}

// Headers lists the frames that a Scanner takes up in b, when remaining bytes of payload come before the next one: data
// frames as soon as their header is there, control frames when all of them is. It neither judges nor counts them, and
// ends where a length makes no sense.
func Headers(b []byte, remaining uint64) iter.Seq[Header] {
	return func(yield func(Header) bool) {
		for remaining < uint64(len(b)) {
			b = b[remaining:]
			h, ok := parseHeader(b)
			if !ok || h.held() && uint64(len(b)-h.size) < h.length {
				return
			}
			if !yield(Header{Opcode: h.opcode(), Bits: h.first &^ opcodes, Masked: h.masked(), Length: h.length}) || h.length > maxLength {
				return
			}
			b, remaining = b[h.size:], h.length
		}
	}
}
