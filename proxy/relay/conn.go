package relay

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// Conn is the socket of one leg, below TLS if there is any. Until a relay takes it over it is the
// net.Conn that it wraps. From then on a reader can wait without holding a buffer, a writer gives up
// only when its peer takes nothing at all for the write timeout, and the time it waited is counted.
//
// Both ends of a proxied connection are wrapped when they are made, so that the wrapper is below
// crypto/tls, too.
type Conn struct {
	net.Conn
	raw syscall.RawConn // nil where the platform or the connection has none

	used    atomic.Bool // something was read
	relayed bool
	noWait  bool // Read returns errWouldBlock instead of waiting
	timeout time.Duration
	stall   *atomic.Int64
	onStall func()      // called when a write begins to wait; may be nil
	waiting atomic.Bool // a write waits for the peer,
	since   time.Time   // from then on
	eof     atomic.Bool // a FIN was read

	in, out transfer

	loop loopSocket // reads and writes in place of all the above, once an event loop has the descriptor
}

// loopSocket is what an event loop puts below TLS. Neither of its methods waits.
type loopSocket interface {
	recv(b []byte) (int, error)
	transmit(b []byte) (int, error)
}

// transfer is what a system call works on, kept here so that nothing is allocated for it.
type transfer struct {
	b    []byte
	n    int
	err  error
	call func(fd uintptr) bool
}

// NewConn wraps c, a connection that was just accepted or dialled.
func NewConn(c net.Conn) *Conn {
	w := &Conn{Conn: c}
	w.raw = rawConn(c)
	w.in.call, w.out.call = w.readOnce, w.writeOnce
	return w
}

// errWouldBlock is what a Conn's Read gives crypto/tls when nothing is there: a temporary net.Error,
// which crypto/tls does not hold against the connection.
var errWouldBlock net.Error = wouldBlock{}

type wouldBlock struct{}

func (wouldBlock) Error() string   { return "would block" }
func (wouldBlock) Timeout() bool   { return true }
func (wouldBlock) Temporary() bool { return true }

// errSlow is a write that gave up on its peer.
var errSlow = errors.New("the peer takes nothing")

// relay prepares c for a relay. timeout bounds how long a write may make no progress, 0 not at all;
// stall gets the nanoseconds that writes waited.
func (c *Conn) relay(timeout time.Duration, stall *atomic.Int64) {
	c.relayed, c.timeout, c.stall = true, timeout, stall
}

// Read reads like net.Conn's Read; where noWait is set it does not wait.
func (c *Conn) Read(b []byte) (int, error) {
	if c.loop != nil {
		return c.loop.recv(b)
	}
	var n int
	var err error
	if c.noWait {
		n, err = c.readNow(b)
	} else {
		n, err = c.Conn.Read(b)
	}
	if n > 0 && !c.relayed {
		c.used.Store(true)
	}
	if err == io.EOF {
		c.eof.Store(true)
	}
	return n, err
}

// Used reports whether anything was read before the relay took over.
func (c *Conn) Used() bool { return c.used.Load() }

// Write writes all of b. In a relay it fails with errSlow when the peer takes nothing for the timeout.
func (c *Conn) Write(b []byte) (int, error) {
	if c.loop != nil {
		return c.loop.transmit(b)
	}
	if !c.relayed {
		return c.Conn.Write(b)
	}
	if c.raw != nil {
		return c.writeRaw(b)
	}
	return c.writeSlowly(b)
}

// writeSlowly is for connections that can't be written to without waiting: every write counts as a
// wait.
func (c *Conn) writeSlowly(b []byte) (written int, err error) {
	defer func(since time.Time) { c.stalled(since) }(time.Now())
	for {
		c.expectProgress()
		n, err := c.Conn.Write(b[written:])
		written += n
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return written, err
		}
		if n == 0 {
			return written, errSlow
		}
	}
}

// expectProgress gives the peer the timeout to take something.
func (c *Conn) expectProgress() {
	c.waiting.Store(true)
	if c.timeout > 0 {
		c.Conn.SetWriteDeadline(time.Now().Add(c.timeout))
	}
}

// stalled ends a wait that began at since.
func (c *Conn) stalled(since time.Time) {
	c.waiting.Store(false)
	c.stall.Add(int64(time.Since(since)))
	if c.timeout > 0 {
		c.Conn.SetWriteDeadline(time.Time{})
	}
}

// startStall notes that a write begins to wait.
func (c *Conn) startStall() {
	c.since = time.Now()
	if c.onStall != nil {
		c.onStall()
	}
}

// CloseWrite sends FIN, if the connection can be half-closed.
func (c *Conn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}

// reset closes the connection with RST, if it is one that can.
func (c *Conn) reset() {
	if l, ok := c.Conn.(interface{ SetLinger(int) error }); ok {
		l.SetLinger(0)
	}
	c.Conn.Close()
}

// wake interrupts a read that waits.
func (c *Conn) wake() { c.Conn.SetReadDeadline(time.Unix(1, 0)) }

// woken makes reads wait again after wake.
func (c *Conn) woken() { c.Conn.SetReadDeadline(time.Time{}) }
