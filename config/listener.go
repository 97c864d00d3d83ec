package config

// Listener is an address on which clients are accepted.
type Listener struct {
	// Where to listen: `host:port`, or `:port` for every interface. Port 0 takes a free one.
	Address Address `yaml:"address" required:"true"`
	// What the listener does: `reverse` stands in front of the upstreams, `forward` takes clients where they want to go (CONNECT, absolute form and SOCKS5).
	Mode Mode `yaml:"mode" default:"reverse"`
	// TLS towards clients. Without this block the listener speaks plain HTTP.
	TLS *ServerTLS `yaml:"tls"`
	// Whom the listener believes.
	Trust Trust `yaml:"trust"`
	// How much it takes on.
	Limits ListenerLimits `yaml:"limits"`
}

// ServerTLS is TLS towards clients.
type ServerTLS struct {
	// Certificates with their keys. The client's SNI picks one, the first where none matches. They are read anew when they change.
	Certificates []Certificate `yaml:"certificates" required:"true"`
	// A PEM file of the authorities of which every client must show a certificate. Without it clients show none.
	ClientCA File `yaml:"client_ca"`
	// The least version of TLS that is accepted.
	MinVersion TLSVersion `yaml:"min_version" default:"1.2"`
}

// Certificate is a certificate chain and its key.
type Certificate struct {
	// The PEM file of the certificate, followed by its intermediates.
	Cert File `yaml:"cert" required:"true"`
	// The PEM file of the key.
	Key File `yaml:"key" required:"true"`
}

// Trust is whom a listener believes.
type Trust struct {
	// Networks of proxies whose `Forwarded` and `X-Forwarded-*` headers are believed. Those of everyone else are replaced.
	Proxies []Network `yaml:"proxies"`
	// Whether a request's `traceparent` becomes the parent of its trace. Otherwise a new trace begins that links to it, and its sampling decision is ignored.
	TraceContext bool `yaml:"trace_context" default:"false"`
	// Whether every connection must begin with a PROXY protocol header, version 1 or 2, from one of `proxies`. The client is then who the header says; a connection without it is closed after 5 s at most.
	ProxyProtocol bool `yaml:"proxy_protocol" default:"false"`
}

func (c *Config) checkListeners(src *source) {
	first := map[Address]int{}
	for i, l := range c.Listeners {
		if trust := key(item("listeners", i), "trust"); l.Trust.ProxyProtocol && len(l.Trust.Proxies) == 0 && !src.wrong[key(trust, "proxies")] {
			src.add(key(trust, "proxy_protocol"), "", "needs proxies: the networks of those whose headers are believed")
		}
		path := key(item("listeners", i), "address")
		if before, ok := first[l.Address]; ok && l.Address != "" && !l.Address.takesFreePort() {
			src.add(path, "", "listeners[%d] has the same address", before)
			continue
		}
		first[l.Address] = i
	}
}
