package frame

import (
	"encoding/binary"
	"math/rand/v2"
)

// wire is a frame as a test writes it, well formed or not.
type wire struct {
	first   byte // FIN, RSV and opcode
	masked  bool
	form    int    // bytes of extended length, 0, 2 or 8; fewer than the length needs means the fewest that do
	claim   uint64 // length in the header, if not that of the payload
	payload []byte
}

func (w wire) append(b []byte) []byte {
	length := max(uint64(len(w.payload)), w.claim)
	var mask byte
	if w.masked {
		mask = maskBit
	}
	switch {
	case w.form == 8 || length > 0xffff:
		b = binary.BigEndian.AppendUint64(append(b, w.first, mask|127), length)
	case w.form == 2 || length > 125:
		b = binary.BigEndian.AppendUint16(append(b, w.first, mask|126), uint16(length))
	default:
		b = append(b, w.first, mask|byte(length))
	}
	if !w.masked {
		return append(b, w.payload...)
	}
	key := [4]byte{0xa1, 0x5e, 0x00, 0x37}
	b = append(b, key[:]...)
	start := len(b)
	b = append(b, w.payload...)
	applyMask(b[start:], key)
	return b
}

func (w wire) bytes() []byte { return w.append(nil) }

// randomStream is mostly legal traffic under the rules; about one frame in faulty is not, or looks so.
func randomStream(r *rand.Rand, rules Rules, frames, faulty int) []byte {
	var b []byte
	open := false
	for range frames {
		w := wire{masked: rules.Masked, payload: make([]byte, randomLength(r))}
		final := byte(r.IntN(4) / 3 * finBit)
		switch {
		case r.IntN(5) == 0:
			w.first = finBit | byte(OpcodeClose) + byte(r.IntN(3))
			w.payload = randomControl(r, Opcode(w.first&opcodes))
		case open:
			w.first = final
			open = final == 0
		default:
			w.first = final | byte(1+r.IntN(2))
			if rules.Deflate {
				w.first |= byte(r.IntN(2)) * rsv1Bit
			}
			open = final == 0
		}
		if r.IntN(faulty) == 0 {
			spoil(r, &w)
		}
		b = w.append(b)
	}
	return b[:len(b)-r.IntN(min(len(b), 20))]
}

// randomLength is mostly short, often at a boundary of the encoding, and now and then needs 64 bits.
func randomLength(r *rand.Rand) int {
	switch r.IntN(60) {
	case 0:
		return r.IntN(70000)
	case 1, 2, 3:
		return r.IntN(1000)
	case 4, 5, 6, 7:
		return 125 + r.IntN(2)
	case 8, 9, 10, 11:
		return 0
	}
	return r.IntN(126)
}

func randomControl(r *rand.Rand, op Opcode) []byte {
	payload := make([]byte, r.IntN(126))
	if op != OpcodeClose {
		return payload
	}
	if r.IntN(3) == 0 {
		return nil
	}
	return binary.BigEndian.AppendUint16(nil, uint16(1000+r.IntN(4)))
}

func spoil(r *rand.Rand, w *wire) {
	switch r.IntN(7) {
	case 0:
		w.first ^= 1 << r.IntN(8)
	case 1:
		w.masked = !w.masked
	case 2:
		w.form = []int{2, 8}[r.IntN(2)]
	case 3:
		w.payload = make([]byte, r.IntN(400))
	case 4:
		w.first = finBit | byte(OpcodeClose)
		w.payload = binary.BigEndian.AppendUint16(nil, uint16(990+r.IntN(4100)))
	case 5:
		w.first = finBit | byte(OpcodeClose)
		w.payload = []byte{3}
	case 6:
		if r.IntN(4) == 0 {
			w.claim = 1 << 63
		}
	}
}
