package frame

import (
	"encoding/binary"
	"math"
)

const (
	maxHeader = 14
	maxLength = 1<<63 - 1

	finBit  = 0x80
	rsv1Bit = 0x40
	rsvBits = 0x70
	opcodes = 0x0f
	maskBit = 0x80

	length7  = 125 // the longest payload that the second byte can tell
	length16 = 126 // announces two more bytes of length
	length64 = 127 // announces eight
)

// header is a frame's header, its masking key excepted. It has no more than four fields because a
// larger struct does not travel in registers, which made a frame cost twice as much.
type header struct {
	first  byte   // FIN, RSV1 to RSV3, opcode
	second byte   // mask bit and short length
	size   int    // of the header, masking key included
	length uint64 // of the payload
}

func (h header) opcode() Opcode { return Opcode(h.first & opcodes) }

func (h header) fin() bool { return h.first&finBit != 0 }

func (h header) masked() bool { return h.second&maskBit != 0 }

// minimal reports whether the length is written in the fewest bytes that hold it.
func (h header) minimal() bool {
	switch h.second &^ maskBit {
	case length16:
		return h.length > length7
	case length64:
		return h.length > math.MaxUint16
	}
	return true
}

// held reports a frame that is not passed before it is there as a whole. A longer control frame breaks
// the protocol; where that is let pass it passes like data, because nobody could keep it.
func (h header) held() bool { return h.opcode().control() && h.length <= MaxControlPayload }

// parseHeader reads the header at the start of b. It is not ok if b ends before the header does.
func parseHeader(b []byte) (h header, ok bool) {
	if len(b) < 2 {
		return h, false
	}
	h = header{first: b[0], second: b[1], size: 2, length: uint64(b[1] &^ maskBit)}
	if h.masked() {
		h.size += 4
	}
	switch h.length {
	case length16:
		h.size += 2
	case length64:
		h.size += 8
	}
	if len(b) < h.size {
		return h, false
	}
	switch h.length {
	case length16:
		h.length = uint64(binary.BigEndian.Uint16(b[2:]))
	case length64:
		h.length = binary.BigEndian.Uint64(b[2:])
	}
	return h, true
}
