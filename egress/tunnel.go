package egress

import (
	"context"
	"net"
	"net/http"

	"golang.org/x/net/proxy"

	"wsproxy/lifecycle"
)

// tunnel runs the proxy phase over conn: it asks the egress for a tunnel to address.
func (a *attempt) tunnel(ctx context.Context, conn net.Conn, address string) (net.Conn, error) {
	ctx, cancel := budget(ctx, a.Timeouts.Proxy)
	defer cancel()
	p := a.begin(ctx, &lifecycle.Step{Phase: lifecycle.PhaseProxy, Host: a.target.Address, Peer: peer(conn)})
	tunnel, err := a.tunnelDialer(p, conn).DialContext(p.ctx, "tcp", address)
	if err == nil {
		err = a.introduce(tunnel)
	}
	if err := p.end(conn, err); err != nil {
		return nil, err
	}
	return tunnel, nil
}

func (a *attempt) tunnelDialer(p *phase, conn net.Conn) proxy.ContextDialer {
	username, password := a.proxy.credentials()
	switch a.proxy.Type {
	case TypeSOCKS5, TypeSOCKS5H:
		return &socksDialer{address: a.proxy.Address, username: username, password: password, forward: opened{conn}}
	}
	header := make(http.Header)
	if a.proxy.Trusted && a.Inject != nil {
		a.Inject(p.ctx, header)
	}
	return &connectDialer{
		address: a.proxy.Address, username: username, password: password, header: header, forward: opened{conn},
		answered: func(status int) { p.step.Status = status },
	}
}

// opened is the forward dialler of a proxy to which the connection is there already, since it has
// phases of its own.
type opened struct{ conn net.Conn }

func (o opened) DialContext(context.Context, string, string) (net.Conn, error) { return o.conn, nil }

// Dial makes it a golang.org/x/net/proxy.Dialer, too.
func (o opened) Dial(string, string) (net.Conn, error) { return o.conn, nil }
