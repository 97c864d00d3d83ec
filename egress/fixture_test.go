package egress

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"wsproxy/lifecycle"
)

// fixture is what dials of a test go through: our own DNS and CA, and sockets that are kept track of.
type fixture struct {
	t        *testing.T
	resolver *net.Resolver
	ca       authority

	ports map[string]string // what a port is in the golden text
	path  string            // of a Unix socket, which is PATH in it

	mu      sync.Mutex
	sockets []*trackedConn
}

func newFixture(t *testing.T) *fixture {
	return &fixture{t: t, resolver: resolver(t), ca: newAuthority(t, "ours"), ports: make(map[string]string)}
}

// trackedConn knows whether it was closed.
type trackedConn struct {
	net.Conn
	closed atomic.Bool
}

func (c *trackedConn) Close() error {
	c.closed.Store(true)
	return c.Conn.Close()
}

func (f *fixture) dialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{Resolver: f.resolver}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	tracked := &trackedConn{Conn: conn}
	f.mu.Lock()
	f.sockets = append(f.sockets, tracked)
	f.mu.Unlock()
	return tracked, nil
}

func (f *fixture) openSockets() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.sockets {
		if !s.closed.Load() {
			n++
		}
	}
	return n
}

// dialer is a direct one, or through proxy.
func (f *fixture) dialer(proxy *Proxy) *Dialer {
	return &Dialer{Proxy: proxy, Resolver: f.resolver, DialContext: f.dialContext}
}

// serve starts a peer on loopback that is called name in golden text, and returns its port.
func (f *fixture) serve(name string, handle func(net.Conn)) (port string) {
	_, port, _ = net.SplitHostPort(serveTCP(f.t, handle))
	f.ports[port] = name
	return port
}

// closed is a port that nobody listens on.
func (f *fixture) closed(name string) (port string) {
	l := listen(f.t, "tcp", "127.0.0.1:0")
	l.Close()
	_, port, _ = net.SplitHostPort(l.Addr().String())
	f.ports[port] = name
	return port
}

// echo is a target called host.
func (f *fixture) echo(host string) Target {
	return Target{Address: net.JoinHostPort(host, f.serve("target", echo))}
}

// secureEcho is a target called host with a certificate for names.
func (f *fixture) secureEcho(host string, names ...string) Target {
	port := f.serve("target", overTLS(f.ca.server(names...), echo))
	return Target{Address: net.JoinHostPort(host, port), TLS: f.ca.client}
}

// proxy is an egress that is served by handle.
func (f *fixture) proxy(kind Type, handle func(net.Conn)) *Proxy {
	p := &Proxy{Name: "corp", Type: kind, Address: "127.0.0.1:" + f.serve("proxy", handle)}
	if kind == TypeHTTPS {
		p.Address = strings.Replace(p.Address, "127.0.0.1", "proxy.test", 1)
		p.TLS = f.ca.client
	}
	return p
}

// as gives p the user alice.
func as(p *Proxy, username, password string) *Proxy {
	p.Credentials = func() (string, string) { return username, password }
	return p
}

var loopbackPort = regexp.MustCompile(`:(\d+)`)

// golden replaces ports by what they are.
func (f *fixture) golden(text string) string {
	if f.path != "" {
		text = strings.ReplaceAll(text, f.path, "PATH")
	}
	return loopbackPort.ReplaceAllStringFunc(text, func(s string) string {
		if name := f.ports[s[1:]]; name != "" {
			return ":" + name
		}
		return s
	})
}

// run dials and returns the phases. It checks what holds for every dial: a socket works, or none is
// left open and the error names the target, the phase's failure, and no secret.
func (f *fixture) run(ctx context.Context, d *Dialer, target Target) string {
	f.t.Helper()
	ctx, r := record(ctx)
	conn, err := d.Dial(ctx, target)
	if err == nil {
		roundTrip(f.t, conn, "hello")
		conn.Close()
		return f.golden(r.text()) + "\nconnected"
	}
	if n := f.openSockets(); n != 0 {
		f.t.Errorf("got %d sockets left open, want 0", n)
	}
	if !strings.HasPrefix(err.Error(), "dial "+target.Address+": ") || strings.Contains(err.Error(), secret) {
		f.t.Errorf("got error %q, want one that names the target and no secret", err)
	}
	failure, ok := errors.AsType[*lifecycle.Failure](err)
	if !ok {
		f.t.Errorf("got error %v, want a failure in it", err)
		return f.golden(r.text())
	}
	return f.golden(r.text()) + "\nfailed in " + failure.Phase.String() + ": " + failure.Reason.String()
}

// roundTrip expects conn's other end to echo.
func roundTrip(t testing.TB, conn net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	expect(t, conn, text)
}

func expect(t testing.TB, conn net.Conn, want string) {
	t.Helper()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	defer conn.SetDeadline(time.Time{})
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != want {
		t.Fatalf("got %q (%v), want %q", got, err, want)
	}
}

// saying is a peer that sends text, listens to nothing, and ends its side.
func saying(text string) func(net.Conn) {
	return func(c net.Conn) {
		io.WriteString(c, text)
		c.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, c) // else the kernel resets the connection and text with it
	}
}

// silent is a peer that never says a word.
func silent(c net.Conn) { io.Copy(io.Discard, c) }

// anyTLS is for a client that must not get as far as checking.
func anyTLS() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }
