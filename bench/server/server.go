//go:build linux

// Package server is the upstream of every measurement: it echoes, swallows, sends without end, pushes to
// all at once, or checks every byte, as the request's path says. It does as little as can be done for
// each byte, and trusts its clients: it is no server for anything else.
package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"wsproxy/bench/wire"
)

// Paths, with their parameters.
const (
	PathEcho   = "/echo"   // size: of every message, which comes back unmasked; urgent=1: before all else that goes on
	PathStream = "/stream" // size: of every message sent; down=1: sends without end; whatever comes is swallowed, slow=1: slowly
	PathPush   = "/push"   // waits to be pushed to
	PathPusher = "/pusher" // size: each message received has one pushed to all that wait, and comes back when that is done
	PathVerify = "/verify" // seed, messages, largest: of a wire.Script each way
)

// Counters are what a server counts, where another process can read it.
type Counters struct {
	Swallowed atomic.Int64 // bytes that streams have received
}

// Server serves until its listeners are closed.
type Server struct {
	Counters *Counters

	mu      sync.Mutex
	waiting map[*conn]struct{} // PathPush
}

// conn is one client. Bytes are read into buffer, which frames of any length pass through.
type conn struct {
	net.Conn
	buffer []byte
}

// A slow reader takes a sip now and then: 800 kB/s.
const (
	Sip      = 4 << 10
	SipPause = 5 * time.Millisecond
)

const (
	headTimeout = 30 * time.Second // a busy machine is no failure
	chunk       = 64 << 10         // bytes written or read at once
)

// ServeTLS serves wss: without a proxy in between, the ends do the TLS themselves.
func (s *Server) ServeTLS(l net.Listener, c *tls.Config) error { return s.Serve(tls.NewListener(l, c)) }

// Serve accepts clients of l until that is closed. The clients end by themselves.
func (s *Server) Serve(l net.Listener) error {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		go s.serve(c)
	}
}

// serve is one connection. How it ends is its client's business, who has counted what arrived.
func (s *Server) serve(c net.Conn) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(headTimeout))
	head, err := wire.ReadHead(c)
	if err != nil {
		return
	}
	target, key, err := wire.ParseRequest(head)
	if err != nil {
		return
	}
	behave, err := s.behaviour(target)
	if err != nil {
		fmt.Fprintf(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		return
	}
	if _, err := c.Write(wire.Response(key)); err != nil {
		return
	}
	c.SetDeadline(time.Time{})
	if behave(&conn{Conn: c}) == nil {
		c.Write(wire.Frame(wire.Close, []byte{0x03, 0xE8}, false)) // 1000
	}
}

// behaviour is what a path asks for. It returns nil once the client has sent a Close frame.
func (s *Server) behaviour(target *url.URL) (func(*conn) error, error) {
	query := target.Query()
	var invalid error
	number := func(name string) int {
		n, err := strconv.Atoi(query.Get(name))
		if err != nil || n < 0 {
			invalid = fmt.Errorf("%s: parameter %s is not a number", target, name)
		}
		return n
	}
	var behave func(*conn) error
	switch target.Path {
	case PathEcho:
		size, urgent := number("size"), query.Get("urgent") == "1"
		behave = func(c *conn) error { return echo(c, size) }
		if urgent {
			behave = func(c *conn) error { return urgently(c, func() error { return echo(c, size) }) }
		}
	case PathStream:
		size, down, slow := number("size"), query.Get("down") == "1", query.Get("slow") == "1"
		behave = func(c *conn) error { return s.stream(c, size, down, slow) }
	case PathPush:
		behave = s.wait
	case PathPusher:
		size := number("size")
		behave = func(c *conn) error { return s.pusher(c, size) }
	case PathVerify:
		seed, limits := uint64(number("seed")), wire.Limits{Messages: number("messages"), Largest: int64(number("largest"))}
		behave = func(c *conn) error { return verify(c, seed, limits) }
	default:
		invalid = fmt.Errorf("%s: nothing here", target)
	}
	return behave, invalid
}

// messages reads messages of one size, each of one frame, and calls got with how many a read has
// completed. It returns nil at a Close frame.
func (c *conn) messages(size int, got func(n int) error) error {
	frame := len(wire.Frame(wire.Binary, make([]byte, size), true))
	c.buffer = make([]byte, min(max(4<<10, 2*frame), chunk)) // most wait for their next message: thousands fit
	left := 0                                                // bytes of the frame under way
	for {
		n, err := c.Read(c.buffer)
		complete := 0
		for at := 0; at < n; {
			if left == 0 {
				if wire.IsClose(c.buffer[at]) {
					return nil
				}
				left = frame
			}
			k := min(left, n-at)
			at, left = at+k, left-k
			if left == 0 {
				complete++
			}
		}
		if complete > 0 {
			if err := got(complete); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
}

func echo(c *conn, size int) error {
	answer := wire.Frame(wire.Binary, make([]byte, size), false)
	answers := wire.Repeat(answer, 1<<10)
	batch := len(answers) / len(answer)
	return c.messages(size, func(n int) error {
		for n > 0 {
			k := min(n, batch)
			if _, err := c.Write(answers[:k*len(answer)]); err != nil {
				return err
			}
			n -= k
		}
		return nil
	})
}

// stream never ends by itself. It begins with the client's first bytes: nobody speaks right behind a head.
func (s *Server) stream(c *conn, size int, down, slow bool) error {
	in := make([]byte, chunk)
	if slow {
		in = in[:Sip]
	}
	n, err := c.Read(in)
	if err != nil {
		return err
	}
	s.Counters.Swallowed.Add(int64(n))
	if down {
		go send(c, wire.Repeat(wire.Frame(wire.Binary, make([]byte, size), false), chunk))
	}
	for {
		n, err := c.Read(in)
		s.Counters.Swallowed.Add(int64(n))
		if err != nil {
			return err
		}
		if slow {
			time.Sleep(SipPause)
		}
	}
}

func send(c *conn, frames []byte) {
	for {
		if _, err := c.Write(frames); err != nil {
			return
		}
	}
}

// discard reads until the client sends a frame, which is a Close frame, or is gone.
func (c *conn) discard() error {
	var b [1]byte
	for {
		if _, err := io.ReadFull(c, b[:]); err != nil {
			return err
		}
		if wire.IsClose(b[0]) {
			return nil
		}
	}
}
