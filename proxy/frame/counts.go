package frame

import "math/bits"

// sizeBounds are powers of four so that a bucket is found without a search.
var sizeBounds = [...]uint64{0, 64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20, 64 << 20}

// SizeBuckets is the number of buckets of Counts.Sizes: one for each bound and one for what is larger.
const SizeBuckets = len(sizeBounds) + 1

// SizeBounds returns the buckets' inclusive upper bounds in bytes, as Prometheus's le has them, but for
// the last bucket, which has none.
func SizeBounds() [SizeBuckets - 1]uint64 { return sizeBounds }

// Counts is what passed in one direction since its owner last cleared it. It is apart from the Scanner
// so that idle connections don't carry one: a relay has one for each loop or goroutine, publishes it
// into the connection's counters after a chunk, and clears it.
//
// A frame, a message and its bytes are counted when the last byte of its payload has passed, so a
// connection that dies inside a message has not counted it. (Small messages are walked whole, a longer
// one is looked at again by the chunk that ends it anyway: this costs nothing.)
type Counts struct {
	Bytes        uint64 // everything that passed, headers included
	Frames       uint64 // data and control frames
	Text         uint64 // messages
	Binary       uint64 // messages
	Compressed   uint64 // messages with RSV1, where permessage-deflate was negotiated
	Ping         uint64
	Pong         uint64
	CloseFrames  uint64
	MessageBytes uint64 // payload of the messages, as on the wire
	Sizes        [SizeBuckets]uint64
	Violations   [ViolationKinds]uint64 // frames, by Violation
}

// Pass counts a control frame that is passed on.
func (c *Counts) Pass(f Control) {
	c.Bytes += uint64(f.Size)
	c.control(f.Opcode)
}

// Messages is the number of messages.
func (c *Counts) Messages() uint64 { return c.Text + c.Binary }

func (c *Counts) control(op Opcode) {
	c.Frames++
	switch op {
	case OpcodePing:
		c.Ping++
	case OpcodePong:
		c.Pong++
	case OpcodeClose:
		c.CloseFrames++
	}
}

// message counts a message; kind is its opcode, with RSV1 if it is compressed.
func (c *Counts) message(kind byte, size uint64) {
	if Opcode(kind&opcodes) == OpcodeText {
		c.Text++
	} else {
		c.Binary++
	}
	if kind&rsv1Bit != 0 {
		c.Compressed++
	}
	c.MessageBytes += size
	c.Sizes[sizeBucket(size)]++
}

func sizeBucket(size uint64) int {
	if size == 0 {
		return 0
	}
	return min((max(bits.Len64(size-1), 6)-3)/2, SizeBuckets-1)
}
