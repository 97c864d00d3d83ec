package egress

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"wsproxy/lifecycle"
)

// granting is a CONNECT proxy that grants a tunnel by saying answer in the given way, and echoes.
func granting(answer string, say func(net.Conn, string)) func(net.Conn) {
	return func(c net.Conn) {
		r := bufio.NewReader(c)
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		say(c, answer)
		io.Copy(c, r)
	}
}

// grantingSOCKS is a SOCKS5 proxy of the same kind, without login.
func grantingSOCKS(reply string, say func(net.Conn, string)) func(net.Conn) {
	return func(c net.Conn) {
		readN(c, int(readN(c, 2)[1]))
		say(c, socksOpen)
		readSocksRequest(c)
		say(c, reply)
		io.Copy(c, c)
	}
}

func atOnce(c net.Conn, text string) { io.WriteString(c, text) }

func byteByByte(c net.Conn, text string) {
	for i := range len(text) {
		io.WriteString(c, text[i:i+1])
	}
}

const socksGranted = "\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50"

// oneByteConn is read byte by byte.
type oneByteConn struct{ net.Conn }

func (c oneByteConn) Read(p []byte) (int, error) { return c.Conn.Read(p[:min(len(p), 1)]) }

// What comes through a tunnel is whole, whatever the proxy's answer came in.
func TestTunnelBytes(t *testing.T) {
	const ok = "HTTP/1.1 200 Connection established\r\n\r\n"
	long := strings.Repeat("early ", 10<<10)
	tests := []struct {
		name  string
		kind  Type
		peer  func(net.Conn)
		early string
	}{
		{"200", TypeHTTP, granting(ok, atOnce), ""},
		{"200 without a reason", TypeHTTP, granting("HTTP/1.1 200\r\n\r\n", atOnce), ""},
		{"200 with bare newlines", TypeHTTP, granting("HTTP/1.1 200 OK\nVia: x\n\n", atOnce), ""},
		{"200 of HTTP/1.0 with a length", TypeHTTP, granting("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nearly", atOnce), "early"},
		{"204", TypeHTTP, granting("HTTP/1.1 204 No Content\r\n\r\n", atOnce), ""},
		{"200 after two interim answers", TypeHTTP,
			granting("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"+ok, atOnce), ""},
		{"200 with a folded header", TypeHTTP, granting("HTTP/1.1 200 OK\r\nVia: x\r\n  y\r\n\r\n", atOnce), ""},
		{"200 byte by byte", TypeHTTP, granting(ok, byteByByte), ""},
		{"200 and early bytes", TypeHTTP, granting(ok+"early", atOnce), "early"},
		{"200 and early bytes, byte by byte", TypeHTTP, granting(ok+"early", byteByByte), "early"},
		{"200 and many early bytes", TypeHTTP, granting(ok+long, atOnce), long},
		{"SOCKS5", TypeSOCKS5H, grantingSOCKS(socksGranted, atOnce), ""},
		{"SOCKS5, bound to IPv6", TypeSOCKS5H, grantingSOCKS("\x05\x00\x00\x04"+strings.Repeat("\x00", 18), atOnce), ""},
		{"SOCKS5, bound to a name", TypeSOCKS5H, grantingSOCKS("\x05\x00\x00\x03\x04here\x00\x50", atOnce), ""},
		{"SOCKS5 byte by byte", TypeSOCKS5H, grantingSOCKS(socksGranted, byteByByte), ""},
		{"SOCKS5 and early bytes", TypeSOCKS5H, grantingSOCKS(socksGranted+"early", atOnce), "early"},
		{"SOCKS5 and many early bytes", TypeSOCKS5H, grantingSOCKS(socksGranted+long, atOnce), long},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := &Dialer{Proxy: &Proxy{Type: tt.kind, Address: serveTCP(t, tt.peer)}}
			conn, err := d.Dial(t.Context(), Target{Address: "chat.test:80"})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			expect(t, oneByteConn{conn}, tt.early)
			roundTrip(t, conn, "hello")
		})
	}
}

// A relay can use the descriptor of every plain connection: nothing was read that belongs to it.
func TestPlainConnectionIsTheSocket(t *testing.T) {
	tests := []struct {
		name  string
		proxy *Proxy
	}{
		{"direct", nil},
		{"CONNECT", &Proxy{Address: serveTCP(t, granting("HTTP/1.1 200 OK\r\n\r\n", atOnce))}},
		{"CONNECT, early bytes", &Proxy{Address: serveTCP(t, granting("HTTP/1.1 200 OK\n\nearly", atOnce))}},
		{"SOCKS5", &Proxy{Type: TypeSOCKS5, Address: serveTCP(t, grantingSOCKS(socksGranted, atOnce))}},
		{"SOCKS5H", &Proxy{Type: TypeSOCKS5H, Address: serveTCP(t, grantingSOCKS(socksGranted+"early", atOnce))}},
	}
	target := Target{Address: serveTCP(t, echo)}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn, err := (&Dialer{Proxy: tt.proxy}).Dial(t.Context(), target)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, ok := conn.(*net.TCPConn); !ok {
				t.Errorf("got a %T, want a *net.TCPConn", conn)
			}
		})
	}
}

