//go:build e2e

package e2e

import (
	"maps"
	"net"
	"testing"
)

// cast is everything that wsproxy can be made to talk to, with a route for each.
type cast struct {
	house   *house
	echo    *echo
	closed  string // an address where nobody listens
	denied  string // one that the SOCKS5 proxy refuses
	slow    string // the scripted CONNECT proxy
	mute    string // a proxy that does not answer
	tiny    string // tinyproxy; empty: not there
	dante   string // danted; empty: not there
	members bool   // danted asks for credentials
}

func (h *house) newCast(t *testing.T) *cast {
	t.Helper()
	c := &cast{house: h, echo: startEcho(t, h), closed: h.ports.address(t), denied: h.ports.address(t)}
	c.slow, c.mute = serveRaw(t, slowConnect), serveRaw(t, hang)
	if !h.missing(t, "tinyproxy") {
		c.tiny = startTinyproxy(t, h, c.echo.plain, c.echo.secure, c.closed)
	}
	if !h.missing(t, "danted") {
		c.dante, c.members = startDante(t, h, c.denied)
	}
	return c
}

// settings have a route for everything in the cast.
func (c *cast) settings(t *testing.T) *settings {
	t.Helper()
	s := c.house.newSettings(t)
	plain, secure := "ws://"+c.echo.plain, "wss://"+c.echo.secure
	_, port, _ := net.SplitHostPort(c.echo.plain)
	trust := object{"tls": s.trust()}

	s.route("direct", object{"identity": "address"}, plain)
	s.route("name", nil, "ws://localhost:"+port)
	s.route("tls", trust, secure)
	s.route("retry", object{"balance": "round_robin"}, "ws://"+c.closed, plain)
	s.route("checked", object{"health": object{"interval": "500ms"}}, plain, "ws://"+c.closed)
	c.through(s, "slow", "http://"+c.slow, "", object{"tls": s.trust()}, secure)
	if c.tiny != "" {
		c.through(s, "tiny", "http://"+c.tiny, egressUser+":"+tinyPassword, trust, secure)
		c.through(s, "tiny-nobody", "http://"+c.tiny, "", nil, plain)
		c.through(s, "tiny-wrong", "http://"+c.tiny, egressUser+":wrong", nil, plain)
		c.through(s, "tiny-denied", "http://"+c.tiny, egressUser+":"+tinyPassword, nil, "ws://"+c.denied)
	}
	if c.dante != "" {
		credentials := ""
		if c.members {
			credentials = egressUser + ":" + egressPassword
		}
		c.through(s, "socks5", "socks5://"+c.dante, credentials, nil, "ws://localhost:"+port)
		c.through(s, "socks5h", "socks5h://"+c.dante, credentials, nil, "ws://localhost:"+port)
		c.through(s, "socks5-denied", "socks5://"+c.dante, credentials, nil, "ws://"+c.denied)
		c.through(s, "socks5-closed", "socks5://"+c.dante, credentials, nil, "ws://"+c.closed)
	}
	c.failing(t, s)
	c.limited(s, plain)
	return s
}

// through adds a route whose upstream is behind an egress proxy of the same name.
func (c *cast) through(s *settings, name, url, credentials string, with object, target string) {
	e := object{"name": name, "url": url}
	if credentials != "" {
		e["credentials"] = s.secret(name, credentials)
	}
	s.egress = append(s.egress, e)
	route := object{"egress": name}
	maps.Copy(route, with)
	s.route(name, route, target)
}

// failing are routes that lead nowhere.
func (c *cast) failing(t *testing.T, s *settings) {
	t.Helper()
	raw := func(handle func(net.Conn)) string { return "ws://" + serveRaw(t, handle) }
	s.route("refused", nil, "ws://"+c.closed)
	// An empty label makes it no name at all: the resolver says so without asking anybody.
	s.route("unknown", nil, "ws://no..invalid:80")
	s.route("wrong-accept", nil, raw(reply(wrongAccept)))
	s.route("unauthorized", nil, raw(reply(unauthorized)))
	s.route("hangs-up", nil, raw(hangUp))
	s.route("hangs", nil, raw(hang))
	s.route("hangs-briefly", object{"timeouts": object{"handshake": "300ms"}}, raw(hang))
	s.route("untrusted", nil, "wss://"+c.echo.secure)
	s.route("misnamed", object{"tls": object{"ca": s.house.caFile, "server_name": "elsewhere.example"}}, "wss://"+c.echo.secure)
	s.route("no-tls", object{"tls": s.trust()}, "wss://"+c.echo.plain)
	c.through(s, "mute", "http://"+c.mute, "", object{"timeouts": object{"proxy": "300ms"}}, "ws://"+c.echo.plain)
	c.through(s, "no-proxy", "http://"+c.closed, "", nil, "ws://"+c.echo.plain)
}

// limited are routes on which connections end early.
func (c *cast) limited(s *settings, plain string) {
	s.route("idle", object{"timeouts": object{"idle": "300ms"}}, plain)
	s.route("lifetime", object{"timeouts": object{"max_lifetime": "300ms"}}, plain)
	s.route("slow-peer", object{"timeouts": object{"write": "300ms"}}, plain)
	s.route("observe", object{"framing": "observe"}, plain)
	s.route("tunnel", object{"framing": "off"}, plain)
}
