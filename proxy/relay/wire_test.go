package relay

import (
	"bytes"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"strings"

	"wsproxy/proxy/frame"
)

// message is a frame as an endpoint sends it.
type message struct {
	op      frame.Opcode
	more    bool // without FIN bit
	rsv1    bool
	payload []byte
}

func text(n int) message { return message{op: frame.OpcodeText, payload: pattern(n)} }

func binaryOf(n int) message { return message{op: frame.OpcodeBinary, payload: pattern(n)} }

func ping(s string) message { return message{op: frame.OpcodePing, payload: []byte(s)} }

func pong(s string) message { return message{op: frame.OpcodePong, payload: []byte(s)} }

func (m message) unfinished() message { m.more = true; return m }

// closing is a Close frame; with code 0 it has no payload.
func closing(code int, reason string) message {
	m := message{op: frame.OpcodeClose}
	if code != 0 {
		m.payload = append(binary.BigEndian.AppendUint16(nil, uint16(code)), reason...)
	}
	return m
}

func pattern(n int) []byte {
	const alphabet = "abcdefghijklmnopqrstuvwxyz"
	return bytes.Repeat([]byte(alphabet), n/len(alphabet)+1)[:n]
}

var testKey = [4]byte{1, 2, 3, 4}

// append writes the frame, masked as from a client if key is not nil.
func (m message) append(b []byte, key *[4]byte) []byte {
	first := byte(m.op)
	if !m.more {
		first |= 0x80
	}
	if m.rsv1 {
		first |= 0x40
	}
	mask := byte(0)
	if key != nil {
		mask = 0x80
	}
	switch n := len(m.payload); {
	case n <= 125:
		b = append(b, first, mask|byte(n))
	case n <= 0xffff:
		b = binary.BigEndian.AppendUint16(append(b, first, mask|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, first, mask|127), uint64(n))
	}
	if key == nil {
		return append(b, m.payload...)
	}
	b = append(b, key[:]...)
	start := len(b)
	b = append(b, m.payload...)
	applyMask(b[start:], *key)
	return b
}

// applyMask is quick under the race detector, too.
func applyMask(b []byte, key [4]byte) {
	keys := bytes.Repeat(key[:], 1024)
	for len(b) > 0 {
		n := subtle.XORBytes(b, b, keys)
		b = b[n:]
	}
}

func fromClient(all ...message) (b []byte) {
	for _, m := range all {
		b = m.append(b, &testKey)
	}
	return b
}

func fromUpstream(all ...message) (b []byte) {
	for _, m := range all {
		b = m.append(b, nil)
	}
	return b
}

// describe tells what a leg got, frame by frame: "text 5, close 1000 bye". It says so if anything
// follows a Close frame, if frames are masked that should not be or the other way round, and if the
// last one is not whole.
func describe(b []byte, masked bool) string {
	var all []string
	closed := false
	for len(b) > 0 {
		op, size, payload, ok := parse(b, masked)
		switch {
		case size < 0:
			return strings.Join(append(all, fmt.Sprintf("garbage %x", b[:min(len(b), 16)])), ", ")
		case closed:
			all = append(all, "AFTER CLOSE")
		}
		item := op.String()
		switch {
		case !ok:
			item += fmt.Sprintf(" %d of %d", len(payload), size)
		case op == frame.OpcodeClose:
			closed = true
			if code, reason, _ := frame.ParseClose(payload); len(payload) > 0 {
				item += strings.TrimRight(fmt.Sprintf(" %d %s", code, reason), " ")
			}
		default:
			item += fmt.Sprintf(" %d", size)
		}
		all = append(all, item)
		if !ok {
			break
		}
		b = b[header(b)+size:]
	}
	return strings.Join(all, ", ")
}

// header is the size of the header at the start of b.
func header(b []byte) int {
	n := 2
	switch b[1] & 0x7f {
	case 126:
		n += 2
	case 127:
		n += 8
	}
	if b[1]&0x80 != 0 {
		n += 4
	}
	return n
}

// parse reads the frame at the start of b. size is negative if it is none that we know, ok false if b
// ends inside it.
func parse(b []byte, masked bool) (op frame.Opcode, size int, payload []byte, ok bool) {
	op = frame.Opcode(b[0] & 0xf)
	if len(b) < 2 || len(b) < header(b) {
		return op, 0, nil, false
	}
	if b[1]&0x80 != 0 != masked {
		return op, -1, nil, false
	}
	switch size = int(b[1] & 0x7f); size {
	case 126:
		size = int(binary.BigEndian.Uint16(b[2:]))
	case 127:
		size = int(binary.BigEndian.Uint64(b[2:]))
	}
	head := header(b)
	payload = bytes.Clone(b[head:min(len(b), head+size)])
	if masked {
		applyMask(payload, [4]byte(b[head-4:]))
	}
	return op, size, payload, len(payload) == size
}