// The CONNECT request, byte for byte.
func TestConnectRequest(t *testing.T) {
	tests := []struct {
		name    string
		target  string
		user    string
		trusted bool
		want    string
	}{
		{"plain", "chat.test:443", "", false, "CONNECT chat.test:443 HTTP/1.1\r\nHost: chat.test:443\r\n\r\n"},
		{"IPv6", "[2001:db8::1]:80", "", false, "CONNECT [2001:db8::1]:80 HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n"},
		{"user", "chat.test:443", "alice", false,
			"CONNECT chat.test:443 HTTP/1.1\r\nHost: chat.test:443\r\nProxy-Authorization: Basic YWxpY2U6cGFzcw==\r\n\r\n"},
		{"trusted", "chat.test:443", "", true,
			"CONNECT chat.test:443 HTTP/1.1\r\nHost: chat.test:443\r\nTraceparent: 00-proxy\r\n\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := make(chan string, 1)
			address := serveTCP(t, func(c net.Conn) {
				got <- readN(c, len(tt.want))
				io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
				io.Copy(c, c)
			})
			d := &Dialer{
				Proxy: as(&Proxy{Address: address, Trusted: tt.trusted}, tt.user, "pass"),
				Inject: func(ctx context.Context, h http.Header) {
					h.Set("traceparent", "00-"+ctx.Value(phaseKey{}).(lifecycle.Phase).String())
				},
			}
			ctx, _ := record(t.Context())
			conn, err := d.Dial(ctx, Target{Address: tt.target})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if got := <-got; got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			roundTrip(t, conn, "hello")
		})
	}
}

// socks5 sends an address, IPv4 if there is one; socks5h the name.
func TestSOCKSAddress(t *testing.T) {
	tests := []struct {
		kind   Type
		target string
		want   string
	}{
		{TypeSOCKS5, "chat.test:80", "127.0.0.1:80"},
		{TypeSOCKS5, "both.test:80", "127.0.0.1:80"},
		{TypeSOCKS5, "six.test:80", "[::1]:80"},
		{TypeSOCKS5, "192.0.2.1:80", "192.0.2.1:80"},
		{TypeSOCKS5, "[2001:db8::1]:80", "[2001:db8::1]:80"},
		{TypeSOCKS5H, "both.test:65535", "both.test:65535"},
		{TypeSOCKS5H, "192.0.2.1:80", "192.0.2.1:80"},
	}
	resolver := resolver(t)
	for _, tt := range tests {
		t.Run(tt.kind.String()+" "+tt.target, func(t *testing.T) {
			got := make(chan string, 1)
			address := serveTCP(t, func(c net.Conn) {
				readN(c, int(readN(c, 2)[1]))
				io.WriteString(c, socksOpen)
				got <- readSocksRequest(c)
				io.WriteString(c, socksGranted)
			})
			conn, err := (&Dialer{Proxy: &Proxy{Type: tt.kind, Address: address}, Resolver: resolver}).Dial(t.Context(), Target{Address: tt.target})
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
			if got := <-got; got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// Certificates and credentials are asked for anew by every dial.
func TestEveryDialAsksAnew(t *testing.T) {
	f := newFixture(t)
	target := f.secureEcho("chat.test", "chat.test")
	proxy := f.proxy(TypeHTTPS, overTLS(f.ca.server("proxy.test"), f.httpProxy(target)))
	configs, logins := 0, 0
	trust := func() *tls.Config { configs++; return f.ca.client() }
	target.TLS, proxy.TLS = trust, trust
	proxy.Credentials = func() (string, string) { logins++; return "alice", secret }
	d := f.dialer(proxy)
	for range 2 {
		conn, err := d.Dial(t.Context(), target)
		if err != nil {
			t.Fatal(err)
		}
		roundTrip(t, conn, "hello")
		conn.Close()
	}
	if configs != 4 || logins != 2 {
		t.Errorf("got %d configurations and %d logins, want 4 and 2", configs, logins)
	}
}

// A context that ends just as the tunnel is granted leaves no socket behind.
func TestCanceledAsTheTunnelOpens(t *testing.T) {
	for _, kind := range []Type{TypeHTTP, TypeSOCKS5H} {
		t.Run(kind.String(), func(t *testing.T) {
			here, there := net.Pipe()
			defer there.Close()
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			var err error
			if kind == TypeHTTP {
				d := &connectDialer{forward: opened{here}, answered: func(int) {}}
				_, err = d.DialContext(ctx, "tcp", "chat.test:80")
			} else {
				_, err = (&socksDialer{address: "127.0.0.1:1080", forward: opened{here}}).DialContext(ctx, "tcp", "chat.test:80")
			}
			if err == nil {
				t.Error("got no error, want one")
			}
			if _, err := here.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("got %v from the socket, want it closed", err)
			}
		})
	}
}

// leavingConn is a connection whose client leaves when the proxy has no more to say.
type leavingConn struct {
	scriptedConn
	leave func()
}

func (c *leavingConn) Read(p []byte) (int, error) {
	n, err := c.scriptedConn.Read(p)
	if err != nil {
		c.leave()
	}
	return n, err
}

// A client that left is the reason, whatever the proxy has said so far.
func TestCanceledAfterSOCKSAskedForALogin(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	conn := &leavingConn{scriptedConn{answer: bytes.NewReader([]byte(socksLogin))}, cancel}
	_, err := (&socksDialer{address: "127.0.0.1:1080", forward: opened{conn}}).DialContext(ctx, "tcp", "chat.test:80")
	if f, ok := errors.AsType[*lifecycle.Failure](err); ok || err == nil {
		t.Errorf("got %v, want an error without a reason", f)
	}
}
