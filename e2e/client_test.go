//go:build e2e

package e2e

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// client is a WebSocket client, made with gorilla/websocket, that counts what goes over its socket.
type client struct {
	*websocket.Conn
	wire           *wire
	extensions     string // agreed on
	sent, received int    // messages
}

// wire counts bytes behind TLS.
type wire struct {
	net.Conn
	read, written atomic.Int64
}

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	w.read.Add(int64(n))
	return n, err
}

func (w *wire) Write(p []byte) (int, error) {
	n, err := w.Conn.Write(p)
	w.written.Add(int64(n))
	return n, err
}

// request is how a client connects.
type request struct {
	header       http.Header
	subprotocols []string
	compress     bool
	secure       bool
	certificate  bool       // show one of ours
	from         *namespace // nil: the one that wsproxy is in
}

// refusal is what a client that was not upgraded is told.
type refusal struct {
	status        int
	header        http.Header
	Phase, Reason string
	TraceID       string `json:"trace_id"`
}

// dial connects to a path. It returns a client, or what it was refused with.
func (h *house) dial(t testing.TB, w *wsproxy, path string, r request) (*client, *refusal) {
	t.Helper()
	c := &client{}
	d := websocket.Dialer{Subprotocols: r.subprotocols, EnableCompression: r.compress, HandshakeTimeout: patience}
	d.NetDialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := cmp.Or(r.from, w.within).dial(ctx, network, address)
		c.wire = &wire{Conn: conn}
		return c.wire, err
	}
	d.NetDialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		config := h.clientTLS()
		if r.certificate {
			config.Certificates = []tls.Certificate{h.pair}
			config.ServerName = "localhost"
			config.NextProtos = []string{"http/1.1"}
		}
		conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, network, address)
		c.wire = &wire{Conn: conn}
		return c.wire, err
	}
	url := "ws://" + w.plain + path
	if r.secure {
		url = "wss://" + w.tls + path
	}
	header := r.header.Clone()
	if header == nil {
		header = http.Header{}
	}
	header.Set("User-Agent", "e2e")
	conn, resp, err := d.DialContext(t.Context(), url, header)
	if errors.Is(err, websocket.ErrBadHandshake) {
		return nil, refused(t, resp)
	}
	if err != nil {
		t.Fatalf("dial %s: %v", path, err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetReadDeadline(time.Now().Add(patience))
	conn.SetWriteDeadline(time.Now().Add(patience))
	c.Conn, c.extensions = conn, resp.Header.Get("Sec-WebSocket-Extensions")
	c.wire.read.Store(0) // the handshake
	c.wire.written.Store(0)
	return c, nil
}

func (h *house) clientTLS() *tls.Config { return &tls.Config{RootCAs: h.ca.Pool()} }

func refused(t testing.TB, resp *http.Response) *refusal {
	t.Helper()
	r := &refusal{status: resp.StatusCode, header: resp.Header}
	if resp.Header.Get("Content-Type") == "application/problem+json" {
		if err := json.NewDecoder(resp.Body).Decode(r); err != nil {
			t.Errorf("refusal: %v", err)
		}
	}
	return r
}

// open is dial where the upgrade must succeed.
func (h *house) open(t testing.TB, w *wsproxy, path string, r request) *client {
	t.Helper()
	c, no := h.dial(t, w, path, r)
	if no != nil {
		t.Fatalf("dial %s: got %d %s %s, want 101", path, no.status, no.Phase, no.Reason)
	}
	return c
}

// send sends a message.
func (c *client) send(t testing.TB, kind int, payload []byte) {
	t.Helper()
	if err := c.WriteMessage(kind, payload); err != nil {
		t.Fatalf("send: %v", err)
	}
	c.sent++
}

// order sends an upstream of ours an order.
func (c *client) order(t testing.TB, text string) {
	t.Helper()
	c.send(t, websocket.TextMessage, []byte(text))
}

// talk sends a message and wants it back.
func (c *client) talk(t testing.TB, kind int, payload []byte) {
	t.Helper()
	c.send(t, kind, payload)
	got, back, err := c.ReadMessage()
	if err != nil {
		t.Fatalf("receive: %v", err)
	}
	c.received++
	if got != kind || !bytes.Equal(back, payload) {
		t.Fatalf("got %d bytes of type %d, want the %d of type %d that were sent", len(back), got, len(payload), kind)
	}
}

// chat is some messages of different types and sizes.
func (c *client) chat(t testing.TB) {
	t.Helper()
	for _, size := range []int{0, 1, 125, 126, 70_000} {
		c.talk(t, websocket.TextMessage, bytes.Repeat([]byte("x"), size))
	}
	c.talk(t, websocket.BinaryMessage, []byte{0xff, 0})
}

// leave sends a Close and wants its echo.
func (c *client) leave(t testing.TB, code int) {
	t.Helper()
	deadline := time.Now().Add(patience)
	if err := c.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, ""), deadline); err != nil {
		t.Fatalf("close: %v", err)
	}
	c.closed(t, code)
}

// closed reads until the connection is closed with a code, and ends it.
func (c *client) closed(t testing.TB, code int) {
	t.Helper()
	defer c.Close()
	for {
		_, _, err := c.ReadMessage()
		if err == nil {
			c.received++
			continue
		}
		e, ok := errors.AsType[*websocket.CloseError](err)
		if !ok || e.Code != code {
			t.Errorf("got %v, want a Close with %d", err, code)
		}
		return
	}
}

// address is the client's own, as wsproxy sees it.
func (c *client) address() string { return c.LocalAddr().String() }
