package relay

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"wsproxy/lifecycle"
)

// socket is one leg in a loop: a descriptor of our own that never blocks, and TLS above it if there is
// any. What it does not take at once waits here, and until it is gone nothing more is read for it.
type socket struct {
	couple *couple
	dir    lifecycle.Direction // that reads it
	fd     int
	under  *Conn     // below tls
	tls    *tls.Conn // nil if plain

	readable bool // there may be something to read
	drained  bool // the last read took all there was; below TLS
	hup      bool // a FIN or worse is near: a short read does not mean that nothing is left
	eof      bool // a FIN was read
	finDue   bool // a FIN follows what waits
	closed   bool

	unsent   *[]byte // from unsents, nil if nothing waits there
	sent     int     // of unsent
	pipe     *pipe   // spliced bytes that wait, nil if none do
	progress time.Time
	since    time.Time // something has waited since
	told     bool      // that it has waited for long
	info     tcp
	stall    *atomic.Int64
}

// unsents are buffers for what a slow socket did not take. A read brings at most bufferSize; TLS adds
// its record headers, and Go begins with small records.
var unsents = sync.Pool{New: func() any {
	b := make([]byte, 0, bufferSize+8<<10)
	return &b
}}

func newSocket(c *couple, d lifecycle.Direction, fd int, under *Conn, conn net.Conn, stall *atomic.Int64) socket {
	s := socket{couple: c, dir: d, fd: fd, stall: stall}
	if t, ok := conn.(*tls.Conn); ok {
		s.tls, s.under = t, under
		s.readable = true // records may have come with the handshake
	}
	under.Conn.Close() // the descriptor lives on
	return s
}

// attach has TLS read and write through the loop. It is apart from newSocket because the socket must
// be where it stays.
func (s *socket) attach() {
	if s.tls != nil {
		s.under.raw, s.under.loop = nil, s
	}
}

// read reads without waiting. At the end of what is there it returns errWouldBlock, or, where that is
// certain, fewer bytes than asked for with readable unset.
func (s *socket) read(b []byte) (int, error) {
	if s.tls != nil {
		return s.readTLS(b)
	}
	n, err := sysRead(uintptr(s.fd), b)
	if n > 0 && n < len(b) && !s.hup {
		s.readable = false // a new edge will come
	}
	return n, err
}

// readTLS fills b from as many records as are there.
func (s *socket) readTLS(b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var k int
		k, err = s.tls.Read(b[n:])
		n += k
	}
	if err == error(errWouldBlock) && n > 0 {
		s.readable = false
		return n, nil
	}
	if err != nil && n > 0 {
		return n, nil // crypto/tls will say it again
	}
	return n, err
}

// recv is what TLS reads from.
func (s *socket) recv(b []byte) (int, error) {
	if s.drained {
		return 0, errWouldBlock
	}
	n, err := sysRead(uintptr(s.fd), b)
	switch {
	case err == error(errWouldBlock), err == nil && n < len(b) && !s.hup:
		s.drained = true
	case err == io.EOF:
		s.eof = true
	}
	return n, err
}

// send writes b; what the socket does not take waits.
func (s *socket) send(b []byte) error {
	if s.tls != nil {
		_, err := s.tls.Write(b)
		return err
	}
	_, err := s.transmit(b)
	return err
}

// transmit writes b, or keeps it behind what waits already. To TLS it never says that it would block,
// which crypto/tls would take for the end.
func (s *socket) transmit(b []byte) (int, error) {
	n := 0
	if s.unsent == nil {
		var err error
		if n, err = s.write(b); err != nil || n == len(b) {
			return n, err
		}
		s.unsent = unsents.Get().(*[]byte)
		s.since = s.couple.loop.now
		s.progress = s.since
	}
	*s.unsent = append(*s.unsent, b[n:]...)
	return len(b), nil
}

// sendPipe writes what is in p; what the socket does not take waits in it.
func (s *socket) sendPipe(p *pipe) error {
	err := p.drain(s.fd)
	if err == nil && p.n > 0 {
		s.pipe = p
		s.since = s.couple.loop.now
		s.progress = s.since
		return nil
	}
	s.couple.loop.pipes.put(p)
	return err
}

// write writes what the socket takes now.
func (s *socket) write(b []byte) (int, error) {
	written := 0
	for written < len(b) {
		n, err := sysWriteNow(uintptr(s.fd), b[written:])
		switch {
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			return written, nil
		case err != nil:
			return written, os.NewSyscallError("write", err)
		default:
			written += n
		}
	}
	return written, nil
}

// pending reports that something waits to be written.
func (s *socket) pending() bool { return s.unsent != nil || s.pipe != nil }

// flush writes what waits.
func (s *socket) flush() error {
	if s.pipe != nil {
		return s.flushPipe()
	}
	n, err := s.write((*s.unsent)[s.sent:])
	if n > 0 {
		s.sent += n
		s.progress = s.couple.loop.now
	}
	if err != nil || s.sent < len(*s.unsent) {
		return err
	}
	s.discard()
	if s.finDue {
		return s.fin()
	}
	return nil
}

func (s *socket) flushPipe() error {
	before := s.pipe.n
	err := s.pipe.drain(s.fd)
	if s.pipe.n < before {
		s.progress = s.couple.loop.now
	}
	if err == nil && s.pipe.n == 0 {
		s.discard()
	}
	return err
}

// discard lets go of what waits.
func (s *socket) discard() {
	if !s.pending() {
		return
	}
	s.stall.Add(int64(time.Since(s.since)))
	s.told = false
	if s.pipe != nil {
		s.couple.loop.pipes.put(s.pipe)
		s.pipe = nil
		return
	}
	*s.unsent = (*s.unsent)[:0]
	unsents.Put(s.unsent)
	s.unsent, s.sent = nil, 0
}

// shut sends close_notify, if there is TLS, and FIN.
func (s *socket) shut() error {
	if s.tls != nil {
		if err := s.tls.CloseWrite(); err != nil {
			return err
		}
	}
	if s.finDue = s.pending(); s.finDue {
		return nil
	}
	return s.fin()
}

func (s *socket) fin() error {
	if err := unix.Shutdown(s.fd, unix.SHUT_WR); err != nil && !errors.Is(err, unix.ENOTCONN) {
		return os.NewSyscallError("shutdown", err)
	}
	return nil
}

// reset has the descriptor's close send RST, and ends what is under way now.
func (s *socket) reset() {
	if s.closed {
		return
	}
	unix.SetsockoptLinger(s.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	s.close()
}

func (s *socket) close() {
	if s.closed {
		return
	}
	s.closed = true
	s.couple.loop.sockets[s.fd] = nil // before the number can be another's
	unix.Close(s.fd)
}

// err is the socket's pending error.
func (s *socket) err() error {
	errno, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	if errno == 0 {
		return nil
	}
	return os.NewSyscallError("read", syscall.Errno(errno))
}

// truncated says that a TLS leg ended without close_notify.
func (s *socket) truncated() bool { return s.tls != nil && s.eof }
