package lifecycle

import (
	"sync/atomic"
	"time"
)

// messageSizeBounds are the inclusive upper bounds, in bytes, of the message size histogram; one more
// bucket holds what is larger.
var messageSizeBounds = [...]uint64{0, 64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20, 64 << 20}

// MessageSizeBuckets is the number of buckets, the unbounded one included.
const MessageSizeBuckets = len(messageSizeBounds) + 1

// MessageSizeBounds returns the inclusive upper bounds of all buckets but the last, in bytes.
func MessageSizeBounds() [MessageSizeBuckets - 1]uint64 { return messageSizeBounds }

// ViolationKinds is how many kinds of framing violation a Flow can count.
const ViolationKinds = 16

// Flow counts what went in one direction of one connection. One goroutine or event loop writes it, by
// adding what a chunk brought; anyone may read.
type Flow struct {
	Bytes        atomic.Uint64
	Frames       atomic.Uint64
	Text         atomic.Uint64 // messages
	Binary       atomic.Uint64 // messages
	Compressed   atomic.Uint64 // messages, RSV1 of permessage-deflate
	Ping         atomic.Uint64
	Pong         atomic.Uint64
	CloseFrames  atomic.Uint64
	MessageBytes atomic.Uint64 // payload of complete messages
	Dropped      atomic.Uint64 // bytes read after a Close of ours and thrown away
	Sizes        [MessageSizeBuckets]atomic.Uint64

	StallNanos atomic.Int64 // time blocked on a slow peer
	LastNanos  atomic.Int64 // Unix time of the last byte, 0 before it

	SilenceNanos atomic.Int64 // the longest time without a byte, up to the last one

	violations atomic.Pointer[[ViolationKinds]atomic.Uint64]
}

// Violation counts a framing violation of the given kind.
func (f *Flow) Violation(kind uint8) {
	v := f.violations.Load()
	if v == nil { // rare, so nobody carries the array for nothing
		v = new([ViolationKinds]atomic.Uint64)
		f.violations.Store(v)
	}
	v[min(kind, ViolationKinds-1)].Add(1)
}

// Messages is the number of complete messages.
func (f *Flow) Messages() uint64 { return f.Text.Load() + f.Binary.Load() }

// Last is the time of the last byte, or zero.
func (f *Flow) Last() time.Time {
	if n := f.LastNanos.Load(); n != 0 {
		return time.Unix(0, n)
	}
	return time.Time{}
}

// Heard notes that bytes came. begun is when the first could have.
func (f *Flow) Heard(begun, now time.Time) {
	at := now.UnixNano()
	last := f.LastNanos.Swap(at)
	if last == 0 {
		last = begun.UnixNano()
	}
	if at-last > f.SilenceNanos.Load() {
		f.SilenceNanos.Store(at - last)
	}
}

// Silence is the longest time without a byte, the one since the last byte included. begun is when the first could have
// come.
func (f *Flow) Silence(begun, now time.Time) time.Duration {
	last := f.Last()
	if last.IsZero() {
		last = begun
	}
	return max(time.Duration(f.SilenceNanos.Load()), now.Sub(last))
}

// Counts is a Flow at one moment.
type Counts struct {
	Bytes, Frames, Text, Binary, Compressed uint64
	Ping, Pong, CloseFrames                 uint64
	MessageBytes, Dropped                   uint64
	Sizes                                   [MessageSizeBuckets]uint64
	Violations                              [ViolationKinds]uint64
	Stall                                   time.Duration
}

// Messages is the number of complete messages.
func (c *Counts) Messages() uint64 { return c.Text + c.Binary }

// Counts reads all counters.
func (f *Flow) Counts() Counts {
	c := Counts{
		Bytes: f.Bytes.Load(), Frames: f.Frames.Load(), Text: f.Text.Load(), Binary: f.Binary.Load(),
		Compressed: f.Compressed.Load(), Ping: f.Ping.Load(), Pong: f.Pong.Load(), CloseFrames: f.CloseFrames.Load(),
		MessageBytes: f.MessageBytes.Load(), Dropped: f.Dropped.Load(), Stall: time.Duration(f.StallNanos.Load()),
	}
	for i := range f.Sizes {
		c.Sizes[i] = f.Sizes[i].Load()
	}
	if v := f.violations.Load(); v != nil {
		for i := range v {
			c.Violations[i] = v[i].Load()
		}
	}
	return c
}

// Add adds o to c.
func (c *Counts) Add(o *Counts) {
	c.Bytes += o.Bytes
	c.Frames += o.Frames
	c.Text += o.Text
	c.Binary += o.Binary
	c.Compressed += o.Compressed
	c.Ping += o.Ping
	c.Pong += o.Pong
	c.CloseFrames += o.CloseFrames
	c.MessageBytes += o.MessageBytes
	c.Dropped += o.Dropped
	c.Stall += o.Stall
	for i := range c.Sizes {
		c.Sizes[i] += o.Sizes[i]
	}
	for i := range c.Violations {
		c.Violations[i] += o.Violations[i]
	}
}
