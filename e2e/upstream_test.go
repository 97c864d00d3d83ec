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
	plain, secure string // host:port
	mu            sync.Mutex
	seen          map[string]http.Header // of the last request for each path
}

const subprotocol = "chat.v2"

func startEcho(t *testing.T, h *house) *echo {
	t.Helper()
	e := &echo{seen: make(map[string]http.Header)}
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

func (e *echo) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	e.seen[r.RequestURI] = r.Header.Clone()
	e.mu.Unlock()
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
