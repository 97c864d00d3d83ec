package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wsproxy/egress"
	"wsproxy/internal/memnet"
	"wsproxy/internal/selfca"
	"wsproxy/lifecycle"
	"wsproxy/proxy/relay"
	"wsproxy/tlsconf"
)

// interceptedWorld has a target with TLS, wss.example:443, whose TLS is intercepted, and another.example:443,
// whose is not, and both at 10.0.1.9.
type interceptedWorld struct {
	*world
	forward *Forward
	targets *authority     // of the target's certificate
	names   []string       // in it
	script  func(net.Conn) // what the target does behind TLS
	bare    func(net.Conn) // in its place: what it does without
	roots   *x509.CertPool // what the proxy trusts
	trusted *x509.CertPool // what clients have to trust

	mu  sync.Mutex
	raw []*tapped // what came to the target
}

// tapped is a connection that writes down what it reads.
type tapped struct {
	net.Conn
	mu   sync.Mutex
	read strings.Builder
}

func (c *tapped) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read.Write(b[:n])
	return n, err
}

func (c *tapped) said() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.read.String()
}

func newInterceptedWorld(t *testing.T) *interceptedWorld {
	t.Helper()
	w := &interceptedWorld{world: newWorld(t), targets: newAuthority(t), script: agreeingOverTLS, names: []string{"wss.example"}}
	w.roots = w.targets.ca.Pool()
	for _, name := range []string{"wss.example", "another.example"} {
		w.network.SetHost(name, memnet.Host{Addresses: []string{"10.0.1.9"}})
	}
	files := tlsconf.Pair{Cert: filepath.Join(w.targets.folder, "ca.pem"), Key: filepath.Join(w.targets.folder, "ca-key.pem")}
	ca, err := tlsconf.NewCA(files, "interception", 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	w.trusted = x509.NewCertPool()
	w.trusted.AddCert(ca)
	minter, err := new(tlsconf.Store).Minter(tlsconf.Interception{CA: files})
	if err != nil {
		t.Fatal(err)
	}
	dialer := &egress.Dialer{
		DialContext: w.network.DialContext, Timeouts: egress.Timeouts{TLS: 5 * time.Second},
		Socket: func(c net.Conn) net.Conn { return relay.NewConn(c) },
	}
	w.forward = &Forward{
		Dial: func(ctx context.Context, host string, port uint16) (net.Conn, error) {
			return dialer.Dial(ctx, egress.Target{Address: net.JoinHostPort(host, strconv.Itoa(int(port)))})
		},
		Interception: &Interception{
			Client: func(host string, _ uint16) *tls.Config {
				if host != "wss.example" && host != "10.0.1.9" {
					return nil
				}
				return minter.Config(host)
			},
			Secure: func(ctx context.Context, conn net.Conn, address, host string, protocols []string) (net.Conn, error) {
				return dialer.Secure(ctx, conn, egress.Target{Address: address, TLS: func() *tls.Config {
					return &tls.Config{RootCAs: w.roots, ServerName: host, NextProtos: protocols}
				}})
			},
		},
	}
	w.listener.Forward = w.forward
	return w
}

// open starts the proxy and the target.
func (w *interceptedWorld) open() {
	w.t.Helper()
	w.start()
	config := &tls.Config{Certificates: []tls.Certificate{w.targets.issue(selfca.Leaf{Names: w.names}).TLS()}, NextProtos: []string{"http/1.1"}}
	l, err := w.network.Listen("10.0.1.9:443")
	if err != nil {
		w.t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			tap := &tapped{Conn: c}
			w.mu.Lock()
			w.raw = append(w.raw, tap)
			w.mu.Unlock()
			serving.Go(func() {
				defer c.Close()
				if w.bare != nil {
					w.bare(tap)
					return
				}
				if conn := tls.Server(tap, config); conn.Handshake() == nil {
					w.script(conn)
					conn.Close()
				}
			})
		}
	})
	w.t.Cleanup(func() {
		l.Close()
		w.mu.Lock()
		for _, c := range w.raw {
			c.Conn.Close()
		}
		w.mu.Unlock()
		serving.Wait()
	})
}

