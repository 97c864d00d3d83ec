package wire

import (
	"io"
	"math/rand/v2"
)

// Script is one direction of a connection, byte for byte, made from a seed: messages of random sizes in
// random fragments with pings and pongs in between. Who has the seed knows what must arrive. It ends
// with io.EOF at a message's end.
type Script struct {
	limits Limits
	client bool
	choice *rand.Rand
	bytes  *rand.ChaCha8

	messages  int   // left
	message   int64 // bytes left of the message under way
	inMessage bool
	pending   []byte // of a header, still to be read
	payload   int64  // of a frame, still to be read
}

// Limits say how much a script holds.
type Limits struct {
	Messages int
	Largest  int64 // bytes of the largest message; there is exactly one, the others have at most 1 MiB
}

const largestUsual = 1 << 20

// NewScript makes what a client sends, or a server. The two have nothing in common.
func NewScript(seed uint64, client bool, limits Limits) *Script {
	var key [32]byte
	key[0] = byte(seed)
	key[1], key[2], key[3] = byte(seed>>8), byte(seed>>16), byte(seed>>24)
	stream := uint64(0)
	if client {
		key[31], stream = 1, 1
	}
	return &Script{
		limits: limits, client: client, messages: limits.Messages,
		choice: rand.New(rand.NewPCG(seed, stream)), bytes: rand.NewChaCha8(key),
	}
}

// Read implements io.Reader.
func (s *Script) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		switch {
		case len(s.pending) > 0:
			k := copy(p[n:], s.pending)
			s.pending = s.pending[k:]
			n += k
		case s.payload > 0:
			k := int(min(int64(len(p)-n), s.payload))
			s.bytes.Read(p[n : n+k]) // what looks random is as good masked as not
			s.payload -= int64(k)
			n += k
		case !s.inMessage && s.messages == 0:
			if n == 0 {
				return 0, io.EOF
			}
			return n, nil
		default:
			s.next()
		}
	}
	return n, nil
}

// next begins another frame.
func (s *Script) next() {
	if s.choice.IntN(8) == 0 {
		s.frame(Header{Final: true, Opcode: Ping + byte(s.choice.IntN(2)), Length: s.choice.Int64N(126)})
		return
	}
	op := byte(Continuation)
	if !s.inMessage {
		op = Binary
		s.message = s.size()
		s.messages--
	}
	length := s.message
	if s.choice.IntN(3) == 0 {
		length = s.choice.Int64N(s.message + 1)
	}
	s.message -= length
	s.inMessage = s.message > 0 || s.choice.IntN(16) == 0 // now and then an empty fragment comes last
	s.frame(Header{Final: !s.inMessage, Opcode: op, Length: length})
}

// size chooses the size of a message so that every form of the length is common.
func (s *Script) size() int64 {
	if s.messages == s.limits.Messages/2+1 {
		return s.limits.Largest
	}
	usual := min(s.limits.Largest, largestUsual)
	return s.choice.Int64N(min(usual, [...]int64{1, 126, 126, 1 << 16, largestUsual}[s.choice.IntN(5)]) + 1)
}

func (s *Script) frame(h Header) {
	if s.client {
		h.Key = new([4]byte)
		for i := range h.Key {
			h.Key[i] = byte(s.choice.Uint32())
		}
	}
	s.pending, s.payload = h.Append(s.pending[:0]), h.Length
}
