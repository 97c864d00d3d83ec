//go:build unix

package main

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// upgradeSignal asks for an upgrade.
const upgradeSignal = syscall.SIGUSR2

// unlisten ends what is left of a socket whose listener is closed by leave. A duplicate of it may be kept for an upgrade, and
// would let clients connect whom nobody accepts.
func unlisten(l net.Listener, leave func()) {
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		leave()
		return
	}
	f, err := tcp.File()
	leave()
	if err != nil {
		return
	}
	defer f.Close()
	if raw, err := f.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { unix.Shutdown(int(fd), unix.SHUT_RDWR) }) // an error says that the system needs none
	}
}
