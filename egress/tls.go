package egress

import (
	"context"
	"crypto/tls"
	"net"

	"wsproxy/lifecycle"
)

// Secure does the TLS handshake with t, to which Dial has opened conn without TLS. It closes conn if that
// fails, as Dial does, and reports the tls phase like it.
func (d *Dialer) Secure(ctx context.Context, conn net.Conn, t Target) (net.Conn, error) {
	a := &attempt{Dialer: d, target: t, record: lifecycle.FromContext(ctx)}
	a.proxy = d.Proxy.through(t, a.record)
	return a.secure(ctx, conn, lifecycle.HopTarget, t.Address, t.TLS)
}

// through is the one among p and its fallbacks that a connection to t goes through, nil if it is direct.
func (p *Proxy) through(t Target, c *lifecycle.Connection) *Proxy {
	t.TLS = nil // it was dialled without
	for ; p != nil && c != nil; p = p.Fallback {
		if used := p.For(t); used != nil && used.Name == c.Facts().Egress {
			return used
		}
	}
	return nil
}

// secure runs a tls phase over conn with the peer that hop names, at address.
func (a *attempt) secure(ctx context.Context, conn net.Conn, hop lifecycle.Hop, address string, config func() *tls.Config) (net.Conn, error) {
	ctx, cancel := budget(ctx, a.Timeouts.TLS)
	defer cancel()
	settings := named(config, address)
	step := &lifecycle.Step{Phase: lifecycle.PhaseTLS, Hop: hop, Host: settings.ServerName, Peer: peer(conn)}
	p := a.begin(ctx, step)
	session := tls.Client(conn, settings)
	err := session.HandshakeContext(p.ctx)
	if err == nil {
		state := session.ConnectionState()
		state.PeerCertificates = nil // those of a server, not of a client
		p.step.TLS = lifecycle.NewTLSInfo(state)
	}
	if err := p.end(conn, err); err != nil {
		return nil, err
	}
	return session, nil
}

// named is the configuration with a server name: address's host, if there is one, is the default.
func named(config func() *tls.Config, address string) *tls.Config {
	var settings *tls.Config
	if config != nil {
		settings = config()
	}
	if settings == nil {
		settings = new(tls.Config)
	}
	if host, _, err := net.SplitHostPort(address); settings.ServerName == "" && err == nil {
		settings = settings.Clone()
		settings.ServerName = host
	}
	return settings
}
