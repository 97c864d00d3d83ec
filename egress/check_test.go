package egress

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"wsproxy/lifecycle"
)

// except denies one address.
func except(t *testing.T, denied, wantHost string) func(netip.AddrPort, string) error {
	return func(addr netip.AddrPort, host string) error {
		if host != wantHost {
			t.Errorf("got host %q, want %q", host, wantHost)
		}
		if addr.Addr().Unmap() == netip.MustParseAddr(denied) {
			return errors.New("not there")
		}
		return nil
	}
}

// checked is the fixture's dialler with a Check and Go's own way to dial.
func (f *fixture) checked(p *Proxy, check func(netip.AddrPort, string) error) *Dialer {
	d := f.dialer(p)
	d.DialContext, d.Check = nil, check
	d.Socket = func(c net.Conn) net.Conn {
		tracked := &trackedConn{Conn: c}
		f.mu.Lock()
		f.sockets = append(f.sockets, tracked)
		f.mu.Unlock()
		return tracked
	}
	return d
}

// untouched is a target that must not be connected to.
func (f *fixture) untouched(host string) Target {
	return Target{Address: net.JoinHostPort(host, f.serve("target", func(net.Conn) {
		f.t.Error("got a connection to the target, want none")
	}))}
}

// unasked is a proxy that must not be connected to either.
func (f *fixture) unasked(kind Type) *Proxy {
	return f.proxy(kind, func(net.Conn) { f.t.Error("got a connection to the proxy, want none") })
}

func TestPhasesOfDeniedAddresses(t *testing.T) {
	direct := func(host, denied string) func(f *fixture) (*Dialer, Target) {
		return func(f *fixture) (*Dialer, Target) {
			return f.checked(nil, except(f.t, denied, host)), f.untouched(host)
		}
	}
	through := func(kind Type, resolve Resolve, host, denied string) func(f *fixture) (*Dialer, Target) {
		return func(f *fixture) (*Dialer, Target) {
			p := f.unasked(kind)
			p.Resolve = resolve
			return f.checked(p, except(f.t, denied, host)), f.untouched(host)
		}
	}
	runScenarios(t, "check.golden", []scenario{
		{"name", direct("chat.test", "127.0.0.1")},
		{"name with one address that is not denied", direct("two.test", "127.0.0.2")},
		{"address", direct("127.0.0.1", "127.0.0.1")},
		{"address, mapped", direct("::ffff:127.0.0.1", "127.0.0.1")},
		{"name, allowed", func(f *fixture) (*Dialer, Target) {
			return f.checked(nil, except(t, "127.0.0.2", "chat.test")), f.echo("chat.test")
		}},
		{"CONNECT, address resolved here", through(TypeHTTP, ResolveHere, "chat.test", "127.0.0.1")},
		{"CONNECT, one of two addresses", through(TypeHTTP, ResolveHere, "two.test", "127.0.0.2")},
		{"CONNECT, target by address", through(TypeHTTP, ResolveByType, "127.0.0.1", "127.0.0.1")},
		{"SOCKS5", through(TypeSOCKS5, ResolveByType, "two.test", "127.0.0.2")},
		{"SOCKS5H, address resolved here", through(TypeSOCKS5H, ResolveHere, "chat.test", "127.0.0.1")},
		{"SOCKS5H, target by address", through(TypeSOCKS5H, ResolveByType, "127.0.0.1", "127.0.0.1")},
		{"CONNECT, resolved here and allowed; the proxy's address is not judged", func(f *fixture) (*Dialer, Target) {
			_, port, _ := net.SplitHostPort(serve(f.t, listen(f.t, "tcp", "127.0.0.1:0"), echo))
			f.ports[port] = "target"
			p := as(f.proxy(TypeHTTP, httpProxy("127.0.0.1:"+port, func(*http.Request) {})), "alice", secret)
			d := f.checked(p, except(f.t, "127.0.0.2", "chat.test"))
			d.Local = true
			return d, Target{Address: "chat.test:" + port}
		}},
		{"CONNECT, resolved there", func(f *fixture) (*Dialer, Target) {
			target := f.echo("nowhere.test")
			p := as(f.proxy(TypeHTTP, f.httpProxy(target)), "alice", secret)
			return f.checked(p, except(f.t, "127.0.0.1", "nowhere.test")), target
		}},
		{"SOCKS5, resolved there after all, by a dialler that would resolve here", func(f *fixture) (*Dialer, Target) {
			target := f.echo("nowhere.test")
			p := as(f.proxy(TypeSOCKS5, f.socksProxy(target)), "alice", secret)
			p.Resolve = ResolveThere
			d := f.dialer(p)
			d.Local = true
			return d, target
		}},
		{"a name that Go looks up nowhere", func(f *fixture) (*Dialer, Target) {
			return f.checked(nil, except(f.t, "127.0.0.1", "hidden.onion")), Target{Address: "hidden.onion:80"}
		}},
		{"SOCKS5, a name that Go looks up nowhere", func(f *fixture) (*Dialer, Target) {
			return f.dialer(f.unasked(TypeSOCKS5)), Target{Address: "hidden.onion:80"}
		}},
	})
}

// A name may have another address when it is dialled than when it was judged.
func TestCheckRightBeforeTheSYN(t *testing.T) {
	f := newFixture(t)
	var judged atomic.Int32
	d := f.checked(nil, func(netip.AddrPort, string) error {
		if judged.Add(1) == 1 {
			return nil
		}
		return lifecycle.Failf(lifecycle.ReasonAddressDenied, "changed")
	})
	got := f.run(t.Context(), d, f.untouched("chat.test"))
	if !strings.HasSuffix(got, "try=127.0.0.1:target(address_denied) FAILED address_denied\nfailed in connect: address_denied") {
		t.Errorf("got:\n%s\nwant the connect phase to fail with address_denied", got)
	}
}

// A dialler of another kind has no way to ask before; its connection is not used.
func TestCheckWithAnotherDialler(t *testing.T) {
	here, there := net.Pipe()
	defer there.Close()
	allowed := func(netip.AddrPort, string) error { return nil }
	for name, tt := range map[string]struct {
		conn  net.Conn
		check func(netip.AddrPort, string) error
		want  lifecycle.Reason
	}{
		"denied":               {addressed{here, "127.0.0.1:80"}, except(t, "127.0.0.1", "chat.test"), lifecycle.ReasonAddressDenied},
		"no address to judge":  {here, allowed, lifecycle.ReasonAddressDenied},
		"an address, and fine": {addressed{here, "127.0.0.1:80"}, allowed, lifecycle.ReasonNone},
	} {
		t.Run(name, func(t *testing.T) {
			d := &Dialer{Check: tt.check, DialContext: func(context.Context, string, string) (net.Conn, error) { return tt.conn, nil }}
			conn, err := d.Dial(t.Context(), Target{Address: "chat.test:80"})
			switch {
			case tt.want != lifecycle.ReasonNone:
				if got := failureIn(t, err); got.Reason != tt.want || conn != nil {
					t.Errorf("got %s, want %s", got.Reason, tt.want)
				}
			case err != nil:
				t.Errorf("got %v, want a connection", err)
			}
		})
	}
}

type addressed struct {
	net.Conn
	address string
}

func (a addressed) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(a.address))
}
