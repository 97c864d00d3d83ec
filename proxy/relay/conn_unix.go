//go:build unix

package relay

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

func rawConn(c net.Conn) syscall.RawConn {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// readNow reads what is there.
func (c *Conn) readNow(b []byte) (int, error) {
	c.in.b = b
	defer func() { c.in.b = nil }()
	if err := c.raw.Read(c.in.call); err != nil {
		return 0, err
	}
	return c.in.n, c.in.err
}

// readOnce never waits: it tells RawConn that it is done whatever came.
func (c *Conn) readOnce(fd uintptr) bool {
	c.in.n, c.in.err = sysRead(fd, c.in.b)
	return true
}

func sysRead(fd uintptr, b []byte) (int, error) {
	for {
		n, err := sysReadNow(fd, b)
		switch {
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			return 0, errWouldBlock
		case err != nil:
			return 0, os.NewSyscallError("read", err)
		case n == 0 && len(b) > 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// sysPeek reports whether a read would not have to wait. An error that it meets is told only here: the
// system forgets it, and the next read would see an end instead.
func sysPeek(fd uintptr) (ready bool, err error) {
	var one [1]byte
	_, _, err = syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	switch err {
	case nil, syscall.EINTR:
		return true, nil
	case syscall.EAGAIN:
		return false, nil
	}
	return true, os.NewSyscallError("recvfrom", err)
}

// failure is an error that the socket has met and not told yet, nil if there is none. It is not told
// again.
func (c *Conn) failure() (err error) {
	if c.raw == nil {
		return nil
	}
	c.raw.Control(func(fd uintptr) {
		if code, failed := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_ERROR); failed == nil && code != 0 {
			err = os.NewSyscallError("getsockopt", syscall.Errno(code))
		}
	})
	return err
}

// waitWith calls try, once and then whenever the socket becomes readable, until it returns true. try is
// called under the poller's protection: readiness that comes after a try that failed is not missed.
func (c *Conn) waitWith(try func(fd uintptr) bool) error { return c.raw.Read(try) }

func (c *Conn) writeRaw(b []byte) (int, error) {
	c.out = transfer{b: b, call: c.out.call}
	err := c.raw.Write(c.out.call)
	c.out.b = nil
	if c.waiting.Load() {
		c.stalled(c.since)
	}
	switch {
	case err == nil:
		err = c.out.err
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = errSlow
	}
	return c.out.n, err
}

// writeOnce writes until the socket takes no more. The time for the peer to take something begins anew
// whenever it did.
func (c *Conn) writeOnce(fd uintptr) bool {
	for progress := false; c.out.n < len(c.out.b); {
		n, err := sysWriteNow(fd, c.out.b[c.out.n:])
		switch {
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			if first := !c.waiting.Load(); first {
				c.startStall()
			} else if !progress {
				return false
			}
			c.expectProgress()
			return false
		case err != nil:
			c.out.err = os.NewSyscallError("write", err)
			return true
		default:
			c.out.n += n
			progress = true
		}
	}
	return true
}
