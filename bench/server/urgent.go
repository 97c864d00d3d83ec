//go:build linux

package server

import (
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"wsproxy/bench/proc"
)

// blocking is a connection whose reads and writes block the thread that does them.
type blocking struct {
	net.Conn
	file *os.File
}

// urgently has c served before everything else that its core does: bytes that wait then wait for the proxy. Its goroutine has a thread
// of its own, which blocks in reading, so that the kernel and not Go's poller wakes it. TLS stays as it is.
func urgently(c *conn, serve func() error) error {
	tcp, ok := c.Conn.(*net.TCPConn)
	if !ok {
		return serve()
	}
	file, err := tcp.File()
	if err != nil {
		return err
	}
	defer file.Close()
	if err := unix.SetNonblock(int(file.Fd()), false); err != nil {
		return err
	}
	c.Conn = &blocking{tcp, file}
	defer proc.Urgent()()
	return serve()
}

// Read implements net.Conn.
func (b *blocking) Read(p []byte) (int, error) {
	n, err := unix.Read(int(b.file.Fd()), p)
	if n == 0 && err == nil {
		err = io.EOF
	}
	return max(n, 0), err
}

// Write implements net.Conn.
func (b *blocking) Write(p []byte) (int, error) { return unix.Write(int(b.file.Fd()), p) }