// agreeingOverTLS accepts an upgrade, answers pings, and closes when it is asked to.
func agreeingOverTLS(c net.Conn) {
	in := bufio.NewReader(c)
	r, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	io.WriteString(c, strings.Replace(switching(), proof, acceptKey(r.Header.Get("Sec-WebSocket-Key")), 1))
	for {
		head, err := in.ReadByte()
		if err != nil || head == 0x88 {
			io.WriteString(c, "\x88\x02\x03\xe8")
			return
		}
		in.Discard(5) // an empty frame
		io.WriteString(c, "\x8a\x00")
	}
}

// tunnel is a client's connection behind its CONNECT.
func (w *interceptedWorld) tunnel(target string) net.Conn {
	w.t.Helper()
	c, err := w.network.Dial(w.t.Context(), front)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	ask(w.t, c, head("CONNECT "+target+" HTTP/1.1", "Host: "+target), granted)
	return c
}

// client is a TLS client in a tunnel that trusts the CA.
func (w *interceptedWorld) client(name string, protocols ...string) *tls.Config {
	return &tls.Config{RootCAs: w.trusted, ServerName: name, NextProtos: protocols}
}

// left waits until nothing is left of the proxy's connection but its outcome, which is to be as given.
func (w *interceptedWorld) left(ends, phases string) {
	w.t.Helper()
	time.Sleep(time.Minute)
	if got := w.journal.ends(); got != ends {
		w.t.Errorf("got %q, want %q", got, ends)
	}
	if got := w.journal.String(); got != phases {
		w.t.Errorf("phases: got %q, want %q", got, phases)
	}
	w.settled()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.raw {
		if err := c.Conn.(*memnet.Conn).Peer().SetReadDeadline(past); !errors.Is(err, net.ErrClosed) {
			w.t.Errorf("the connection to the target is open: got %v", err)
		}
	}
}

const (
	tunnelled        = "request: ok, route: ok, dns: ok, connect: ok, "
	interceptedUpTo  = tunnelled + "tls_accept: ok, tls: "
	interceptedSetUp = interceptedUpTo + "ok, "

	ping = "\x89\x80\x00\x00\x00\x00"
	pong = "\x8a\x00"
)

func TestInterceptWebSocket(t *testing.T) {
	for name, enter := range map[string]func(*interceptedWorld) net.Conn{
		"CONNECT": func(w *interceptedWorld) net.Conn { return w.tunnel("wss.example:443") },
		"SOCKS5": func(w *interceptedWorld) net.Conn {
			c, err := w.network.Dial(w.t.Context(), front)
			if err != nil {
				w.t.Fatal(err)
			}
			ask(w.t, c, "\x05\x01\x00", "\x05\x00")
			ask(w.t, c, socksRequest("wss.example", 443), socksOK)
			return c
		},
		"an address, with the name in TLS": func(w *interceptedWorld) net.Conn { return w.tunnel("10.0.1.9:443") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newInterceptedWorld(t)
				w.open()
				c := tls.Client(enter(w), w.client("wss.example", "h2", "http/1.1"))
				ask(t, c, request(), "HTTP/1.1 101 ")
				ask(t, c, ping, pong)
				for conn := range w.server.Registry.All() {
					f := conn.Facts()
					if !f.Intercepted || f.Tunnel != lifecycle.TunnelWebSocket || !strings.HasPrefix(f.Target, "wss://") || f.ServerName != "wss.example" || f.Path != "/chat" {
						t.Errorf("got %+v", f)
					}
				}
				if p := c.ConnectionState().NegotiatedProtocol; p != "http/1.1" {
					t.Errorf("agreed on %q, want http/1.1", p)
				}
				io.WriteString(c, "\x88\x82\x00\x00\x00\x00\x03\xe8")
				synctest.Wait()
				c.Close()
				setUp := interceptedSetUp
				if strings.HasPrefix(name, "an address") {
					setUp = strings.Replace(setUp, "dns: ok, ", "", 1)
				}
				w.left("closed 101 client_close", setUp+"upgrade: ok (101), transfer: ok, close: ok")
				if o := w.journal.outcomes[0]; o.Upstream.Ping != 1 || o.Close.Code != 1000 {
					t.Errorf("counted %+v, closed with %d", o.Upstream, o.Close.Code)
				}
			})
		})
	}
}

