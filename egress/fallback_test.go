package egress

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"wsproxy/lifecycle"
)

// backed is an egress that says something, with one behind it that works.
func (f *fixture) backed(kind Type, says string, target Target) *Proxy {
	first := f.proxy(kind, saying(says))
	first.Name = "first"
	first.Fallback = as(&Proxy{Name: "second", Address: "127.0.0.1:" + f.serve("second", f.httpProxy(target))}, "alice", secret)
	return first
}

func TestPhasesOfFallbacks(t *testing.T) {
	over := func(name string, kind Type, says string) scenario {
		return scenario{name, func(f *fixture) (*Dialer, Target) {
			target := f.echo("chat.test")
			return f.dialer(f.backed(kind, says, target)), target
		}}
	}
	runScenarios(t, "fallback.golden", []scenario{
		over("first answers 502", TypeHTTP, "HTTP/1.1 502 Bad Gateway\r\n\r\n"),
		over("first answers 407", TypeHTTP, "HTTP/1.1 407 Who?\r\n\r\n"),
		over("first says nothing", TypeHTTP, ""),
		over("first can't find the way", TypeSOCKS5H, socksOpen+"\x05\x04\x00\x01\x00\x00\x00\x00\x00\x00"),
		over("first forbids", TypeHTTP, "HTTP/1.1 403 Forbidden\r\n\r\n"),
		over("first forbids by SOCKS5", TypeSOCKS5H, socksOpen+"\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00"),
		over("the target refuses the first", TypeSOCKS5H, socksOpen+"\x05\x05\x00\x01\x00\x00\x00\x00\x00\x00"),
		{"first is not there", func(f *fixture) (*Dialer, Target) {
			target := f.echo("chat.test")
			first := f.backed(TypeHTTP, "", target)
			first.Address = "127.0.0.1:" + f.closed("first")
			return f.dialer(first), target
		}},
		{"first has another certificate", func(f *fixture) (*Dialer, Target) {
			target := f.echo("chat.test")
			first := f.backed(TypeHTTPS, "", target)
			first.Address = "127.0.0.1:" + f.serve("first", overTLS(f.ca.server("other.test"), silent))
			return f.dialer(first), target
		}},
		{"first fails, and so does the second", func(f *fixture) (*Dialer, Target) {
			first := f.backed(TypeHTTP, "", Target{})
			first.Fallback.Address = "127.0.0.1:" + f.closed("second")
			return f.dialer(first), Target{Address: "chat.test:80"}
		}},
		{"first fails, the second is bypassed", func(f *fixture) (*Dialer, Target) {
			target := f.echo("chat.test")
			first := f.backed(TypeHTTP, "", target)
			first.Fallback.Bypass, _ = ParseBypass([]string{".test"})
			return f.dialer(first), target
		}},
		{"the target's certificate is no reason to go another way", func(f *fixture) (*Dialer, Target) {
			target := f.secureEcho("chat.test", "other.test")
			first := f.backed(TypeHTTP, "HTTP/1.1 200 OK\r\n\r\n", target)
			first.Address = "127.0.0.1:" + f.serve("first", f.httpProxy(target))
			return f.dialer(as(first, "alice", secret)), target
		}},
		{"a denied address is none either", func(f *fixture) (*Dialer, Target) {
			first := f.backed(TypeHTTP, "", Target{})
			first.Resolve = ResolveHere
			return f.checked(first, except(f.t, "127.0.0.1", "chat.test")), Target{Address: "chat.test:80"}
		}},
	})
}

