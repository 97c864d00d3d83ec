//go:build !unix

package relay

import (
	"net"
	"syscall"
)

// rawConn: without Unix system calls a relay reads and writes through net.Conn, and holds a buffer
// while it waits.
func rawConn(net.Conn) syscall.RawConn { return nil }

func (c *Conn) readNow(b []byte) (int, error) { return c.Conn.Read(b) }

func (c *Conn) failure() error { return nil }

func (c *Conn) waitWith(func(uintptr) bool) error { return nil }

func (c *Conn) writeRaw(b []byte) (int, error) { return c.writeSlowly(b) }

func sysRead(uintptr, []byte) (int, error) { return 0, syscall.ENOTSUP }
func sysPeek(uintptr) (bool, error)        { return true, nil }

func (c *Conn) readOnce(uintptr) bool  { return true }
func (c *Conn) writeOnce(uintptr) bool { return true }
