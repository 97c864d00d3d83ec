package egress

import (
	"crypto/tls"
	"fmt"
	"slices"
)

// Type is how an egress proxy is spoken to.
type Type uint8

const (
	TypeHTTP    Type = iota // CONNECT
	TypeHTTPS               // CONNECT inside TLS
	TypeSOCKS5              // names are resolved here and the address is sent
	TypeSOCKS5H             // names are sent
	typeCount
)

var typeNames = [typeCount]string{"http", "https", "socks5", "socks5h"}

func (t Type) String() string {
	if t >= typeCount {
		return "invalid"
	}
	return typeNames[t]
}

// ParseType is the inverse of String; its argument is the scheme of an egress's URL.
func ParseType(scheme string) (Type, error) {
	if i := slices.Index(typeNames[:], scheme); i >= 0 {
		return Type(i), nil
	}
	return 0, fmt.Errorf("egress type %q: want http, https, socks5 or socks5h", scheme)
}

// Proxy is an egress.
type Proxy struct {
	Name    string
	Type    Type
	Address string // host:port

	// Credentials, if not nil, is called for every dial. An empty username is none. SOCKS5 takes at
	// most 255 bytes of each.
	Credentials func() (username, password string)

	Bypass Bypass // targets dialled directly

	// TLS is for TypeHTTPS and called for every dial; nil trusts the system's roots. A configuration
	// without a ServerName gets the proxy's host.
	TLS func() *tls.Config

	Resolve Resolve // who looks the target's name up

	Trusted bool // may see the trace context

	// Fallback is tried when this proxy can't be reached or can't do its work, and before it while it
	// has been so lately. What it decides, such as that a target is forbidden, is not gone around. Nil:
	// none. It must not lead back here.
	Fallback *Proxy

	choose func(Target) *Proxy // of FromEnvironment
	owner  *Proxy              // whom choose belongs to
	health health
}

// For is the proxy that a target is reached through, nil if it is dialled directly.
func (p *Proxy) For(t Target) *Proxy {
	switch {
	case p == nil || t.Network == "unix" || p.Bypass.Match(t.Address):
		return nil
	case p.choose != nil:
		return p.choose(t)
	}
	return p
}

// Resolve says who looks a target's name up that is reached through a proxy.
type Resolve uint8

const (
	ResolveByType Resolve = iota // the proxy, unless it is of TypeSOCKS5 or the Dialer is Local
	ResolveHere                  // we do, and send an address
	ResolveThere                 // the proxy does
)

func (p *Proxy) credentials() (username, password string) {
	if p.Credentials == nil {
		return "", ""
	}
	return p.Credentials()
}
