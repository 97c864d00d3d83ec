package egress

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"

	proxyproto "github.com/pires/go-proxyproto"

	"wsproxy/lifecycle"
)

// introduced is a target that wants a PROXY header first, tells what it has read, and then echoes, maybe
// over TLS.
func introduced(config *tls.Config, told chan<- string) func(net.Conn) {
	return func(c net.Conn) {
		r := bufio.NewReaderSize(c, 512)
		h, err := proxyproto.Read(r)
		if err != nil {
			told <- err.Error()
			return
		}
		text := string('0' + rune(h.Version))
		if h.SourceAddr != nil && h.Command.IsProxy() {
			text += " " + h.SourceAddr.String() + " " + h.DestinationAddr.String()
		}
		told <- text
		rest := net.Conn(readingConn{c, r})
		if config != nil {
			rest = tls.Server(rest, config)
		}
		io.Copy(rest, rest)
	}
}

type readingConn struct {
	net.Conn
	r io.Reader
}

func (c readingConn) Read(b []byte) (int, error) { return c.r.Read(b) }

func TestIntroduction(t *testing.T) {
	const client, server = "192.0.2.7:51000", "198.51.100.9:443"
	for name, tt := range map[string]struct {
		version        int
		client, server string // empty: unknown
		secure         bool
		through        Type
		direct         bool
		want           string
	}{
		"version 1":                  {version: 1, client: client, server: server, direct: true, want: "1 " + client + " " + server},
		"version 2":                  {version: 2, client: client, server: server, direct: true, want: "2 " + client + " " + server},
		"version 1, IPv6":            {version: 1, client: "[2001:db8::7]:1", server: "[2001:db8::9]:2", direct: true, want: "1 [2001:db8::7]:1 [2001:db8::9]:2"},
		"version 1, no port":         {version: 1, client: "192.0.2.7:0", server: server, direct: true, want: "1 192.0.2.7:0 " + server},
		"version 2, mixed":           {version: 2, client: "[2001:db8::7]:1", server: server, direct: true, want: "2 [2001:db8::7]:1 " + server},
		"version 2, mapped":          {version: 2, client: "[::ffff:192.0.2.7]:1", server: server, direct: true, want: "2 192.0.2.7:1 " + server},
		"version 1, client unknown":  {version: 1, server: server, direct: true, want: "1"},
		"version 2, nobody known":    {version: 2, direct: true, want: "2"},
		"before TLS":                 {version: 2, client: client, server: server, secure: true, direct: true, want: "2 " + client + " " + server},
		"behind CONNECT, before TLS": {version: 1, client: client, server: server, secure: true, through: TypeHTTP, want: "1 " + client + " " + server},
		"behind SOCKS5":              {version: 2, client: client, server: server, through: TypeSOCKS5H, want: "2 " + client + " " + server},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			told := make(chan string, 1)
			target := Target{ProxyProtocol: tt.version, Client: addrPort(tt.client), Server: addrPort(tt.server)}
			var config *tls.Config
			if tt.secure {
				config, target.TLS = f.ca.server("chat.test"), f.ca.client
			}
			target.Address = "chat.test:" + f.serve("target", introduced(config, told))
			var p *Proxy
			switch {
			case tt.direct:
			case tt.through == TypeHTTP:
				p = as(f.proxy(TypeHTTP, httpProxy(onLoopback(target.Address), func(*http.Request) {})), "alice", secret)
			default:
				p = as(f.proxy(tt.through, socksProxy(onLoopback(target.Address), func(string) {})), "alice", secret)
			}
			conn, err := f.dialer(p).Dial(t.Context(), target)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			roundTrip(t, conn, "hello")
			if got := <-told; got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func addrPort(s string) netip.AddrPort {
	a, _ := netip.ParseAddrPort(s)
	return a
}

// A target that has hung up when it is to be told fails the phase before.
func TestIntroductionToNobody(t *testing.T) {
	for name, tt := range map[string]struct {
		proxy  *Proxy
		phase  lifecycle.Phase
		reason lifecycle.Reason
	}{
		"direct":         {nil, lifecycle.PhaseConnect, lifecycle.ReasonConnectionReset},
		"behind CONNECT": {&Proxy{Address: "proxy.test:3128"}, lifecycle.PhaseProxy, lifecycle.ReasonProxyProtocolError},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			d := f.dialer(tt.proxy)
			d.DialContext = hangingUp(tt.proxy != nil)
			_, err := d.Dial(t.Context(), Target{Address: "chat.test:80", ProxyProtocol: 2})
			if got := failureIn(t, err); got.Phase != tt.phase || got.Reason != tt.reason {
				t.Errorf("got %s in %s, want %s in %s", got.Reason, got.Phase, tt.reason, tt.phase)
			}
		})
	}
}

// hangingUp is a peer that reads nothing, or one CONNECT, and leaves.
func hangingUp(connect bool) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		if !connect {
			there.Close()
			return here, nil
		}
		go func() {
			there.Read(make([]byte, 1<<10))
			io.WriteString(there, "HTTP/1.1 200 OK\r\n\r\n")
			there.Close()
		}()
		return here, nil
	}
}