// An egress that has failed lately lets its fallback go first, until it is time to try it again.
func TestFallbackGoesFirstWhileDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var broken atomic.Bool
		broken.Store(true)
		var asked []string
		dial := func(_ context.Context, _, address string) (net.Conn, error) {
			asked = append(asked, strings.TrimSuffix(address, ":3128"))
			here, there := net.Pipe()
			go func() {
				defer there.Close()
				there.Read(make([]byte, 1<<10))
				if address == "first:3128" && broken.Load() {
					return
				}
				io.WriteString(there, "HTTP/1.1 200 OK\r\n\r\n")
			}()
			return here, nil
		}
		second := &Proxy{Address: "second:3128"}
		first := &Proxy{Address: "first:3128", Fallback: second}
		d := &Dialer{Proxy: first, DialContext: dial}
		check := func(what string, want ...string) {
			t.Helper()
			asked = nil
			conn, err := d.Dial(t.Context(), Target{Address: "chat.test:80"})
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
			if got := strings.Join(asked, " "); got != strings.Join(want, " ") {
				t.Errorf("%s: got %s, want %s", what, got, want)
			}
		}
		if !first.Health().Up {
			t.Error("got an egress that is down before anyone asked, want it up")
		}
		for range failuresUntilDown {
			check("failing", "first", "second")
		}
		check("down", "second")
		if got := first.Health(); got.Up || got.Failures != failuresUntilDown || got.Reason != lifecycle.ReasonProxyProtocolError || got.At.IsZero() {
			t.Errorf("got %+v, want it down by proxy_protocol_error", got)
		}
		if got := second.Health(); !got.Up || got.Granted != failuresUntilDown+1 || got.Failed != 0 {
			t.Errorf("got %+v for the second, want every tunnel", got)
		}
		time.Sleep(downFor)
		check("tried again", "first", "second")
		check("still down", "second")
		broken.Store(false)
		time.Sleep(downFor)
		check("well", "first")
		check("well", "first")
		if got := first.Health(); !got.Up || got.Failures != 0 {
			t.Errorf("got %+v, want it up", got)
		}
	})
}

// What may be the target's fault is not held against the egress.
func TestHealthWhenTheTargetIsDown(t *testing.T) {
	f := newFixture(t)
	for name, says := range map[string]struct {
		kind Type
		text string
	}{
		"502":              {TypeHTTP, "HTTP/1.1 502 Bad Gateway\r\n\r\n"},
		"403":              {TypeHTTP, "HTTP/1.1 403 Forbidden\r\n\r\n"},
		"host unreachable": {TypeSOCKS5H, socksOpen + "\x05\x04\x00\x01\x00\x00\x00\x00\x00\x00"},
	} {
		p := f.proxy(says.kind, saying(says.text))
		f.dialer(p).Dial(t.Context(), Target{Address: "chat.test:80"})
		if got := p.Health(); got.Failed != 0 || got.Granted != 0 {
			t.Errorf("%s: got %+v, want nothing noted", name, got)
		}
	}
}

// A client that leaves says nothing of the egress.
func TestHealthWhenTheClientLeaves(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p := &Proxy{Address: "proxy.test:3128", Fallback: &Proxy{Address: "second.test:3128"}}
	d := &Dialer{Proxy: p, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		cancel()
		return nil, ctx.Err()
	}}
	_, err := d.Dial(ctx, Target{Address: "chat.test:80"})
	if got := failureIn(t, err).Reason; got != lifecycle.ReasonClientGone || p.Health().Failed != 0 {
		t.Errorf("got %s and %d failures, want client_gone and none", got, p.Health().Failed)
	}
}

