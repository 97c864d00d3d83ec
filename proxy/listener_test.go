package proxy

import (
	"errors"
	"net"
	"os"
	"syscall"

	"wsproxy/internal/memnet"
)

var (
	blackHole  = memnet.Path{BlackHole: true}
	errTooMany = &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	errBroken  = errors.New("broken")
)

// failingListener fails with one error after the other.
type failingListener struct {
	net.Listener
	errs []error
}

func (l *failingListener) Accept() (net.Conn, error) {
	err := l.errs[0]
	l.errs = l.errs[1:]
	return nil, err
}
