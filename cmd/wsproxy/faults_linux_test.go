package main

import (
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// giveUpSoon has TCP give up on whoever is at address, at the other end of a socket of this process, once it takes
// nothing for a moment (tcp(7), TCP_USER_TIMEOUT).
func giveUpSoon(t *testing.T, address net.Addr) {
	t.Helper()
	want := address.(*net.TCPAddr).AddrPort()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		peer, err := syscall.Getpeername(fd)
		if a, ok := peer.(*syscall.SockaddrInet4); err != nil || !ok || netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)) != want {
			continue
		}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int((300 * time.Millisecond).Milliseconds())); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("no socket leads to %s", address)
}
