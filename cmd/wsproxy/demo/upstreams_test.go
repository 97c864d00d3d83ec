package demo

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// meet opens a WebSocket to a route's target, without a proxy.
func meet(t *testing.T, c *Cast, scheme, route string, d websocket.Dialer) *websocket.Conn {
	t.Helper()
	conn, _, err := d.DialContext(t.Context(), scheme+"://"+c.target(t, route)+"/any", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetReadDeadline(time.Now().Add(patience))
	return conn
}

func tell(t *testing.T, conn *websocket.Conn, text string) {
	t.Helper()
	if err := conn.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func hear(t *testing.T, conn *websocket.Conn) string {
	t.Helper()
	_, message, err := conn.ReadMessage()
	if err != nil {
		t.Fatal(err)
	}
	return string(message)
}

func TestUpstreamEchoesAndSpeaksForItself(t *testing.T) {
	c := troupe(t, waits{})
	conn := meet(t, c, "ws", "direct", websocket.Dialer{Subprotocols: []string{subprotocol}})
	if got := conn.Subprotocol(); got != subprotocol {
		t.Errorf("got subprotocol %q, want %q", got, subprotocol)
	}
	tell(t, conn, "hello")
	var got []string
	for range 1 + pushes {
		got = append(got, hear(t, conn))
	}
	slices.Sort(got)
	want := []string{"from the upstream: 1", "from the upstream: 2", "from the upstream: 3", "hello"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSecureUpstreamIsTrustedThroughTheCAFile(t *testing.T) {
	c := troupe(t, waits{})
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	d := websocket.Dialer{NetDialContext: c.dialNamed, TLSClientConfig: &tls.Config{RootCAs: pool}, EnableCompression: true}
	conn := meet(t, c, "wss", "tls", d)
	tell(t, conn, "hello")
	if got := hear(t, conn); got != "hello" && got != "from the upstream: 1" {
		t.Errorf("got %q, want an echo", got)
	}
}

func TestDyingUpstreamResets(t *testing.T) {
	c := troupe(t, waits{})
	conn := meet(t, c, "ws", "dies", websocket.Dialer{})
	for range echoes {
		tell(t, conn, "hello")
		if got := hear(t, conn); got != "hello" {
			t.Errorf("got %q, want an echo", got)
		}
	}
	tell(t, conn, "one more")
	if _, _, err := conn.ReadMessage(); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want %v", err, syscall.ECONNRESET)
	}
}

func TestLeavingUpstreamSaysWhy(t *testing.T) {
	c := troupe(t, waits{})
	conn := meet(t, c, "ws", "leaves", websocket.Dialer{})
	for range echoes {
		tell(t, conn, "hello")
		hear(t, conn)
	}
	tell(t, conn, "one more")
	_, _, err := conn.ReadMessage()
	if e, ok := errors.AsType[*websocket.CloseError](err); !ok || e.Code != closeCode || e.Text != closeReason {
		t.Errorf("got %v, want close %d %s", err, closeCode, closeReason)
	}
}

// dialNamed dials with the demo's names.
func (c *Cast) dialNamed(ctx context.Context, network, address string) (net.Conn, error) {
	return (&net.Dialer{Resolver: c.Resolver()}).DialContext(ctx, network, address)
}
