//go:build linux

package load

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"wsproxy/bench/server"
	"wsproxy/bench/wire"
)

// Target is where clients connect: a proxy, or the server itself.
type Target struct {
	Address string
	TLS     *tls.Config // nil: ws, else wss
}

// conn is one client.
type conn struct {
	net.Conn         // TLS or the socket
	socket   *socket // of a client that wants to know when its packets came, else nil
	forget   func() bool
}

// dial connects and upgrades. ctx bounds the handshake and cuts the connection when it ends.
func (t *Target) dial(ctx context.Context, path string, stamps bool) (*conn, error) {
	d := net.Dialer{KeepAlive: -1} // which would be four system calls
	c, err := d.DialContext(ctx, "tcp", t.Address)
	if err != nil {
		return nil, err
	}
	client := &conn{Conn: c, forget: context.AfterFunc(ctx, func() { c.Close() })}
	if err := client.open(t, path, stamps); err != nil {
		client.Close()
		return nil, fmt.Errorf("upgrade %s%s: %w", t.Address, path, err)
	}
	return client, nil
}

// Try has one connection set up and closed.
func (t *Target) Try(ctx context.Context) error {
	c, err := t.dial(ctx, fmt.Sprintf("%s?size=1", server.PathEcho), false)
	if err != nil {
		return err
	}
	return c.closed()
}

func (c *conn) open(t *Target, path string, stamps bool) error {
	if stamps {
		s, err := newSocket(c.Conn.(*net.TCPConn))
		if err != nil {
			return err
		}
		c.Conn, c.socket = s, s
	}
	if t.TLS != nil {
		c.Conn = tls.Client(c.Conn, t.TLS)
	}
	return c.upgrade(t.Address, path)
}

// Close implements net.Conn. Nothing is said to the peer.
func (c *conn) Close() error {
	c.forget()
	return c.Conn.Close()
}

func (c *conn) upgrade(host, path string) error {
	if _, err := c.Write(wire.Request(host, path)); err != nil {
		return err
	}
	head, err := wire.ReadHead(c)
	if err != nil {
		return err
	}
	return wire.CheckResponse(head)
}

// closed ends the connection as a client should: it sends a Close frame, takes the answer and waits for
// the server to hang up (RFC 6455 §7.1.1).
func (c *conn) closed() error {
	defer c.Close()
	if _, err := c.Write(wire.Frame(wire.Close, []byte{0x03, 0xE8}, true)); err != nil {
		return err
	}
	var b [256]byte
	n := 0
	for n < len(b) {
		k, err := c.Read(b[n:])
		n += k
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("close: %w", err)
		}
	}
	return checkClose(b[:n])
}

// checkClose expects a server's Close frame with code 1000.
func checkClose(got []byte) error {
	if len(got) < 4 || !wire.IsClose(got[0]) {
		return fmt.Errorf("close: got % x, want a Close frame", got)
	}
	if code := binary.BigEndian.Uint16(got[2:]); code != 1000 {
		return fmt.Errorf("closed with %d: %q", code, got[4:])
	}
	return nil
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// socket is a TCP connection that knows when the bytes came that were read last. It has it from the kernel
// (socket(7), SO_TIMESTAMPNS): how soon this process gets round to reading is no fault of the proxy's.
type socket struct {
	*net.TCPConn
	raw     syscall.RawConn
	receive func(fd uintptr) bool

	at      time.Time // of the newest packet that the last Read had a part of
	p       []byte    // of the Read under way
	n       int
	err     error
	control [64]byte
}

func newSocket(c *net.TCPConn) (*socket, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &socket{TCPConn: c, raw: raw}
	s.receive = func(fd uintptr) bool {
		var control int
		s.n, control, _, _, s.err = unix.Recvmsg(int(fd), s.p, s.control[:], 0)
		if s.err == unix.EAGAIN {
			return false
		}
		s.stamp(s.control[:control])
		return true
	}
	var option error
	if err := raw.Control(func(fd uintptr) {
		option = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	}); err != nil {
		return nil, err
	}
	return s, option
}

// Read implements net.Conn.
func (s *socket) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	s.p = p
	err := s.raw.Read(s.receive)
	s.p = nil
	switch {
	case err != nil:
		return 0, err
	case s.err == unix.EINTR:
		return 0, nil
	case s.err != nil:
		return 0, s.err
	case s.n == 0:
		return 0, io.EOF
	}
	return s.n, nil
}

// stamp takes the time from the only control message asked for. The kernel begins to note times a moment
// after the first socket has asked: what came before came now.
func (s *socket) stamp(control []byte) {
	const header = unix.SizeofCmsghdr
	if len(control) < header+int(unsafe.Sizeof(unix.Timespec{})) {
		s.at = time.Now()
		return
	}
	t := (*unix.Timespec)(unsafe.Pointer(&control[header]))
	s.at = time.Unix(t.Unix())
}
