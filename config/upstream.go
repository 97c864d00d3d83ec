package config

import (
	"slices"
)

// Upstream is a named group of targets.
type Upstream struct {
	// Its name, for routes and in telemetry.
	Name string `yaml:"name" required:"true"`
	// Where its connections go: `ws://`, `wss://`, `http://` or `https://` with a host and maybe a port, or `unix:/path/to.sock`. The request's own path is sent on.
	Targets []Target `yaml:"targets" required:"true"`
	// Which target a connection gets: the one with the fewest open sockets, or the next one.
	Balance Balance `yaml:"balance" default:"least_connections"`
	// The name of the egress proxy to go through. Without it targets are dialled directly.
	Egress string `yaml:"egress"`
	// The version of the PROXY protocol header that tells targets the client's address, before TLS: `v1`, `v2`, or `off` for none. Plain requests then get a connection each.
	ProxyProtocol ProxyProtocol `yaml:"proxy_protocol" default:"off"`
	// TLS towards `wss://` and `https://` targets.
	TLS *ClientTLS `yaml:"tls"`
}

// ClientTLS is TLS towards a server that wsproxy connects to. The zero value trusts the system's authorities.
type ClientTLS struct {
	// A PEM file of the authorities to trust, in place of the system's.
	CA File `yaml:"ca"`
	// The PEM file of the certificate to show, where the server asks for one.
	Cert File `yaml:"cert"`
	// The PEM file of that certificate's key.
	Key File `yaml:"key"`
	// The name that the server's certificate must have and that is sent as SNI, in place of the host dialled.
	ServerName string `yaml:"server_name"`
	// The least version of TLS that is accepted.
	MinVersion TLSVersion `yaml:"min_version" default:"1.2"`
	// Whether any certificate is accepted. Only for trying things out: whoever is on the way can read and change everything.
	Insecure bool `yaml:"insecure" default:"false"`
}

func (c *Config) checkUpstreams(src *source, egress nameList) {
	for i, u := range c.Upstreams {
		at := item("upstreams", i)
		egress.checkReference(src, key(at, "egress"), u.Egress)
		checkTargets(src, key(at, "targets"), u)
		if u.TLS != nil {
			u.checkTLS(src, at)
		}
	}
}

// hasSocket reports whether an upstream has a Unix socket among its targets.
func (c *Config) hasSocket(name string) bool {
	return slices.ContainsFunc(c.Upstreams, func(u Upstream) bool {
		return u.Name == name && slices.ContainsFunc(u.Targets, func(t Target) bool { return t.Network == "unix" })
	})
}

func checkTargets(src *source, path string, u Upstream) {
	first := map[Target]int{}
	for i, target := range u.Targets {
		before, twice := first[target]
		switch {
		case target.Address == "":
			continue // a problem already
		case twice:
			src.add(item(path, i), "", "is the same as %s", item(path, before))
		case target.Network == "unix" && u.Egress != "":
			src.add(item(path, i), "", "a unix socket can't be reached through an egress")
		}
		first[target] = i
	}
}

func (u Upstream) checkTLS(src *source, at string) {
	path := key(at, "tls")
	u.TLS.check(src, path)
	uses := func(t Target) bool { return t.TLS || t.Address == "" }
	if !src.wrong[key(at, "targets")] && !slices.ContainsFunc(u.Targets, uses) {
		src.add(path, "", "no target uses TLS; write wss:// or https:// targets, or remove the block")
	}
}

func (t *ClientTLS) check(src *source, path string) {
	if t.Cert != "" && t.Key == "" && !src.wrong[key(path, "key")] {
		src.add(key(path, "cert"), "", "needs a key")
	}
	if t.Key != "" && t.Cert == "" && !src.wrong[key(path, "cert")] {
		src.add(key(path, "key"), "", "needs a cert")
	}
	if t.CA != "" && t.Insecure {
		src.add(key(path, "ca"), "", "has no effect with insecure: true; remove one of them")
	}
	if name := key(path, "server_name"); t.ServerName != "" && !validHost(t.ServerName) {
		src.add(name, "", "got %s, want a host name or address", src.quote(name, t.ServerName))
	}
}
