package egress

import (
	"context"
	"errors"
	"net"

	"golang.org/x/net/proxy"

	"wsproxy/lifecycle"
)

// socksDialer opens tunnels with SOCKS5 (RFC 1928, RFC 1929). It adds to golang.org/x/net/proxy, whose
// errors are text, the reason why the proxy refused.
type socksDialer struct {
	address            string // of the proxy
	username, password string
	forward            proxy.ContextDialer // opens the connection to the proxy
}

// DialContext returns the connection to the proxy itself. A refusal is a *lifecycle.Failure.
func (d *socksDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	var auth *proxy.Auth
	if d.username != "" {
		auth = &proxy.Auth{User: d.username, Password: d.password}
	}
	heard := &hearingDialer{ContextDialer: d.forward}
	socks, err := proxy.SOCKS5("tcp", d.address, auth, heard)
	if err != nil {
		return nil, err
	}
	if _, err = socks.(proxy.ContextDialer).DialContext(ctx, network, address); err == nil {
		return heard.conn.Conn, nil
	}
	if heard.conn == nil || errors.Is(ctx.Err(), context.Canceled) {
		return nil, err
	}
	if reason := socksReason(heard.conn.answer[:heard.conn.heard], auth != nil); reason != lifecycle.ReasonNone {
		return nil, lifecycle.Fail(reason, err)
	}
	return nil, err
}

// hearingDialer keeps the connection that it opens.
type hearingDialer struct {
	proxy.ContextDialer
	conn *hearingConn
}

func (d *hearingDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := d.ContextDialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	d.conn = &hearingConn{Conn: conn}
	return d.conn, nil
}

// Dial makes it a proxy.Dialer, which it is handed over as; the library prefers DialContext.
func (d *hearingDialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

// hearingConn notes in passing the part of a SOCKS5 proxy's answers that says whether it refused: two
// bytes each of method selection, authentication (if any) and reply.
type hearingConn struct {
	net.Conn
	answer [6]byte
	heard  int
}

func (c *hearingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.heard += copy(c.answer[c.heard:], p[:n])
	return n, err
}

const (
	socksVersion      = 5
	socksAuthVersion  = 1
	socksPassword     = 0x02 // methods
	socksNoneAccepted = 0xff
)

// socksReplies are the reasons of the reply codes from 1 on.
var socksReplies = [...]lifecycle.Reason{
	lifecycle.ReasonSOCKSGeneralFailure, lifecycle.ReasonSOCKSNotAllowed, lifecycle.ReasonSOCKSNetworkUnreachable,
	lifecycle.ReasonSOCKSHostUnreachable, lifecycle.ReasonSOCKSConnectionRefused, lifecycle.ReasonSOCKSTTLExpired,
	lifecycle.ReasonSOCKSUnsupported, lifecycle.ReasonSOCKSUnsupported,
}

// socksReason reads a refusal out of the beginning of a proxy's answers, ReasonNone if it is none:
// incomplete, not SOCKS5, or a success. offered says whether we have a username.
func socksReason(answer []byte, offered bool) lifecycle.Reason {
	if len(answer) < 2 || answer[0] != socksVersion {
		return lifecycle.ReasonNone
	}
	method, answer := answer[1], answer[2:]
	if method == socksNoneAccepted || method == socksPassword && !offered {
		return lifecycle.ReasonProxyAuthRequired
	}
	if method == socksPassword {
		if len(answer) < 2 || answer[0] != socksAuthVersion {
			return lifecycle.ReasonNone
		}
		if answer[1] != 0 {
			return lifecycle.ReasonProxyAuthRequired
		}
		answer = answer[2:]
	}
	if len(answer) < 2 || answer[0] != socksVersion || answer[1] == 0 {
		return lifecycle.ReasonNone
	}
	if code := int(answer[1]); code <= len(socksReplies) {
		return socksReplies[code-1]
	}
	return lifecycle.ReasonSOCKSGeneralFailure // unassigned codes (RFC 1928 section 6) still say no
}
