package memnet

import (
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// DefaultBuffer is how many bytes a direction holds before a writer waits.
const DefaultBuffer = 64 << 10

// Conn is one end of a connection, with the methods of *net.TCPConn that a proxy needs.
type Conn struct {
	link          *link
	peer          *Conn
	local, remote net.Addr

	// Guarded by link.mu.
	in            buffer // what the peer sent, unread
	inEnded       bool   // the peer sent FIN
	outEnded      bool   // we did
	closed        bool   // Close was called
	dead          bool   // a reset came: nothing goes out any more, and nothing comes in after what is there
	pending       error  // why it is dead, told once, to whoever reads or writes first
	abortive      bool   // Close resets
	writing       bool   // a Write is under way; others wait, so that their bytes do not mix
	readDeadline  deadline
	writeDeadline deadline
}

// link is what the two ends of a connection share.
type link struct {
	mu      sync.Mutex
	changed *sync.Cond
}

// Pipe returns the two ends of a connection between made-up addresses.
func Pipe() (client, server *Conn) {
	return connect(netip.MustParseAddrPort("127.0.0.1:49152"), netip.MustParseAddrPort("127.0.0.1:80"), DefaultBuffer)
}

func connect(client, server netip.AddrPort, size int) (*Conn, *Conn) {
	l := &link{}
	l.changed = sync.NewCond(&l.mu)
	a := &Conn{link: l, local: net.TCPAddrFromAddrPort(client), remote: net.TCPAddrFromAddrPort(server)}
	b := &Conn{link: l, local: a.remote, remote: a.local}
	a.peer, b.peer = b, a
	a.in.size, b.in.size = size, size
	return a, b
}

// Peer is the other end.
func (c *Conn) Peer() *Conn { return c.peer }

// LocalAddr is a *net.TCPAddr.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr is a *net.TCPAddr.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// Read waits for data, the end or an error. What arrived before a FIN or a reset is read first.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.read(p)
	if err != nil && err != io.EOF {
		err = c.failed("read", err)
	}
	return n, err
}

func (c *Conn) read(p []byte) (int, error) {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, net.ErrClosed
		case len(p) == 0:
			return 0, nil
		case c.readDeadline.passed:
			return 0, os.ErrDeadlineExceeded
		case c.in.unread() > 0:
			n := c.in.read(p)
			c.link.changed.Broadcast()
			return n, nil
		case c.inEnded:
			return 0, io.EOF
		case c.pending != nil:
			return 0, c.takePending("read")
		case c.dead:
			return 0, io.EOF
		}
		c.link.changed.Wait()
	}
}

// Write waits until all of p is in the buffer. A first write after the peer has closed succeeds and
// goes nowhere, as the peer's answer to it, a reset, comes only then.
func (c *Conn) Write(p []byte) (int, error) {
	n, err := c.write(p)
	if err != nil {
		err = c.failed("write", err)
	}
	return n, err
}

func (c *Conn) write(p []byte) (n int, err error) {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	for c.writing {
		if err := c.writable(); err != nil {
			return 0, err
		}
		c.link.changed.Wait()
	}
	c.writing = true
	defer func() {
		c.writing = false
		c.link.changed.Broadcast()
	}()
	for {
		if err := c.writable(); err != nil {
			return n, err
		}
		n += c.send(p[n:])
		if n == len(p) {
			return n, nil
		}
		c.link.changed.Wait()
	}
}

// writable is why nothing can be written now, a full buffer aside.
func (c *Conn) writable() error {
	switch {
	case c.closed:
		return net.ErrClosed
	case c.writeDeadline.passed:
		return os.ErrDeadlineExceeded
	case c.pending != nil:
		return c.takePending("write")
	case c.outEnded, c.dead:
		return os.NewSyscallError("write", syscall.EPIPE)
	}
	return nil
}

func (c *Conn) send(p []byte) int {
	if len(p) > 0 && c.peer.closed && !c.peer.dead { // a dead peer does not even answer with a reset
		c.dead = true
		return len(p)
	}
	n := c.peer.in.write(p)
	if n > 0 {
		c.link.changed.Broadcast()
	}
	return n
}

func (c *Conn) takePending(call string) error {
	err := os.NewSyscallError(call, c.pending)
	c.pending = nil
	return err
}

// CloseWrite sends FIN: the peer reads what was written, then io.EOF.
func (c *Conn) CloseWrite() error {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	switch {
	case c.closed:
		return c.failed("close", net.ErrClosed)
	case c.dead, c.outEnded && c.inEnded:
		return c.failed("close", os.NewSyscallError("shutdown", syscall.ENOTCONN))
	}
	c.outEnded, c.peer.inEnded = true, true
	c.link.changed.Broadcast()
	return nil
}

// Close sends FIN. With unread data, or after SetLinger(0), it sends a reset instead.
func (c *Conn) Close() error {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	if c.closed {
		return c.failed("close", net.ErrClosed)
	}
	c.closed = true
	c.readDeadline.stop()
	c.writeDeadline.stop()
	switch {
	case c.dead:
	case c.abortive, c.in.unread() > 0:
		c.peer.die(syscall.ECONNRESET)
	default:
		c.peer.inEnded = true
	}
	c.in.data, c.in.off = nil, 0
	c.link.changed.Broadcast()
	return nil
}

// Reset closes the connection with a reset: the peer reads what has arrived, then ECONNRESET.
func (c *Conn) Reset() error {
	if err := c.SetLinger(0); err != nil {
		return err
	}
	return c.Close()
}

// Fail ends the connection on this end as if its own TCP had given up, with syscall.ETIMEDOUT for
// example. The peer hears nothing of it.
func (c *Conn) Fail(err syscall.Errno) {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	c.die(err)
	c.link.changed.Broadcast()
}

func (c *Conn) die(err syscall.Errno) {
	if c.closed || c.dead {
		return
	}
	c.dead = true
	if !c.inEnded { // after a FIN there is only EOF to read and EPIPE to write
		c.pending = err
	}
}

// SetLinger with 0 makes Close send a reset; other values change nothing.
func (c *Conn) SetLinger(seconds int) error {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	if c.closed {
		return c.failed("set", net.ErrClosed)
	}
	c.abortive = seconds == 0
	return nil
}

// failed wraps err as the net package does. It reads nothing that is guarded.
func (c *Conn) failed(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
}

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	return c.setDeadlines(t, &c.readDeadline, &c.writeDeadline)
}

// SetReadDeadline bounds reads, those already waiting included. Zero means no deadline.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadlines(t, &c.readDeadline) }

// SetWriteDeadline bounds writes, those already waiting included. Zero means no deadline.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadlines(t, &c.writeDeadline) }

func (c *Conn) setDeadlines(t time.Time, deadlines ...*deadline) error {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	if c.closed {
		return &net.OpError{Op: "set", Net: "tcp", Addr: c.local, Err: net.ErrClosed}
	}
	for _, d := range deadlines {
		d.set(c.link, t)
	}
	return nil
}
