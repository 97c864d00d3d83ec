package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

const (
	loopback = "127.0.0.1"
	freePort = loopback + ":0"

	seats     = 64                    // how many guests a peer has at a time; more wait in the backlog
	patience  = 5 * time.Second       // for what a peer must say next, and for it to take what is sent
	headLimit = 16 << 10              // bytes of an HTTP request's head
	keepAlive = 15 * time.Second      // of TCP
	recovery  = 50 * time.Millisecond // after a guest who could not be let in
)

// door is a peer's listener. It lets in as many guests as there are seats, and ctx ends them all.
type door struct {
	*net.TCPListener
	ctx    context.Context
	seats  chan struct{}
	inside *sync.WaitGroup
}

// guest is a connection that somebody accepted and must close.
type guest struct {
	*net.TCPConn
	leave func()
}

// Close implements net.Conn.
func (g *guest) Close() error {
	g.leave()
	return nil
}

// atEnd has shut called when the cast ends; Close waits for it.
func (c *Cast) atEnd(shut func() error) {
	c.inside.Add(1)
	context.AfterFunc(c.ctx, func() {
		defer c.inside.Done()
		shut()
	})
}

// open binds a door on a free port.
func (c *Cast) open() (*door, error) {
	config := net.ListenConfig{KeepAlive: keepAlive}
	l, err := config.Listen(c.ctx, "tcp", freePort)
	if err != nil {
		return nil, err
	}
	c.atEnd(l.Close)
	return &door{TCPListener: l.(*net.TCPListener), ctx: c.ctx, seats: make(chan struct{}, seats), inside: &c.inside}, nil
}

// Accept waits for a seat and then for a guest. Whoever calls it is inside, too.
func (d *door) Accept() (net.Conn, error) {
	select {
	case d.seats <- struct{}{}:
	case <-d.ctx.Done():
		return nil, net.ErrClosed
	}
	conn, err := d.AcceptTCP()
	if err != nil {
		<-d.seats
		return nil, err
	}
	d.inside.Add(1)
	forget := context.AfterFunc(d.ctx, func() { conn.Close() })
	return &guest{TCPConn: conn, leave: sync.OnceFunc(func() {
		forget()
		conn.Close()
		<-d.seats
		d.inside.Done()
	})}, nil
}

// serve has handle talk to every guest, for as long as it likes.
func (c *Cast) serve(d *door, handle func(*guest)) {
	c.inside.Go(func() {
		for {
			conn, err := d.Accept()
			if errors.Is(err, net.ErrClosed) || err != nil && !wait(c.ctx, recovery) {
				return
			}
			if err != nil { // no descriptor is free, or the guest has left already
				continue
			}
			c.inside.Go(func() {
				defer conn.Close()
				handle(conn.(*guest))
			})
		}
	})
}

// refusing returns an address that refuses connections for as long as the cast plays: its port is the
// client's end of a connection, so nobody can come to listen on it.
func (c *Cast) refusing() (string, error) {
	d, err := c.open()
	if err != nil {
		return "", err
	}
	conn, err := new(net.Dialer).DialContext(c.ctx, "tcp", d.Addr().String())
	if err != nil {
		return "", fmt.Errorf("take a port that refuses: %w", err)
	}
	c.atEnd(conn.Close)
	return conn.LocalAddr().String(), nil
}

// wait is over after d, or false when ctx ends before.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
