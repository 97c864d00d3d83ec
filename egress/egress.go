// Package egress dials a target, directly or through an HTTP CONNECT or SOCKS5 proxy, and reports
// every phase to the connection that the context carries.
//
// It chooses no target, retries nothing, and says nothing to the target beyond a TLS handshake.
package egress

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"wsproxy/lifecycle"
)

// Target is what to dial.
type Target struct {
	Network string // tcp or unix; empty is tcp
	Address string // host:port, or the socket's path

	// TLS, if not nil, is called for every dial, so that a renewed certificate is used from the next
	// one on. A configuration without a ServerName gets the host.
	TLS func() *tls.Config

	// ProxyProtocol is the version of the PROXY header that tells the target who Client is and where it
	// has connected to, before all else: behind an egress's tunnel, before TLS. 0: none. If one of the
	// two addresses is unknown the header says just that.
	ProxyProtocol  int
	Client, Server netip.AddrPort
}

// Timeouts bound the phases of one dial. Zero is no bound but the context's.
type Timeouts struct {
	Connect time.Duration // dns and connect together
	Proxy   time.Duration
	TLS     time.Duration // each handshake: with the egress, and with the target
}

// Dialer dials. The zero value dials directly, without bounds of its own. Its fields are not changed
// after the first Dial.
type Dialer struct {
	Proxy    *Proxy // nil: direct; its Fallback is tried where it fails by itself
	Timeouts Timeouts
	Resolver *net.Resolver // nil: net.DefaultResolver

	// Local resolves names here, and sends the address, for a Proxy that does not say who is to.
	Local bool

	// Check judges every address of a target called host before anything is sent to it, be it dialled
	// here or given to a Proxy; one that is denied condemns the name that it belongs to. A *lifecycle.Failure
	// gives the reason, else it is address_denied. The addresses of a Proxy are not checked, nor, where
	// it resolves names, can the target's be. Nil: every address will do.
	Check func(addr netip.AddrPort, host string) error

	// Socket is what to make of a socket that was opened. Nil: itself.
	Socket func(net.Conn) net.Conn

	// DialContext opens sockets. Nil is a net.Dialer with Resolver: Happy Eyeballs, TCP keepalive. One
	// in its place must fire the hooks of net/http/httptrace as net.Dialer does; if it fires none, all
	// its time is the connect phase, and Check judges the address when there is a connection to it.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)

	// Inject puts the trace context into the CONNECT request to a trusted Proxy. Nil: nothing.
	Inject func(ctx context.Context, h http.Header)
}

// Dial opens a connection to t, which the caller owns. Bytes that an egress sent right behind its
// answer are read from it first. When it fails, no socket is left open and the error wraps the
// *lifecycle.Failure of the phase that failed. The phases are reported to lifecycle.FromContext(ctx).
func (d *Dialer) Dial(ctx context.Context, t Target) (net.Conn, error) {
	conn, err := d.dial(ctx, t)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", t.Address, err)
	}
	return conn, nil
}

// dial tries one egress after the other, each as an attempt of its own.
func (d *Dialer) dial(ctx context.Context, t Target) (net.Conn, error) {
	order := d.Proxy.order(time.Now())
	for {
		a, err := d.newAttempt(ctx, t, order[0])
		if err != nil {
			return nil, err
		}
		conn, err := a.dial(ctx)
		a.note(err)
		order = order[1:]
		if err == nil || !a.elsewhere || len(order) == 0 || ctx.Err() != nil {
			return conn, err
		}
		a.record.NextAttempt()
	}
}

func (a *attempt) dial(ctx context.Context) (net.Conn, error) {
	conn, address, err := a.open(ctx)
	if err != nil {
		return nil, err
	}
	if p := a.proxy; p != nil && p.Type == TypeHTTPS {
		if conn, err = a.secure(ctx, conn, lifecycle.HopEgress, p.Address, p.TLS); err != nil {
			a.elsewhere = true
			return nil, err
		}
	}
	if a.proxy != nil {
		if conn, err = a.tunnel(ctx, conn, address); err != nil {
			a.elsewhere = failsAlone(err)
			return nil, err
		}
		a.granted = true
	}
	if t := a.target; t.TLS != nil {
		return a.secure(ctx, conn, lifecycle.HopTarget, t.Address, t.TLS)
	}
	return conn, nil
}
