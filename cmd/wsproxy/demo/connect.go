package demo

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"time"
)

// connectProxy is an HTTP proxy that knows the CONNECT method only (RFC 9110 §9.3.6), wants a user and
// takes its time.
func (c *Cast) connectProxy(g *guest) {
	g.SetDeadline(time.Now().Add(patience))
	limit := &io.LimitedReader{R: g, N: headLimit}
	r := bufio.NewReader(limit)
	req, err := http.ReadRequest(r)
	if err != nil {
		say(g, http.StatusBadRequest)
		return
	}
	if req.Method != http.MethodConnect {
		say(g, http.StatusMethodNotAllowed, "Allow: CONNECT")
		return
	}
	if req.Header.Get("Proxy-Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte(c.credentials())) {
		say(g, http.StatusProxyAuthRequired, `Proxy-Authenticate: Basic realm="wsproxy demo"`)
		return
	}
	if !wait(c.ctx, c.waits.connect) {
		return
	}
	target, err := c.dial(req.Host)
	if err != nil {
		say(g, http.StatusBadGateway)
		return
	}
	if _, err := io.WriteString(g, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		target.Close()
		return
	}
	limit.N = math.MaxInt64 // the head is over
	c.tunnel(g, r, target)
}

// say refuses.
func say(w io.Writer, status int, fields ...string) {
	head := append([]string{
		fmt.Sprintf("HTTP/1.1 %d %s", status, http.StatusText(status)), "Content-Length: 0", "Connection: close",
	}, fields...)
	io.WriteString(w, strings.Join(head, "\r\n")+"\r\n\r\n") // a guest that does not hear it is gone
}
