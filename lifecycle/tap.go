package lifecycle

import (
	"slices"
	"sync/atomic"
	"time"
)

// Frame is the header of a WebSocket frame, without its masking key.
type Frame struct {
	At        time.Time
	Direction Direction
	Opcode    string
	Length    uint64 // of the payload, in bytes
	Bits      byte   // FIN and RSV1 to RSV3 where RFC 6455 §5.2 has them: 0x80, 0x40, 0x20, 0x10
	Masked    bool
	Own       bool // the proxy's own, and not what an endpoint sent
}

const (
	tapRoom = 1024 // frames that wait for a tap's reader
	tapsOf  = 4    // taps of one connection
)

// Tap gets the headers of a connection's frames from when it was made. It never keeps the connection waiting.
type Tap struct {
	conn    *Connection
	frames  chan Frame
	dropped atomic.Uint64
	ended   chan struct{}
}

// Frames gives one header after the other; it is never closed.
func (t *Tap) Frames() <-chan Frame { return t.frames }

// Ended is closed when the connection has left its registry. Frames may still be waiting then.
func (t *Tap) Ended() <-chan struct{} { return t.ended }

// Dropped is how many headers did not fit since the last call, because they were taken too slowly.
func (t *Tap) Dropped() uint64 { return t.dropped.Swap(0) }

// Close detaches the tap.
func (t *Tap) Close() {
	c := t.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	left := slices.DeleteFunc(slices.Clone(c.tapped()), func(o *Tap) bool { return o == t })
	if len(left) == 0 {
		c.taps.Store(nil)
		return
	}
	c.taps.Store(&left)
}

// Tap attaches a tap, or returns nil if the connection has as many as it may. Of one that has ended the tap has, too.
func (c *Connection) Tap() *Tap {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &Tap{conn: c, frames: make(chan Frame, tapRoom), ended: make(chan struct{})}
	now := c.tapped()
	switch {
	case c.gone:
		close(t.ended)
	case len(now) >= tapsOf:
		return nil
	default:
		c.taps.Store(new(append(slices.Clone(now), t)))
	}
	return t
}

func (c *Connection) tapped() []*Tap {
	if now := c.taps.Load(); now != nil {
		return *now
	}
	return nil
}

// Tapped says whether anybody wants to know of frames; it costs one load.
func (c *Connection) Tapped() bool { return c.taps.Load() != nil }

// Tell hands a frame's header to every tap that has room for it.
func (c *Connection) Tell(f Frame) {
	for _, t := range c.tapped() {
		select {
		case t.frames <- f:
		default:
			t.dropped.Add(1)
		}
	}
}

// untap ends all taps, and those to come. c.mu is held.
func (c *Connection) untap() {
	c.gone = true
	for _, t := range c.tapped() {
		close(t.ended)
	}
	c.taps.Store(nil)
}
