package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"

	"wsproxy/access"
	"wsproxy/config"
	"wsproxy/egress"
	"wsproxy/proxy"
	"wsproxy/tlsconf"
)

// intercepting is what makes TLS end here: whose, and with what certificates on both sides.
type intercepting struct {
	hosts  *access.Hosts
	minter *tlsconf.Minter
	trust  func() *tls.Config // towards targets
}

// interceptingTLS makes it, nil if no host is to be intercepted. It does so for every generation, also where
// listeners go on with what a former one has: it is the generation's store that watches the files.
func (gen *generation) interceptingTLS(c config.Intercept) (*intercepting, error) {
	if len(c.Hosts) == 0 {
		return nil, nil
	}
	hosts, err := access.ParseHosts(c.Hosts)
	if err != nil {
		return nil, fmt.Errorf("hosts: %w", err)
	}
	minter, err := gen.tls.Minter(tlsconf.Interception{CA: tlsconf.Pair{Cert: string(c.CA.Cert), Key: string(c.CA.Key)}})
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	trust, err := gen.tls.Client(tlsconf.Client{CA: string(c.UpstreamCA)})
	if err != nil {
		return nil, fmt.Errorf("upstream_ca: %w", err)
	}
	return &intercepting{hosts, minter, trust}, nil
}

// through is interception of what d dials; nil if there is none.
func (i *intercepting) through(d *egress.Dialer) *proxy.Interception {
	if i == nil {
		return nil
	}
	return &proxy.Interception{
		Client: func(host string, port uint16) *tls.Config {
			if !i.hosts.Has(host, port) {
				return nil
			}
			return i.minter.Config(host)
		},
		Secure: func(ctx context.Context, conn net.Conn, address, host string, protocols []string) (net.Conn, error) {
			return d.Secure(ctx, conn, egress.Target{Address: address, TLS: func() *tls.Config {
				c := i.trust().Clone()
				c.ServerName, c.NextProtos = host, protocols
				return c
			}})
		},
	}
}
