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

// buffer has room in front for what the last read left undecided.
type buffer = [frame.MaxHeld + bufferSize]byte

// pool holds buffers. They are taken when there is something to read and given back when it is written,
// so idle connections have none.
type pool interface {
	Get() any
	Put(any)
}

func newBuffers() pool { return &sync.Pool{New: func() any { return new(buffer) }} }

// leg reads and writes one socket for the goroutine engine.
type leg struct {
	conn    net.Conn // as it was handed over: a Conn, or TLS above one
	sock    *Conn
	tls     []*tls.Conn // none if plain; the outermost first
	buffers pool

	early  []byte // came with the handshake, to be read first
	held   []byte // of the direction that reads this leg
	buf    *buffer
	n      int // bytes in buf, the held ones included
	err    error
	try    func(fd uintptr) bool
	peeked bool
	tcp    tcp
}

func newLeg(c net.Conn, write time.Duration, stall *atomic.Int64, buffers pool) *leg {
	l := &leg{conn: c, buffers: buffers}
	l.sock, l.tls = layers(c)
	if l.sock == nil { // a connection that was never wrapped, or not by us alone
		l.sock, l.tls = NewConn(c), nil
		l.sock.raw = nil
		l.conn = l.sock
	}
	l.sock.relay(write, stall)
	l.try = l.tryPlain
	if len(l.tls) > 0 {
		l.try = l.tryPeek
	}
	return l
}

// layers finds the socket under c, nil if it is not one of ours, and the TLS between. Through an egress
// that is reached over TLS there are two.
func layers(c net.Conn) (*Conn, []*tls.Conn) {
	var above []*tls.Conn
	for {
		switch at := c.(type) {
		case *Conn:
			return at, above
		case *tls.Conn:
			above = append(above, at)
			c = beneath(at.NetConn())
		default:
			return nil, nil
		}
	}
}

// read waits until there is something, and returns it behind what hold kept. The slice is valid until
// release.
func (l *leg) read() ([]byte, error) {
	l.n, l.err = 0, nil
	var err error
	switch {
	case len(l.early) > 0:
		l.take()
		n := copy(l.buf[l.n:], l.early)
		l.n += n
		if l.early = l.early[n:]; len(l.early) == 0 {
			l.early = nil // or its array would live as long as the connection
		}
	case l.sock.raw == nil:
		l.take()
		l.fill(l.conn)
	case len(l.tls) == 0:
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
		l.buf = l.buffers.Get().(*buffer)
		l.n = copy(l.buf[:], l.held)
	}
}

// release gives the buffer back, but keeps its last held bytes for the next read.
func (l *leg) release(held int) {
	if l.buf == nil {
		return
	}
	if held > 0 || len(l.held) > 0 {
		l.held = append(l.held[:0], l.buf[l.n-held:l.n]...)
	}
	l.drop()
}

// drop gives the buffer back.
func (l *leg) drop() {
	if l.buf != nil {
		l.buffers.Put(l.buf)
		l.buf = nil
	}
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

// readTLS takes what whole records give, and only if there are none waits for the socket.
func (l *leg) readTLS() error {
	l.sock.noWait = true
	defer func() { l.sock.noWait = false }()
	for {
		l.take()
		empty := l.n
		for l.n < len(l.buf) && l.err == nil {
			l.fill(l.conn)
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
		if err := l.sock.waitWith(l.try); err != nil || l.err != nil {
			return err
		}
	}
}

// tryPeek waits for the socket without taking anything from it: first it looks, then it has been woken.
func (l *leg) tryPeek(fd uintptr) (ready bool) {
	if l.peeked {
		return true
	}
	l.peeked = true
	ready, l.err = sysPeek(fd)
	return ready
}

// truncated says that a TLS leg ended without close_notify.
func (l *leg) truncated() bool { return len(l.tls) > 0 && l.sock.eof.Load() }

// write writes all of b.
func (l *leg) write(b []byte) error {
	_, err := l.conn.Write(b)
	return err
}

// closeWrite sends close_notify, if there is TLS, and FIN.
func (l *leg) closeWrite() error {
	for _, t := range l.tls {
		if err := t.CloseWrite(); err != nil {
			return err
		}
	}
	return l.sock.CloseWrite()
}

// close closes the socket. Behind a reset it does nothing.
func (l *leg) close() { l.sock.Close() }
