package relay

import (
	"crypto/tls"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"wsproxy/proxy/frame"
)

// bufferSize is what one read may bring. Smaller ones cost a third more per byte.
const bufferSize = 64 << 10

// buffers are taken when there is something to read and given back when it is written, so idle
// connections hold none. Each has room in front for what the last read left undecided.
var buffers = sync.Pool{New: func() any { return new([frame.MaxHeld + bufferSize]byte) }}

type buffer = [frame.MaxHeld + bufferSize]byte

// leg reads and writes one socket for the goroutine engine.
type leg struct {
	conn net.Conn // as it was handed over: a Conn, or TLS above one
	sock *Conn
	tls  *tls.Conn // nil if plain

	held   []byte // of the direction that reads this leg
	buf    *buffer
	n      int // bytes in buf, the held ones included
	err    error
	try    func(fd uintptr) bool
	peeked bool
}

func newLeg(c net.Conn, write time.Duration, stall *atomic.Int64) *leg {
	l := &leg{conn: c}
	switch c := c.(type) {
	case *Conn:
		l.sock = c
	case *tls.Conn:
		if sock, ok := c.NetConn().(*Conn); ok {
			l.sock, l.tls = sock, c
		}
	}
	if l.sock == nil { // TLS inside TLS, or a connection that was never wrapped
		l.sock = NewConn(c)
		l.sock.raw = nil
		l.conn = l.sock
	}
	l.sock.relay(write, stall)
	l.try = l.tryPlain
	if l.tls != nil {
		l.try = l.tryPeek
	}
	return l
}

// read waits until there is something, and returns it behind what hold kept. The slice is valid until
// release.
func (l *leg) read() ([]byte, error) {
	l.n, l.err = 0, nil
	var err error
	switch {
	case l.sock.raw == nil:
		l.take()
		l.fill(l.conn)
	case l.tls == nil:
		err = l.sock.waitWith(l.try)
	default:
		err = l.readTLS()
	}
	if err == nil {
		err = l.err
	}
	if l.buf == nil {
		return nil, err
	}
	return l.buf[:l.n], err
}

// take gets a buffer and puts the held bytes in front.
func (l *leg) take() {
	if l.buf == nil {
		l.buf = buffers.Get().(*buffer)
		l.n = copy(l.buf[:], l.held)
	}
}

// release gives the buffer back, but keeps its last held bytes for the next read.
func (l *leg) release(held int) {
	if l.buf == nil {
		return
	}
	l.held = append(l.held[:0], l.buf[l.n-held:l.n]...)
	buffers.Put(l.buf)
	l.buf = nil
}

func (l *leg) fill(r io.Reader) {
	var n int
	n, l.err = r.Read(l.buf[l.n:])
	l.n += n
}

// tryPlain reads; if nothing is there it lets go of the buffer and asks to be called again.
func (l *leg) tryPlain(fd uintptr) bool {
	l.take()
	var n int
	n, l.err = sysRead(fd, l.buf[l.n:])
	l.n += n
	if l.err == error(errWouldBlock) {
		l.drop()
		l.err = nil
		return false
	}
	return true
}

// drop gives back a buffer into which nothing was read.
func (l *leg) drop() {
	buffers.Put(l.buf)
	l.buf = nil
}

// readTLS takes what whole records give, and only if there are none waits for the socket.
func (l *leg) readTLS() error {
	l.sock.noWait = true
	defer func() { l.sock.noWait = false }()
	for {
		l.take()
		empty := l.n
		for l.n < len(l.buf) && l.err == nil {
			l.fill(l.tls)
		}
		if l.err == error(errWouldBlock) {
			l.err = nil
		} else if l.err != nil && l.n > empty {
			l.err = nil // crypto/tls will say it again
		}
		if l.n > empty || l.err != nil {
			return nil
		}
		l.drop()
		l.peeked = false
		if err := l.sock.waitWith(l.try); err != nil {
			return err
		}
	}
}

// tryPeek waits for the socket without taking anything from it: first it looks, then it has been woken.
func (l *leg) tryPeek(fd uintptr) bool {
	if l.peeked {
		return true
	}
	l.peeked = true
	return sysPeek(fd)
}

// truncated says that a TLS leg ended without close_notify.
func (l *leg) truncated() bool { return l.tls != nil && l.sock.eof.Load() }

// write writes all of b.
func (l *leg) write(b []byte) error {
	_, err := l.conn.Write(b)
	return err
}

// closeWrite sends close_notify, if there is TLS, and FIN.
func (l *leg) closeWrite() error {
	if l.tls != nil {
		if err := l.tls.CloseWrite(); err != nil {
			return err
		}
	}
	return l.sock.CloseWrite()
}

// close closes the socket. Behind a reset it does nothing.
func (l *leg) close() { l.sock.Close() }
