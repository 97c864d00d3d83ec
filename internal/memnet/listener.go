package memnet

import (
	"net"
	"sync"
)

// backlog is how many connections wait to be accepted before a dial has to wait, too.
const backlog = 128

// Listener accepts what is dialled to its address.
type Listener struct {
	network *Network
	key     string
	addr    *net.TCPAddr
	queue   chan *Conn
	done    chan struct{}
	once    sync.Once
}

// Accept returns a *Conn.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case <-l.done:
		return nil, l.closedError("accept")
	default:
	}
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.done:
		return nil, l.closedError("accept")
	}
}

// Addr is a *net.TCPAddr.
func (l *Listener) Addr() net.Addr { return l.addr }

// Close resets the connections that nobody has accepted.
func (l *Listener) Close() error {
	err := l.closedError("close")
	l.once.Do(func() {
		l.network.forget(l)
		close(l.done)
		l.drain()
		err = nil
	})
	return err
}

func (l *Listener) drain() {
	for {
		select {
		case c := <-l.queue:
			c.Reset()
		default:
			return
		}
	}
}

// offered is called after c was put into the queue: Close may have drained it before.
func (l *Listener) offered() {
	select {
	case <-l.done:
		l.drain()
	default:
	}
}

func (l *Listener) closedError(op string) error {
	return &net.OpError{Op: op, Net: "tcp", Addr: l.addr, Err: net.ErrClosed}
}
