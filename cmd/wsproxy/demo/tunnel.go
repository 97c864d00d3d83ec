package demo

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// dial connects an egress proxy to where it was asked to. It knows the demo's names, and goes nowhere
// but loopback.
func (c *Cast) dial(address string) (*net.TCPConn, error) {
	ctx, cancel := context.WithTimeout(c.ctx, patience)
	defer cancel()
	d := net.Dialer{Resolver: c.Resolver(), Control: onlyLoopback}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

func onlyLoopback(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	if !to.Addr().IsLoopback() {
		return fmt.Errorf("%s is not on this machine: %w", to, syscall.EACCES)
	}
	return nil
}

// tunnel carries bytes both ways until both have ended. said is where the guest's bytes come from, and
// target is closed.
func (c *Cast) tunnel(g *guest, said io.Reader, target *net.TCPConn) {
	forget := context.AfterFunc(c.ctx, func() { target.Close() })
	defer forget()
	defer target.Close()
	g.SetDeadline(time.Time{})
	var both sync.WaitGroup
	both.Go(func() { pour(target, said, g.TCPConn) })
	pour(g.TCPConn, target, target)
	both.Wait()
}

// pour copies until from ends and passes the end on. If to breaks, source is told: it is what from
// reads of.
func pour(to *net.TCPConn, from io.Reader, source *net.TCPConn) {
	if _, err := io.Copy(to, from); err == nil {
		to.CloseWrite()
		return
	}
	for _, conn := range []*net.TCPConn{to, source} { // a reset on one side is one on the other
		conn.SetLinger(0)
		conn.Close()
	}
}
