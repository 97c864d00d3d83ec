package egress

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"wsproxy/lifecycle"
)

// open makes the TCP or Unix connection: to the target or, if there is one, to the egress. It returns
// the address that the egress is then asked for.
func (a *attempt) open(ctx context.Context) (net.Conn, string, error) {
	ctx, cancel := budget(ctx, a.Timeouts.Connect)
	defer cancel()
	if a.proxy == nil {
		conn, err := a.connect(ctx, lifecycle.HopTarget, a.target.Network, a.target.Address)
		return conn, "", err
	}
	address, err := a.resolve(ctx)
	if err != nil {
		return nil, "", err
	}
	conn, err := a.connect(ctx, lifecycle.HopEgress, "tcp", a.proxy.Address)
	a.elsewhere = err != nil
	return conn, address, err
}

// resolve returns what the egress is asked for: the target as it is called, or its address.
func (a *attempt) resolve(ctx context.Context) (string, error) {
	host, port, err := net.SplitHostPort(a.target.Address)
	if err != nil {
		return "", err
	}
	if isAddress(host) {
		return a.target.Address, a.screen(ctx, a.target.Address)
	}
	if !a.resolvesHere() {
		return a.target.Address, nil
	}
	p := a.begin(ctx, &lifecycle.Step{Phase: lifecycle.PhaseDNS, Hop: lifecycle.HopTarget, Host: host})
	ips, err := a.Resolver.LookupNetIP(p.ctx, "ip", host)
	for _, ip := range ips {
		p.step.Answers = append(p.step.Answers, ip.Unmap().String())
	}
	if _, none := errors.AsType[*net.AddrError](err); none { // of a name that Go looks up nowhere, such as x.onion
		err = notFound(host)
	}
	if err := p.end(nil, err); err != nil {
		return "", err
	}
	var addresses []string
	for _, ip := range ips {
		addresses = append(addresses, net.JoinHostPort(ip.String(), port))
	}
	return net.JoinHostPort(preferred(ips).String(), port), a.screen(ctx, addresses...)
}

// resolvesHere says whether the egress is given addresses only.
func (a *attempt) resolvesHere() bool {
	if a.proxy.Resolve == ResolveByType {
		return a.Local || a.proxy.Type == TypeSOCKS5
	}
	return a.proxy.Resolve == ResolveHere
}

// preferred is the first IPv4 address, else the first. A SOCKS5 connection is good for one try, and
// the resolver's own order says what this machine can reach, not what the egress can: IPv4 is the
// likelier.
func preferred(ips []netip.Addr) netip.Addr {
	for _, ip := range ips {
		if ip = ip.Unmap(); ip.Is4() {
			return ip
		}
	}
	return ips[0]
}

func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// connect runs the dns and connect phases towards address, as they turn up in net.Dialer's hooks.
func (a *attempt) connect(ctx context.Context, hop lifecycle.Hop, network, address string) (net.Conn, error) {
	w := &watch{attempt: a, hop: hop, address: address, began: time.Now()}
	conn, err := w.dial(ctx, network)
	if err == nil && a.Socket != nil {
		conn = a.Socket(conn)
	}
	return conn, err
}
