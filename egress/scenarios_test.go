package egress

import (
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"time"
)

// scenario is a dial and what it goes through, which testdata/phases.golden has.
type scenario struct {
	name string
	dial func(f *fixture) (*Dialer, Target)
}

var directScenarios = []scenario{
	{"direct, by name", func(f *fixture) (*Dialer, Target) { return f.dialer(nil), f.echo("chat.test") }},
	{"direct, by address", func(f *fixture) (*Dialer, Target) { return f.dialer(nil), f.echo("127.0.0.1") }},
	{"name not found", func(f *fixture) (*Dialer, Target) { return f.dialer(nil), Target{Address: "nowhere.test:80"} }},
	{"name server fails", func(f *fixture) (*Dialer, Target) { return f.dialer(nil), Target{Address: "fail.test:80"} }},
	{"name server silent", func(f *fixture) (*Dialer, Target) {
		d := f.dialer(nil)
		d.Timeouts.Connect = 50 * time.Millisecond
		return d, Target{Address: "silent.test:80"}
	}},
	{"refused", func(f *fixture) (*Dialer, Target) {
		return f.dialer(nil), Target{Address: "chat.test:" + f.closed("target")}
	}},
	{"Unix socket", func(f *fixture) (*Dialer, Target) {
		path := socketPath(f.t)
		serve(f.t, listen(f.t, "unix", path), echo)
		f.path = path
		return f.dialer(as(f.proxy(TypeHTTP, silent), "alice", secret)), Target{Network: "unix", Address: path}
	}},
	{"Unix socket missing", func(f *fixture) (*Dialer, Target) {
		path := socketPath(f.t)
		f.path = path
		return f.dialer(nil), Target{Network: "unix", Address: path}
	}},
}

var tlsScenarios = []scenario{
	{"TLS", func(f *fixture) (*Dialer, Target) { return f.dialer(nil), f.secureEcho("chat.test", "chat.test") }},
	{"TLS to an address", func(f *fixture) (*Dialer, Target) { return f.dialer(nil), f.secureEcho("127.0.0.1", "127.0.0.1") }},
	{"TLS with a server name of its own", func(f *fixture) (*Dialer, Target) {
		target := f.secureEcho("chat.test", "internal.test")
		target.TLS = func() *tls.Config {
			c := f.ca.client()
			c.ServerName = "internal.test"
			return c
		}
		return f.dialer(nil), target
	}},
	{"TLS, other name", func(f *fixture) (*Dialer, Target) { return f.dialer(nil), f.secureEcho("chat.test", "other.test") }},
	{"TLS, unknown authority", func(f *fixture) (*Dialer, Target) {
		target := f.secureEcho("chat.test", "chat.test")
		target.TLS = newAuthority(f.t, "another").client
		return f.dialer(nil), target
	}},
	{"TLS, peer speaks plainly", func(f *fixture) (*Dialer, Target) {
		port := f.serve("target", saying("HTTP/1.1 400 Bad Request\r\n\r\n"))
		return f.dialer(nil), Target{Address: "chat.test:" + port, TLS: anyTLS}
	}},
	{"TLS, peer refuses the version", func(f *fixture) (*Dialer, Target) {
		config := f.ca.server("chat.test")
		config.MaxVersion = tls.VersionTLS12
		port := f.serve("target", overTLS(config, echo))
		return f.dialer(nil), Target{Address: "chat.test:" + port, TLS: func() *tls.Config {
			return &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}
		}}
	}},
	{"TLS, peer silent", func(f *fixture) (*Dialer, Target) {
		d := f.dialer(nil)
		d.Timeouts.TLS = 50 * time.Millisecond
		return d, Target{Address: "chat.test:" + f.serve("target", silent), TLS: anyTLS}
	}},
}

// through is a scenario of an egress that says something unusual; the target is never reached.
func through(name string, kind Type, says string) scenario {
	return scenario{name, func(f *fixture) (*Dialer, Target) {
		return f.dialer(as(f.proxy(kind, saying(says)), "alice", secret)), Target{Address: "chat.test:443", TLS: anyTLS}
	}}
}

