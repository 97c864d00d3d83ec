//go:build unix

// Package blackhole has addresses, for tests, that answer nothing at all to who connects, as behind a firewall that
// drops packets.
package blackhole

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"time"
)

// Listen is such an address on an IP address of this machine, until the test is over: a socket whose backlog is full.
func Listen(t testing.TB, ip string) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	raw, err := l.(*net.TCPListener).SyscallConn()
	var smaller error
	if err == nil {
		err = raw.Control(func(fd uintptr) { smaller = syscall.Listen(int(fd), 0) })
	}
	if err := errors.Join(err, smaller); err != nil {
		t.Fatal(err)
	}
	for range 8 { // the kernel takes one more than the backlog says
		c, err := net.DialTimeout("tcp", l.Addr().String(), 100*time.Millisecond)
		if err != nil {
			return l.Addr().String()
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Fatal("the backlog does not fill")
	return ""
}