func TestFromEnvironment(t *testing.T) {
	for name, tt := range map[string]struct {
		env    string
		target string
		tls    bool
		want   string // type, address, user and password
	}{
		"nothing":                     {"", "a.test:80", false, "direct"},
		"plain":                       {"HTTP_PROXY=http://p:3128", "a.test:80", false, "http p:3128"},
		"plain, lower case":           {"http_proxy=http://p:3128", "a.test:80", false, "http p:3128"},
		"upper case wins":             {"http_proxy=http://q HTTP_PROXY=http://p", "a.test:80", false, "http p:80"},
		"TLS has its own":             {"HTTP_PROXY=http://p HTTPS_PROXY=https://q", "a.test:8443", true, "https q:443"},
		"TLS by its port":             {"HTTP_PROXY=http://p HTTPS_PROXY=https://q", "a.test:443", false, "https q:443"},
		"only for the other":          {"HTTP_PROXY=http://p", "a.test:443", true, "direct"},
		"for all":                     {"ALL_PROXY=socks5h://p", "a.test:443", true, "socks5h p:1080"},
		"for all but one":             {"ALL_PROXY=socks5://p HTTP_PROXY=http://q", "a.test:80", false, "http q:80"},
		"no scheme":                   {"HTTP_PROXY=p:3128", "a.test:80", false, "http p:3128"},
		"IPv6":                        {"HTTP_PROXY=http://[::1]:3128", "a.test:80", false, "http [::1]:3128"},
		"user and password":           {"HTTP_PROXY=http://al%40ice:p%3Ass@p", "a.test:80", false, "http p:80 al@ice p:ss"},
		"not for a suffix":            {"HTTP_PROXY=http://p NO_PROXY=.a.test,b.test", "x.a.test:80", false, "direct"},
		"not for a host":              {"HTTP_PROXY=http://p no_proxy=a.test,b.test", "b.test:80", false, "direct"},
		"for another host":            {"HTTP_PROXY=http://p NO_PROXY=b.test", "a.test:80", false, "http p:80"},
		"not for a network":           {"HTTP_PROXY=http://p NO_PROXY=10.0.0.0/8", "10.1.2.3:80", false, "direct"},
		"for none":                    {"HTTP_PROXY=http://p NO_PROXY=*", "a.test:80", false, "direct"},
		"not for this machine":        {"HTTP_PROXY=http://p", "localhost:80", false, "direct"},
		"not for this machine's name": {"HTTP_PROXY=http://p", "127.0.0.1:80", false, "direct"},
	} {
		t.Run(name, func(t *testing.T) {
			p := &Proxy{Name: "environment", Resolve: ResolveHere, Trusted: true}
			if err := p.FromEnvironment(environment(tt.env)); err != nil {
				t.Fatal(err)
			}
			target := Target{Address: tt.target}
			if tt.tls {
				target.TLS = func() *tls.Config { return nil }
			}
			got := "direct"
			if q := p.For(target); q != nil {
				username, password := q.credentials()
				got = strings.TrimSpace(q.Type.String() + " " + q.Address + " " + username + " " + password)
				if q.Name != p.Name || q.Resolve != ResolveHere || !q.Trusted {
					t.Errorf("got %+v, want the settings of the one that it stands for", q)
				}
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func environment(text string) func(string) string {
	set := map[string]string{}
	for entry := range strings.FieldsSeq(text) {
		name, value, _ := strings.Cut(entry, "=")
		set[name] = value
	}
	return func(name string) string { return set[name] }
}

func TestFromEnvironmentRefuses(t *testing.T) {
	for _, value := range []string{"ftp://" + secret + "@p", "http://" + secret + "@", "http://p:port" + secret, "http://" + secret + " %zz"} {
		err := new(Proxy).FromEnvironment(func(name string) string {
			return map[string]string{"https_proxy": value}[name]
		})
		if err == nil || !strings.Contains(err.Error(), "https_proxy") || strings.Contains(err.Error(), secret) {
			t.Errorf("got %v, want an error that names the variable and not its value", err)
		}
	}
}

// Through the environment as through any other, with one health for all that it names.
func TestDialThroughTheEnvironment(t *testing.T) {
	f := newFixture(t)
	target := f.echo("chat.test")
	p := &Proxy{Name: "environment"}
	address := f.proxy(TypeHTTP, f.httpProxy(target)).Address
	if err := p.FromEnvironment(environment("http_proxy=http://alice:" + secret + "@" + address)); err != nil {
		t.Fatal(err)
	}
	d := f.checked(p, func(netip.AddrPort, string) error { return nil })
	got := f.run(t.Context(), d, target)
	if !strings.HasSuffix(got, "egress=http/environment status=200\nconnected") || p.Health().Granted != 1 {
		t.Errorf("got:\n%s\nand %+v, want a tunnel", got, p.Health())
	}
}
