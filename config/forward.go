package config

import (
	"reflect"
	"slices"
)

// Forward is how listeners with `mode: forward` serve: whom, where to, and through what.
type Forward struct {
	// Where clients may go: a host, `*.example.com` for the hosts under it, an address or a network, each maybe with `:port`, or `*` for every host. Without any it is every public address on ports 80 and 443. An address that is not public is only reached by a network here that has it, whatever a name says.
	Allow []string `yaml:"allow"`
	// Where clients may not go, written as in `allow`. It beats `allow`.
	Deny []string `yaml:"deny"`
	// Networks that clients may come from. Without any they may come from everywhere.
	Clients []Network `yaml:"clients"`
	// Who the clients are. Without it nobody has to say.
	Auth ForwardAuth `yaml:"auth"`
	// Whether listeners beyond loopback may serve whoever reaches them, with neither `auth` nor `clients`.
	Open bool `yaml:"open" default:"false"`
	// TLS that ends here, so that the WebSockets in it are seen.
	Intercept Intercept `yaml:"intercept"`
	// The name of the egress proxy to go through. Without it targets are dialled directly. Names are looked up here and the egress is given addresses that `allow` and `deny` have judged, unless it says `resolve: remote`.
	Egress string `yaml:"egress"`
	// As `routes[].framing`, for the WebSockets that are seen: in absolute form, and in tunnels without TLS.
	Framing Framing `yaml:"framing" default:"strict"`
	// How long each step may take. Of an opaque tunnel any byte counts as a frame.
	Timeouts Timeouts `yaml:"timeouts"`
	// Pings of wsproxy's own in the WebSockets that are seen.
	Keepalive Keepalive `yaml:"keepalive"`
	// What a reload does with the open tunnels and WebSockets of forward listeners if it changes this block or the egress, or removes the last such listener: they `keep` what they have until they end, `drain` within `drain.spread`, or `close` at once. WebSockets get 1012, tunnels end. The new value goes.
	OnChange OnChange `yaml:"on_change" default:"keep"`
}

// Intercept is whose TLS ends in wsproxy: in a tunnel to one of the hosts it has TLS of its own with the client, by a certificate that it makes, and with the target.
type Intercept struct {
	// The hosts, written as in `allow`, but names are not looked up: a network has addresses that clients ask for. Without any no TLS is touched. A client that offers HTTP/2 alone is left alone.
	Hosts []string `yaml:"hosts"`
	// The CA that signs the certificates. Clients have to trust it; `wsproxy ca` makes one.
	CA Authority `yaml:"ca"`
	// A PEM file of the authorities that targets' certificates are held against. Without it they are the system's.
	UpstreamCA File `yaml:"upstream_ca"`
}

// Authority is the certificate of a CA and its key. They are read anew when they change.
type Authority struct {
	// The PEM file of the certificate and, if it is not a root, of those up to the root.
	Cert File `yaml:"cert"`
	// The PEM file of the key. Whoever has it can pose as any site to those who trust the certificate.
	Key File `yaml:"key"`
}

// ForwardAuth is how clients say who they are: `Proxy-Authorization: Basic`, or user and password of SOCKS5.
type ForwardAuth struct {
	// A file of `user:hash` lines as htpasswd -B makes them (bcrypt). It is read anew when it changes.
	Htpasswd File `yaml:"htpasswd"`
	// What clients are shown when they are asked for a password.
	Realm string `yaml:"realm" default:"wsproxy"`
}

// QuickForward is the configuration of `forward --listen :3128`: one listener that takes clients where every public
// service is. Its problems name the flags.
func QuickForward(listen string, open bool) (*Config, error) {
	cfg, src := new(Config), newSource("")
	cfg.Listeners = make([]Listener, 1)
	for _, v := range []any{cfg, &cfg.Listeners[0]} {
		setDefaults(reflect.ValueOf(v).Elem())
	}
	cfg.Listeners[0].Mode, cfg.Forward.Open = ModeForward, open
	setFlag(src, "--listen", listen, &cfg.Listeners[0].Address)
	if cfg.Listeners[0].Address == cfg.Admin.Address {
		src.add("--listen", "", "%s is the admin port's address", cfg.Admin.Address)
	}
	if len(src.problems) == 0 && cfg.Forward.anybody(cfg.Listeners[0]) {
		src.add("--listen", "", "%s is reached from elsewhere, and whoever does could use this proxy; listen on loopback, as 127.0.0.1:3128, give a configuration with forward.auth or forward.clients to serve, or say --open", listen)
	}
	return cfg, src.err()
}

// has says whether a listener is of mode m, or may be: one with a wrong mode may be of any.
func (c *Config) has(src *source, m Mode) bool {
	if src.wrong["listeners"] {
		return true
	}
	for i, l := range c.Listeners {
		if l.Mode == m || src.wrong[item("listeners", i)] || src.wrong[key(item("listeners", i), "mode")] {
			return true
		}
	}
	return false
}

// anybody says whether whoever reaches the listener is served.
func (f Forward) anybody(l Listener) bool {
	return l.Mode == ModeForward && !l.Address.loopback() && l.Address != "" && !f.Open && f.Auth.Htpasswd == "" && len(f.Clients) == 0
}

func (c *Config) checkForward(src *source, egress nameList) {
	egress.checkReference(src, "forward.egress", c.Forward.Egress)
	if !c.has(src, ModeForward) {
		if src.given("forward") {
			src.add("forward", "", "no listener has mode: forward")
		}
		return
	}
	known := !slices.ContainsFunc([]string{"forward", "forward.auth", "forward.auth.htpasswd", "forward.clients", "forward.open"}, func(path string) bool { return src.wrong[path] })
	for i, l := range c.Listeners {
		if known && c.Forward.anybody(l) {
			src.add(key(item("listeners", i), "address"), "", "is reached from elsewhere, and whoever does could use this proxy; listen on loopback, set forward.auth.htpasswd or forward.clients, or say forward.open: true")
		}
	}
	if c.Forward.Framing == FramingOff {
		c.Forward.Keepalive.refuse(src, "forward.keepalive")
	}
	if src.given("forward.auth.realm") && c.Forward.Auth.Htpasswd == "" {
		src.add("forward.auth.realm", "", "nobody is asked for a password; set htpasswd, or remove it")
	}
	c.Forward.Intercept.check(src, "forward.intercept")
	for i, r := range c.Routes {
		if r.Name == string(ModeForward) {
			src.add(key(item("routes", i), "name"), "", "is how the traffic of forward listeners is called; choose another")
		}
	}
}

func (n Intercept) check(src *source, at string) {
	if len(n.Hosts) == 0 {
		return
	}
	for _, file := range []struct {
		name string
		file File
	}{{"cert", n.CA.Cert}, {"key", n.CA.Key}} {
		if path := key(key(at, "ca"), file.name); file.file == "" && !src.wrong[path] && !src.wrong[key(at, "ca")] && !src.wrong[at] {
			src.add(path, "", "is missing, and no certificate can be made without; wsproxy ca makes both files")
		}
	}
}

// checkNeeded makes sure that there is something behind listeners in reverse mode.
func (c *Config) checkNeeded(src *source) {
	if src.wrong[wholeFile] || !c.has(src, ModeReverse) && len(c.Listeners) > 0 {
		return
	}
	for _, list := range []struct {
		name  string
		empty bool
	}{{"routes", len(c.Routes) == 0}, {"upstreams", len(c.Upstreams) == 0}} {
		switch {
		case !list.empty:
		case src.given(list.name):
			src.add(list.name, "", "is empty")
		default:
			src.add(list.name, "", "is missing")
		}
	}
}