// What is no upgrade passes as it is, and whoever speaks first is heard first.
func TestInterceptOther(t *testing.T) {
	for name, c := range map[string]struct {
		script    func(net.Conn)
		says      string
		hears     string
		protocols []string
	}{
		"plain requests": {func(c net.Conn) {
			for in := bufio.NewReader(c); ; {
				r, err := http.ReadRequest(in)
				if err != nil {
					return
				}
				body, _ := io.ReadAll(r.Body)
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: "+strconv.Itoa(len(body))+"\r\n\r\n"+string(body))
			}
		}, head("POST / HTTP/1.1", "Host: wss.example", "Content-Length: 3") + "abc" + head("GET / HTTP/1.1", "Host: wss.example"),
			"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", []string{"http/1.1"}},
		"the target speaks first": {func(c net.Conn) {
			io.WriteString(c, "220 hello\r\n")
			io.Copy(io.Discard, c)
		}, "", "220 hello\r\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newInterceptedWorld(t)
				w.script = c.script
				w.open()
				begun := time.Now()
				conn := tls.Client(w.tunnel("wss.example:443"), w.client("wss.example", c.protocols...))
				if err := conn.Handshake(); err != nil {
					t.Fatal(err)
				}
				io.WriteString(conn, c.says)
				got := make([]byte, len(c.hears))
				if _, err := io.ReadFull(conn, got); err != nil || string(got) != c.hears {
					t.Errorf("got %q, %v, want %q", got, err, c.hears)
				}
				if took := time.Since(begun); took != 0 {
					t.Errorf("it took %s", took)
				}
				for conn := range w.server.Registry.All() {
					if f := conn.Facts(); !f.Intercepted || f.Tunnel != lifecycle.TunnelOther {
						t.Errorf("got %+v", f)
					}
				}
				conn.Close()
				w.left("closed 200 tunnel_end", interceptedSetUp+"transfer: ok, close: ok")
			})
		})
	}
}

// What is not to be intercepted reaches the target as the client wrote it.
func TestInterceptLeavesAlone(t *testing.T) {
	for name, c := range map[string]struct {
		target    string
		server    string
		protocols []string
	}{
		"another host":                  {"another.example:443", "another.example", []string{"http/1.1"}},
		"another name":                  {"wss.example:443", "another.example", []string{"http/1.1"}},
		"a client that has HTTP/2 only": {"wss.example:443", "wss.example", []string{"h2"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newInterceptedWorld(t)
				w.names = []string{"wss.example", "another.example"}
				w.open()
				config := w.client(c.server, c.protocols...)
				config.RootCAs = w.roots
				raw := w.tunnel(c.target)
				client := tls.Client(raw, config)
				if err := client.Handshake(); err != nil && c.protocols[0] != "h2" { // which the target has not
					t.Fatal(err)
				}
				synctest.Wait()
				for conn := range w.server.Registry.All() {
					if f := conn.Facts(); f.Intercepted || f.Tunnel != lifecycle.TunnelTLS || f.ServerName != c.server {
						t.Errorf("got %+v", f)
					}
				}
				client.CloseWrite()
				io.Copy(io.Discard, raw) // a socket that is closed with unread bytes is reset
				raw.Close()
				w.left("closed 200 tunnel_end", tunnelled+"transfer: ok, close: ok")
			})
		})
	}
}

// A client that asks for no name is served under that of its tunnel.
func TestInterceptWithoutAName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newInterceptedWorld(t)
		w.open()
		config := w.client("")
		config.InsecureSkipVerify = true
		config.VerifyConnection = func(s tls.ConnectionState) error { return s.PeerCertificates[0].VerifyHostname("wss.example") }
		ask(t, tls.Client(w.tunnel("wss.example:443"), config), request(), "HTTP/1.1 101 ")
	})
}

