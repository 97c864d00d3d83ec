// Package demo is the cast of `wsproxy demo`: upstreams, egress proxies and a name server on loopback,
// the clients that connect through the proxy, and the picture of what became of each connection.
//
// It runs no proxy and knows none of its packages but lifecycle, whose observer it is.
package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"wsproxy/internal/selfca"
)

// Cast is everybody whom the proxy talks to in the demo. All of them are on loopback only.
type Cast struct {
	Routes   []Route
	Egresses []Egress
	CAFile   string // PEM, of the authority that signed the wss upstream's certificate
	Folder   string // of the demo's files; Close removes it

	ctx    context.Context // ends with Close
	stop   context.CancelFunc
	inside sync.WaitGroup // the peers' goroutines and guests
	waits  waits

	names    string // address of the name server
	password string // of the egress proxies
}

// waits are how long the slow ones take.
type waits struct {
	lookup  time.Duration // of slow.demo
	connect time.Duration // the CONNECT proxy's answer
	socks   time.Duration // the SOCKS5 proxy's
}

// Start opens everybody's door. Ending ctx ends nobody, so that a drain finds its upstreams: Close does.
func Start(ctx context.Context) (*Cast, error) {
	return start(ctx, waits{lookup: 150 * time.Millisecond, connect: 120 * time.Millisecond, socks: 60 * time.Millisecond})
}

func start(ctx context.Context, w waits) (*Cast, error) {
	c := &Cast{waits: w}
	c.ctx, c.stop = context.WithCancel(context.WithoutCancel(ctx))
	if err := c.assemble(); err != nil {
		return nil, fmt.Errorf("start demo: %w", errors.Join(err, c.Close()))
	}
	return c, nil
}

// assemble starts the peers, those first that others need.
func (c *Cast) assemble() error {
	var err error
	if c.Folder, err = os.MkdirTemp("", "wsproxy-demo-"); err != nil {
		return err
	}
	ca, err := selfca.New("wsproxy demo CA")
	if err != nil {
		return err
	}
	if c.CAFile, err = ca.Write(c.Folder, "ca"); err != nil {
		return err
	}
	if c.names, err = c.startNames(); err != nil {
		return err
	}
	u, err := c.startUpstreams(ca)
	if err != nil {
		return err
	}
	if err := c.startEgresses(); err != nil {
		return err
	}
	c.Routes = routes(u)
	return nil
}

// Close sends everybody home, waits until they are gone, and removes the files. It may be called again.
func (c *Cast) Close() error {
	c.stop()
	c.inside.Wait()
	if c.Folder == "" {
		return nil
	}
	return os.RemoveAll(c.Folder)
}

// Resolver asks the demo's own name server and nobody else. It is of no use after Close.
func (c *Cast) Resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, c.names)
		if udp, ok := conn.(*net.UDPConn); ok {
			return newQuestion(c.ctx, udp), nil
		}
		return conn, err
	}}
}
