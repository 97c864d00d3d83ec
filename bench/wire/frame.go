// Package wire is as much of RFC 6455 as two ends of a measurement need: frames made in advance, and
// both sides of a handshake without a server around it. It judges nothing that a peer sends.
package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
)

// Opcodes (RFC 6455 §11.8).
const (
	Continuation = 0x0
	Binary       = 0x2
	Close        = 0x8
	Ping         = 0x9
	Pong         = 0xA
)

const (
	fin    = 0x80
	opcode = 0x0F
	masked = 0x80
)

// Header is a frame's header.
type Header struct {
	Final  bool
	Opcode byte
	Length int64
	Key    *[4]byte // nil: not masked, as a server sends
}

// Append appends the header's bytes.
func (h Header) Append(b []byte) []byte {
	first, mask := h.Opcode, byte(0)
	if h.Final {
		first |= fin
	}
	if h.Key != nil {
		mask = masked
	}
	switch {
	case h.Length < 126:
		b = append(b, first, mask|byte(h.Length))
	case h.Length < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, first, mask|126), uint16(h.Length))
	default:
		b = binary.BigEndian.AppendUint64(append(b, first, mask|127), uint64(h.Length))
	}
	if h.Key != nil {
		b = append(b, h.Key[:]...)
	}
	return b
}

// ReadHeader reads a frame's header.
func ReadHeader(r *bufio.Reader) (Header, error) {
	var b [8]byte
	if _, err := io.ReadFull(r, b[:2]); err != nil {
		return Header{}, err
	}
	h := Header{Final: b[0]&fin != 0, Opcode: b[0] & opcode, Length: int64(b[1] &^ masked)}
	isMasked, extended := b[1]&masked != 0, 0
	switch h.Length {
	case 126:
		extended = 2
	case 127:
		extended = 8
	}
	if extended > 0 {
		b = [8]byte{}
		if _, err := io.ReadFull(r, b[8-extended:]); err != nil {
			return Header{}, unexpected(err)
		}
		h.Length = int64(binary.BigEndian.Uint64(b[:]))
	}
	if isMasked {
		h.Key = new([4]byte)
		if _, err := io.ReadFull(r, h.Key[:]); err != nil {
			return Header{}, unexpected(err)
		}
	}
	return h, nil
}

// Frame is a whole message of one frame. A client's key is all zeros: its payload is as it was.
func Frame(op byte, payload []byte, client bool) []byte {
	h := Header{Final: true, Opcode: op, Length: int64(len(payload))}
	if client {
		h.Key = new([4]byte)
	}
	return append(h.Append(nil), payload...)
}

// IsClose tells the first byte of a Close frame.
func IsClose(first byte) bool { return first&opcode == Close }

// Repeat is as many copies of a frame as fit into limit bytes, at least one.
func Repeat(frame []byte, limit int) []byte {
	n := max(1, limit/len(frame))
	b := make([]byte, 0, n*len(frame))
	for range n {
		b = append(b, frame...)
	}
	return b
}

// unexpected says that an end in the middle of something is one.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
