//go:build e2e

package e2e

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"testing"
)

// socket is the client's TCP socket, below TLS.
func socket(c *client) *net.TCPConn {
	switch conn := c.wire.Conn.(type) {
	case *tls.Conn:
		return conn.NetConn().(*net.TCPConn)
	default:
		return conn.(*net.TCPConn)
	}
}

// head sends a part of a request and leaves.
func head(t *testing.T, address, text string) (local string) {
	t.Helper()
	c := connect(t, address, text)
	c.Close()
	return c.LocalAddr().String()
}

// exchange sends a request as it is written and returns the status of the answer.
func exchange(t *testing.T, address, text string) (status int, local string) {
	t.Helper()
	c := connect(t, address, text)
	defer c.Close()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, c.LocalAddr().String()
}

// connect opens a socket and writes a text.
func connect(t *testing.T, address, text string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn)
}
