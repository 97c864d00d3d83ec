//go:build e2e

package e2e

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// echo is an upstream made with gorilla/websocket that sends back what it gets. A text message that
// begins with a slash is an order: see obey.
type echo struct {
	plain, secure string        // host:port
	delay         time.Duration // before it answers a request
	mu            sync.Mutex
	seen          map[string]http.Header // of the last request for each path
	ends          map[string]error       // of the last connection for each path that is over, as reading it ended
}

func newEcho() *echo { return &echo{seen: make(map[string]http.Header), ends: make(map[string]error)} }

const subprotocol = "chat.v2"

// tickEvery is between two messages of one who goes on talking.
const tickEvery = 100 * time.Millisecond

func startEcho(t *testing.T, h *house) *echo {
	t.Helper()
	e := newEcho()
	plain := httptest.NewServer(e)
	t.Cleanup(plain.Close)
	secure := httptest.NewUnstartedServer(e)
	secure.TLS = &tls.Config{Certificates: []tls.Certificate{h.pair}}
	secure.Config.ErrorLog = quiet
	secure.StartTLS()
	t.Cleanup(secure.Close)
	e.plain, e.secure = plain.Listener.Addr().String(), secure.Listener.Addr().String()
	return e
}

// startEchoOn runs one without TLS on a listener of the caller's. Its connections end with the test, also where
// nothing is heard of their clients.
func startEchoOn(t *testing.T, l net.Listener) *echo {
	t.Helper()
	e := newEcho()
	var mu sync.Mutex
	var open []net.Conn
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: e, ConnState: func(c net.Conn, s http.ConnState) {
		if s == http.StateHijacked {
			mu.Lock()
			defer mu.Unlock()
			open = append(open, c)
		}
	}}}
	server.Start()
	t.Cleanup(func() {
		server.Close()
		mu.Lock()
		defer mu.Unlock()
		for _, c := range open {
			c.Close()
		}
	})
	e.plain = l.Addr().String()
	return e
}

func (e *echo) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	e.seen[r.RequestURI] = r.Header.Clone()
	e.mu.Unlock()
	<-time.After(e.delay)
	if !websocket.IsWebSocketUpgrade(r) {
		fmt.Fprintln(w, "hello")
		return
	}
	u := websocket.Upgrader{
		EnableCompression: true, Subprotocols: []string{subprotocol}, CheckOrigin: func(*http.Request) bool { return true },
	}
	c, err := u.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer c.Close()
	for {
		kind, message, err := c.ReadMessage()
		if err != nil {
			e.mu.Lock()
			e.ends[r.RequestURI] = err
			e.mu.Unlock()
			return
		}
		if kind == websocket.TextMessage && strings.HasPrefix(string(message), "/") {
			if !obey(c, string(message)) {
				return
			}
			continue
		}
		if err := c.WriteMessage(kind, message); err != nil {
			return
		}
	}
}

// header is that of the last request for a path with its query.
func (e *echo) header(path string) http.Header {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.seen[path]
}

// end is how the last connection for a path with its query ended, nil if it has not.
func (e *echo) end(path string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.ends[path]
}

// obey does what a client asks for, to see how wsproxy tells of it. It returns false when the connection
// is over.
func obey(c *websocket.Conn, order string) bool {
	word, _, _ := strings.Cut(order, " ")
	switch word {
	case "/close": // with code
		var code int
		fmt.Sscanf(order, "/close %d", &code)
		c.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, "as asked"), time.Now().Add(patience))
		c.ReadMessage() // the answer
		return false
	case "/fin":
		return false
	case "/reset":
		c.NetConn().(*net.TCPConn).SetLinger(0)
		return false
	case "/masked": // a server must not mask
		c.NetConn().Write([]byte{0x82, 0x80, 1, 2, 3, 4})
		c.ReadMessage()
		return false
	case "/tick": // something small again and again
		go func() {
			for c.WriteMessage(websocket.TextMessage, []byte("tick")) == nil {
				<-time.After(tickEvery)
			}
		}()
	case "/flood": // until the client has had enough
		go func() { // for the Close that ends it
			for {
				if _, _, err := c.ReadMessage(); err != nil {
					c.Close()
					return
				}
			}
		}()
		for chunk := make([]byte, 1<<20); c.WriteMessage(websocket.BinaryMessage, chunk) == nil; {
		}
		return false
	}
	return true
}