// The client learns inside of its own TLS why there is none with the target.
func TestInterceptUpstreamFails(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*interceptedWorld)
		status int
		reason lifecycle.Reason
	}{
		"an unknown authority": {func(w *interceptedWorld) { w.roots = newAuthority(w.t).ca.Pool() }, 502, lifecycle.ReasonTLSUnknownAuthority},
		"another's name":       {func(w *interceptedWorld) { w.names = []string{"another.example"} }, 502, lifecycle.ReasonTLSHostnameMismatch},
		"no TLS": {func(w *interceptedWorld) {
			w.bare = func(c net.Conn) {
				c.Read(make([]byte, 1))
				io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
			}
		}, 502, lifecycle.ReasonTLSProtocol},
		"no answer": {func(w *interceptedWorld) { w.bare = func(c net.Conn) { io.Copy(io.Discard, c) } }, 504, lifecycle.ReasonTLSTimeout},
	} {
		for _, want := range []string{"an answer", "nothing"} {
			t.Run(name+", the client wants "+want, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newInterceptedWorld(t)
					c.change(w)
					w.open()
					client := tls.Client(w.tunnel("wss.example:443"), w.client("wss.example"))
					status := c.status
					if want == "nothing" {
						status = 0
						client.Handshake()
						client.Close()
					} else {
						io.WriteString(client, request())
						got, err := io.ReadAll(client)
						if err != nil {
							t.Errorf("got %v, want a proper end", err)
						}
						wantProblem(t, string(got), status, lifecycle.PhaseTLS, c.reason)
						client.Close()
					}
					w.left("failed "+strconv.Itoa(status)+" "+c.reason.String(), interceptedUpTo+c.reason.String())
				})
			})
		}
	}
}

// A client that does not go through with TLS is one failure, and the target never hears of TLS.
func TestInterceptClientFails(t *testing.T) {
	hello := string(helloOf(t, &tls.Config{ServerName: "wss.example"}))
	for name, c := range map[string]struct {
		acts func(*interceptedWorld, net.Conn)
		ends string
	}{
		"trusts another authority": {func(w *interceptedWorld, c net.Conn) {
			config := w.client("wss.example")
			config.RootCAs = w.roots
			tls.Client(c, config).Handshake()
			c.Close()
		}, "tls_protocol"},
		"leaves": {func(_ *interceptedWorld, c net.Conn) {
			io.WriteString(c, hello)
			synctest.Wait()
			c.Close()
		}, "client_gone"},
		"falls silent": {func(_ *interceptedWorld, c net.Conn) { io.WriteString(c, hello) }, "tls_timeout"},
		"is there when the server closes": {func(w *interceptedWorld, c net.Conn) {
			io.WriteString(c, hello)
			synctest.Wait()
			w.server.Close()
		}, "canceled"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newInterceptedWorld(t)
				w.open()
				c.acts(w, w.tunnel("wss.example:443"))
				w.left("failed 0 "+c.ends, tunnelled+"tls_accept: "+c.ends)
				for _, tap := range w.raw {
					if said := tap.said(); said != "" {
						t.Errorf("target: got %q, want nothing", said)
					}
				}
			})
		})
	}
}

// TLS with the proxy may be around all that.
func TestInterceptBehindTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newInterceptedWorld(t)
		proxy := newAuthority(t)
		w.listener.TLS = proxy.server(tlsconf.Server{}, nil)
		w.open()
		raw, err := w.network.Dial(t.Context(), front)
		if err != nil {
			t.Fatal(err)
		}
		outer := tls.Client(raw, proxy.client())
		ask(t, outer, head("CONNECT wss.example:443 HTTP/1.1", "Host: wss.example:443"), granted)
		inner := tls.Client(outer, w.client("wss.example"))
		ask(t, inner, request(), "HTTP/1.1 101 ")
		ask(t, inner, ping, pong)
		inner.Close()
		w.left("closed 101 client_gone", "tls_accept: ok, "+interceptedSetUp+"upgrade: ok (101), transfer: ok, close: ok")
	})
}

// A drain asks what is intercepted to leave as any other: a WebSocket by a Close frame, the rest by an end.
func TestInterceptDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newInterceptedWorld(t)
		w.open()
		client := tls.Client(w.tunnel("wss.example:443"), w.client("wss.example"))
		ask(t, client, request(), "HTTP/1.1 101 ")
		w.server.Drain(t.Context(), Drain{Reason: "restarting"})
		got := make([]byte, 14)
		if _, err := io.ReadFull(client, got); err != nil || string(got) != "\x88\x0c\x03\xf4restarting" {
			t.Errorf("got %q, %v, want a Close frame of 1012", got, err)
		}
		client.Close()
		w.left("closed 101 drain", interceptedSetUp+"upgrade: ok (101), transfer: ok, close: ok")
	})
}