// throughSilent is one of an egress that says something and then waits.
func throughSilent(name string, kind Type, says string) scenario {
	return scenario{name, func(f *fixture) (*Dialer, Target) {
		d := f.dialer(as(f.proxy(kind, func(c net.Conn) { c.Write([]byte(says)); silent(c) }), "alice", secret))
		d.Timeouts.Proxy = 50 * time.Millisecond
		return d, Target{Address: "chat.test:443", TLS: anyTLS}
	}}
}

var connectScenarios = []scenario{
	{"CONNECT, then TLS", func(f *fixture) (*Dialer, Target) {
		target := f.secureEcho("chat.test", "chat.test")
		return f.dialer(as(f.proxy(TypeHTTP, f.httpProxy(target)), "alice", secret)), target
	}},
	{"CONNECT inside TLS, then TLS", func(f *fixture) (*Dialer, Target) {
		target := f.secureEcho("chat.test", "chat.test")
		return f.dialer(as(f.proxy(TypeHTTPS, overTLS(f.ca.server("proxy.test"), f.httpProxy(target))), "alice", secret)), target
	}},
	{"CONNECT inside TLS, plain target", func(f *fixture) (*Dialer, Target) {
		target := f.echo("chat.test")
		return f.dialer(as(f.proxy(TypeHTTPS, overTLS(f.ca.server("proxy.test"), f.httpProxy(target))), "alice", secret)), target
	}},
	{"CONNECT inside TLS, other name", func(f *fixture) (*Dialer, Target) {
		return f.dialer(f.proxy(TypeHTTPS, overTLS(f.ca.server("other.test"), silent))), Target{Address: "chat.test:80"}
	}},
	{"CONNECT, target's certificate is wrong", func(f *fixture) (*Dialer, Target) {
		target := f.secureEcho("chat.test", "other.test")
		return f.dialer(as(f.proxy(TypeHTTP, f.httpProxy(target)), "alice", secret)), target
	}},
	{"CONNECT, bypassed", func(f *fixture) (*Dialer, Target) {
		p := f.proxy(TypeHTTP, silent)
		p.Bypass, _ = ParseBypass([]string{".test"})
		return f.dialer(p), f.echo("chat.test")
	}},
	{"CONNECT, proxy's name not found", func(f *fixture) (*Dialer, Target) {
		return f.dialer(&Proxy{Name: "corp", Address: "nowhere.test:3128"}), Target{Address: "chat.test:80"}
	}},
	{"CONNECT, proxy refuses the connection", func(f *fixture) (*Dialer, Target) {
		return f.dialer(&Proxy{Name: "corp", Address: "proxy.test:" + f.closed("proxy")}), Target{Address: "chat.test:80"}
	}},
	{"CONNECT, wrong password", func(f *fixture) (*Dialer, Target) {
		target := f.echo("chat.test")
		return f.dialer(as(f.proxy(TypeHTTP, f.httpProxy(target)), "alice", "wrong")), target
	}},
	{"CONNECT, no password", func(f *fixture) (*Dialer, Target) {
		target := f.echo("chat.test")
		return f.dialer(f.proxy(TypeHTTP, f.httpProxy(target))), target
	}},
	through("CONNECT answered with 403", TypeHTTP, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"),
	through("CONNECT answered with 502 by HTTP/1.0", TypeHTTP, "HTTP/1.0 502 Bad Gateway\r\n\r\n"),
	through("CONNECT answered with 401", TypeHTTP, "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\n\r\n"),
	through("CONNECT answered with 407", TypeHTTP, "HTTP/1.1 407\r\nProxy-Authenticate: Negotiate\r\n\r\n"),
	through("CONNECT answered with a redirect", TypeHTTP, "HTTP/1.1 302 Found\r\nLocation: http://login.test/\r\n\r\n"),
	through("CONNECT answered with 403 after 100", TypeHTTP, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 403\r\n\r\n"),
	through("CONNECT answered with 101", TypeHTTP, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"),
	through("CONNECT answered with another protocol", TypeHTTP, "SSH-2.0-OpenSSH_9.9\r\n"),
	through("CONNECT answered with HTTP/2", TypeHTTP, "HTTP/2 200\r\n\r\n"),
	through("CONNECT answered with a strange status", TypeHTTP, "HTTP/1.1 20 OK\r\n\r\n"),
	through("CONNECT answered with a strange header", TypeHTTP, "HTTP/1.1 200 OK\r\nwhat is this\r\n\r\n"),
	through("CONNECT answered with half a head", TypeHTTP, "HTTP/1.1 200 OK\r\nProxy-Agent: x\r\n"),
	through("CONNECT answered with half a line", TypeHTTP, "HTTP/1.1 2"),
	through("CONNECT answered with an end", TypeHTTP, ""),
	through("CONNECT answered with an endless line", TypeHTTP, "HTTP/1.1 200 "+strings.Repeat("x", 20<<10)),
	through("CONNECT answered with endless headers", TypeHTTP, "HTTP/1.1 200 OK\r\n"+strings.Repeat("a: b\r\n", 4<<10)+"\r\n"),
	through("CONNECT answered with endless 100s", TypeHTTP, strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 1<<10)),
	throughSilent("CONNECT answered with silence", TypeHTTP, ""),
	throughSilent("CONNECT answered with half a head, then silence", TypeHTTP, "HTTP/1.1 200 OK\r\n"),
}

const (
	socksOpen     = "\x05\x00"         // method selected: none
	socksLogin    = "\x05\x02"         // method selected: password
	socksLoggedIn = "\x05\x02\x01\x00" // and accepted
)

var socksScenarios = []scenario{
	{"SOCKS5", func(f *fixture) (*Dialer, Target) {
		target := f.secureEcho("chat.test", "chat.test")
		return f.dialer(as(f.proxy(TypeSOCKS5, f.socksProxy(target)), "alice", secret)), target
	}},
	{"SOCKS5, target by address", func(f *fixture) (*Dialer, Target) {
		target := f.echo("127.0.0.1")
		return f.dialer(as(f.proxy(TypeSOCKS5, f.socksProxy(target)), "alice", secret)), target
	}},
	{"SOCKS5, target and proxy by name", func(f *fixture) (*Dialer, Target) {
		target := f.echo("both.test")
		p := as(f.proxy(TypeSOCKS5, f.socksProxy(target)), "alice", secret)
		p.Address = strings.Replace(p.Address, "127.0.0.1", "proxy.test", 1)
		return f.dialer(p), target
	}},
	{"SOCKS5, target's name not found", func(f *fixture) (*Dialer, Target) {
		return f.dialer(f.proxy(TypeSOCKS5, silent)), Target{Address: "nowhere.test:80"}
	}},
	{"SOCKS5, name server silent", func(f *fixture) (*Dialer, Target) {
		d := f.dialer(f.proxy(TypeSOCKS5, silent))
		d.Timeouts.Connect = 50 * time.Millisecond
		return d, Target{Address: "silent.test:80"}
	}},
	{"SOCKS5H", func(f *fixture) (*Dialer, Target) {
		target := f.echo("chat.test")
		return f.dialer(as(f.proxy(TypeSOCKS5H, f.socksProxy(target)), "alice", secret)), target
	}},
	{"SOCKS5H, a name only the proxy knows", func(f *fixture) (*Dialer, Target) {
		target := f.echo("nowhere.test")
		return f.dialer(as(f.proxy(TypeSOCKS5H, f.socksProxy(target)), "alice", secret)), target
	}},
	{"SOCKS5H, wrong password", func(f *fixture) (*Dialer, Target) {
		target := f.echo("chat.test")
		return f.dialer(as(f.proxy(TypeSOCKS5H, f.socksProxy(target)), "alice", "wrong")), target
	}},
	{"SOCKS5H, no password", func(f *fixture) (*Dialer, Target) {
		target := f.echo("chat.test")
		return f.dialer(f.proxy(TypeSOCKS5H, f.socksProxy(target))), target
	}},
	{"SOCKS5H, password asked for unoffered", func(f *fixture) (*Dialer, Target) {
		return f.dialer(f.proxy(TypeSOCKS5H, saying(socksLogin))), Target{Address: "chat.test:80"}
	}},
	through("SOCKS5H, no acceptable method", TypeSOCKS5H, "\x05\xff"),
	through("SOCKS5H, a method of its own", TypeSOCKS5H, "\x05\x01"),
	through("SOCKS5H, login refused", TypeSOCKS5H, socksLogin+"\x01\x07"),
	through("SOCKS5H, login garbled", TypeSOCKS5H, socksLogin+"\x05\x00"),
	through("SOCKS5H, reply 1 without login", TypeSOCKS5H, socksOpen+"\x05\x01\x00\x01\x00\x00\x00\x00\x00\x00"),
	through("SOCKS5H, reply 1", TypeSOCKS5H, socksLoggedIn+"\x05\x01\x00\x01\x00\x00\x00\x00\x00\x00"),
	through("SOCKS5H, reply 2", TypeSOCKS5H, socksLoggedIn+"\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00"),
	through("SOCKS5H, reply 3", TypeSOCKS5H, socksLoggedIn+"\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00"),
	through("SOCKS5H, reply 4", TypeSOCKS5H, socksLoggedIn+"\x05\x04\x00\x01\x00\x00\x00\x00\x00\x00"),
	through("SOCKS5H, reply 5", TypeSOCKS5H, socksLoggedIn+"\x05\x05\x00\x01\x00\x00\x00\x00\x00\x00"),
	through("SOCKS5H, reply 6", TypeSOCKS5H, socksLoggedIn+"\x05\x06\x00\x01\x00\x00\x00\x00\x00\x00"),
	through("SOCKS5H, reply 7", TypeSOCKS5H, socksLoggedIn+"\x05\x07\x00\x01\x00\x00\x00\x00\x00\x00"),
	through("SOCKS5H, reply 8", TypeSOCKS5H, socksLoggedIn+"\x05\x08\x00\x01\x00\x00\x00\x00\x00\x00"),
	through("SOCKS5H, reply 200", TypeSOCKS5H, socksLoggedIn+"\x05\xc8\x00\x01\x00\x00\x00\x00\x00\x00"),
	through("SOCKS5H, reply of SOCKS4", TypeSOCKS5H, "\x00\x5b\x00\x00\x00\x00\x00\x00"),
	through("SOCKS5H, reply of HTTP", TypeSOCKS5H, "HTTP/1.1 400 Bad Request\r\n\r\n"),
	through("SOCKS5H, reply with a strange address", TypeSOCKS5H, socksLoggedIn+"\x05\x00\x00\x09\x00\x00\x00\x00\x00\x00"),
	through("SOCKS5H, half a reply", TypeSOCKS5H, socksLoggedIn+"\x05\x00\x00\x01\x00"),
	through("SOCKS5H, an end", TypeSOCKS5H, ""),
	throughSilent("SOCKS5H, silence", TypeSOCKS5H, ""),
	throughSilent("SOCKS5H, half a reply, then silence", TypeSOCKS5H, socksLoggedIn+"\x05\x00\x00"),
}

// httpProxy sends everybody to target.
func (f *fixture) httpProxy(target Target) func(net.Conn) {
	return httpProxy(onLoopback(target.Address), func(r *http.Request) {
		if r.Host != target.Address {
			f.t.Errorf("got CONNECT to %s, want %s", r.Host, target.Address)
		}
	})
}

// socksProxy sends everybody to target; it must be asked for the name, or for an address of it.
func (f *fixture) socksProxy(target Target) func(net.Conn) {
	return socksProxy(onLoopback(target.Address), func(address string) {
		if address != target.Address && address != onLoopback(target.Address) {
			f.t.Errorf("got SOCKS5 to %s, want %s", address, target.Address)
		}
	})
}
