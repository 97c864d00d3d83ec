package egress

import (
	"bufio"
	"bytes"
	"net"
)

// earlyConn is a connection whose first bytes were read before it was handed over.
type earlyConn struct {
	net.Conn
	early []byte
}

// withEarly returns conn with the bytes that r has buffered, conn itself if there are none.
func withEarly(conn net.Conn, r *bufio.Reader) net.Conn {
	n := r.Buffered()
	if n == 0 {
		return conn
	}
	early, _ := r.Peek(n) // n bytes are there
	return &earlyConn{Conn: conn, early: bytes.Clone(early)}
}

func (c *earlyConn) Read(p []byte) (int, error) {
	if len(c.early) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.early)
	if c.early = c.early[n:]; len(c.early) == 0 {
		c.early = nil
	}
	return n, nil
}

// CloseWrite ends the writing direction, if the connection beneath can; else it closes nothing.
func (c *earlyConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// NetConn is the connection beneath, as of a tls.Conn. Whoever reads from it loses the first bytes.
func (c *earlyConn) NetConn() net.Conn { return c.Conn }
