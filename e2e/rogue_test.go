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
	return l.Addr().String()
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
func slowConnect(c net.Conn) {
	in := bufio.NewReader(c)
	r, err := http.ReadRequest(in)
	if err != nil || r.Method != http.MethodConnect {
		return
	}
	<-time.After(egressDelay)
	to, err := net.Dial("tcp", r.Host)
	if err != nil {
		io.WriteString(c, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
		return
	}
	defer to.Close()
	io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
	var back sync.WaitGroup
	back.Go(func() {
		io.Copy(c, to)
		c.(*net.TCPConn).CloseWrite()
	})
	io.Copy(to, in)
	to.(*net.TCPConn).CloseWrite()
	back.Wait()
}
