package frame

// Control is a whole ping, pong or close frame.
type Control struct {
	Opcode  Opcode
	Mask    [4]byte // zero if the frame is not masked
	Payload []byte  // as on the wire, in the memory of the bytes it was read from
	Size    int     // bytes of the whole frame
}

// ControlAt reads the control frame at which Scan stopped: b begins with it.
func ControlAt(b []byte) Control {
	h, _ := parseHeader(b)
	f := Control{Opcode: h.opcode(), Size: h.size + int(h.length)}
	f.Payload = b[h.size:f.Size:f.Size]
	if h.masked() {
		copy(f.Mask[:], b[h.size-4:])
	}
	return f
}

// Unmasked copies the payload into buf and returns the part of buf that holds it, in clear.
func (f Control) Unmasked(buf *[MaxControlPayload]byte) []byte {
	n := copy(buf[:], f.Payload)
	applyMask(buf[:n], f.Mask)
	return buf[:n]
}

// AppendPing appends a ping to dst. A nil mask leaves it unmasked; a payload is cut at
// MaxControlPayload.
func AppendPing(dst, payload []byte, mask *[4]byte) []byte {
	return appendControl(dst, OpcodePing, payload, mask)
}

// AppendPong appends a pong to dst, as AppendPing does a ping.
func AppendPong(dst, payload []byte, mask *[4]byte) []byte {
	return appendControl(dst, OpcodePong, payload, mask)
}

func appendControl(dst []byte, op Opcode, payload []byte, mask *[4]byte) []byte {
	payload = payload[:min(len(payload), MaxControlPayload)]
	if mask == nil {
		dst = append(dst, finBit|byte(op), byte(len(payload)))
		return append(dst, payload...)
	}
	dst = append(dst, finBit|byte(op), maskBit|byte(len(payload)))
	dst = append(dst, mask[:]...)
	start := len(dst)
	dst = append(dst, payload...)
	applyMask(dst[start:], *mask)
	return dst
}

// applyMask masks or unmasks a payload from its first byte on (RFC 6455 §5.3).
func applyMask(payload []byte, key [4]byte) {
	for i := range payload {
		payload[i] ^= key[i&3]
	}
}
