//go:build e2e

package e2e

import (
	"bufio"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// quiet swallows what servers of net/http say about peers that misbehave on purpose.
var quiet = log.New(io.Discard, "", 0)

// serveRaw accepts and has each connection handled, until the test is over. The handler need not close.
func serveRaw(t *testing.T, handle func(net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, l, handle)
	return l.Addr().String()
}

// serveOn is serveRaw on a listener of the caller's, which it closes.
func serveOn(t *testing.T, l net.Listener, handle func(net.Conn)) {
	t.Helper()
	var running sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			running.Go(func() {
				defer c.Close()
				handle(c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		running.Wait()
	})
}

// hang accepts, reads, and never answers.
func hang(c net.Conn) { io.Copy(io.Discard, c) }

// hangUp reads the request and leaves.
func hangUp(c net.Conn) { http.ReadRequest(bufio.NewReader(c)) }

// reply answers every request with the same text.
func reply(text string) func(net.Conn) {
	return func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			io.WriteString(c, text)
			io.Copy(io.Discard, c)
		}
	}
}

const (
	wrongAccept = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n"
	unauthorized = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno\n"
)

// egressDelay is how long the scripted CONNECT proxy takes to answer.
const egressDelay = 500 * time.Millisecond

// slowConnect is an HTTP CONNECT proxy that waits before it answers.
func slowConnect(c net.Conn) { connectProxy(nil, egressDelay)(c) }

// connectProxy is an HTTP CONNECT proxy in a network that waits before it answers.
func connectProxy(n *namespace, delay time.Duration) func(net.Conn) {
	return func(c net.Conn) {
		in := bufio.NewReader(c)
		r, err := http.ReadRequest(in)
		if err != nil || r.Method != http.MethodConnect {
			return
		}
		<-time.After(delay)
		to, err := n.dial(r.Context(), "tcp", r.Host)
		if err != nil {
			io.WriteString(c, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
			return
		}
		defer to.Close()
		io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		join(c, in, to)
	}
}

// join copies both ways between c, of which some may be in a reader already, and to, until both have ended.
func join(c net.Conn, in io.Reader, to net.Conn) {
	var back sync.WaitGroup
	back.Go(func() {
		io.Copy(c, to)
		c.(*net.TCPConn).CloseWrite()
	})
	io.Copy(to, in)
	to.(*net.TCPConn).CloseWrite()
	back.Wait()
}
