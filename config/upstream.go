package config

import (
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// Upstream is a named group of targets.
type Upstream struct {
	// Its name, for routes and in telemetry.
	Name string `yaml:"name" required:"true"`
	// Where its connections go: `ws://`, `wss://`, `http://` or `https://` with a host and maybe a port, `unix:/path/to.sock`, or `srv+ws://` or `srv+wss://` with the name of SRV records. A host with several addresses counts as one target for each. The request's own path is sent on.
	Targets []Target `yaml:"targets" required:"true"`
	// The targets' weights, in their order. One with twice the weight gets twice the connections. Without it all weigh the same.
	Weights []Weight `yaml:"weights"`
	// Which target a connection gets: the one with the fewest open sockets, the next one, the less busy of two drawn at random, or by `hash` always the same for the same key.
	Balance Balance `yaml:"balance" default:"least_connections"`
	// What `balance: hash` goes by: `header:NAME`, `cookie:NAME`, `query:NAME` or the client's `address`. A request without it goes to the target with the fewest open sockets.
	Hash HashKey `yaml:"hash" default:"address"`
	// How long a target that came back, or that a lookup found later, waits for its whole share of new connections.
	SlowStart Duration `yaml:"slow_start" default:"off" range:"1s..1h" off:"true"`
	// How often the names of targets that are dialled directly are looked up, to find all their addresses. `off` leaves them to each dial.
	ResolveInterval Duration `yaml:"resolve_interval" default:"30s" range:"100ms..24h" off:"true"`
	// The part of the handshakes under way that may be retries, so that they can't multiply a storm. Three at once are always allowed.
	RetryBudget float64 `yaml:"retry_budget" default:"0.2" range:"0.01..1"`
	// Checks of the targets. Without this block nothing is sent to them but connections.
	Health *Health `yaml:"health"`
	// When targets are left alone for a while because of what connections tell: failed dials and handshakes, and resets before the first message. A clean close never counts.
	Passive Passive `yaml:"passive"`
	// The name of the egress proxy to go through. Without it targets are dialled directly.
	Egress string `yaml:"egress"`
	// The version of the PROXY protocol header that tells targets the client's address, before TLS: `v1`, `v2`, or `off` for none. Plain requests then get a connection each.
	ProxyProtocol ProxyProtocol `yaml:"proxy_protocol" default:"off"`
	// TLS towards `wss://` and `https://` targets.
	TLS *ClientTLS `yaml:"tls"`
}

// Health is how the targets of an upstream are checked.
type Health struct {
	// The time between two checks of a target, give or take a tenth.
	Interval Duration `yaml:"interval" default:"5s" range:"100ms..1h"`
	// How long a check may take.
	Timeout Duration `yaml:"timeout" default:"2s" range:"10ms..10m"`
	// Whether the check opens a WebSocket and waits for the pong to its ping, or is a `GET` that must be answered with a 2xx.
	WebSocket bool `yaml:"websocket" default:"true"`
	// The path of the check's request.
	Path string `yaml:"path" default:"/"`
	// The check's `Host` header, in place of the target's own.
	Host string `yaml:"host"`
	// The subprotocol to offer, which the target must take.
	Subprotocol string `yaml:"subprotocol"`
	// A text message to send once the WebSocket is open.
	Send string `yaml:"send"`
	// A text that the first message from the target must contain.
	Expect string `yaml:"expect"`
	// How many good checks in a row make an unhealthy target healthy. The first check of all decides alone.
	Rise int `yaml:"rise" default:"2" range:"1..100"`
	// How many bad checks in a row make a healthy target unhealthy.
	Fall int `yaml:"fall" default:"3" range:"1..100"`
}

// Passive is when a target is ejected for what its connections tell.
type Passive struct {
	// How many failures in a row eject a target.
	Failures int `yaml:"failures" default:"5" range:"1..1000"`
	// How long it is ejected the first time; each time in a row twice as long as the one before.
	Eject Duration `yaml:"eject" default:"10s" range:"100ms..1h"`
	// How long it is ejected at most.
	Longest Duration `yaml:"longest" default:"5m" range:"100ms..24h"`
	// The part of the upstream's addresses that may be out at once. Beyond it none is ejected: then it is likelier that something else is wrong.
	Share float64 `yaml:"share" default:"0.5" range:"0..1"`
	// Off is `passive: off`.
	Off bool
}

func (p *Passive) turnOff() { *p = Passive{Off: true} }

// Weight is a target's part of the connections.
type Weight struct{ N int }

// UnmarshalText implements encoding.TextUnmarshaler.
func (w *Weight) UnmarshalText(text []byte) error {
	n, err := strconv.Atoi(string(text))
	if err != nil || n < 1 || n > 1000 {
		return &wanted{what: "a weight from 1 to 1000"}
	}
	w.N = n
	return nil
}

// HashKey is what of a request decides where it goes.
type HashKey string

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *HashKey) UnmarshalText(text []byte) error {
	kind, name, named := strings.Cut(string(text), ":")
	switch {
	case string(text) == "address":
	case slices.Contains([]string{"header", "cookie"}, kind) && named && httpguts.ValidHeaderFieldName(name):
	case kind == "query" && name != "":
	default:
		return &wanted{what: "header:NAME, cookie:NAME, query:NAME or address", suggestion: closest(string(text), []string{"address"})}
	}
	*k = HashKey(text)
	return nil
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
		u.checkBalance(src, at)
		u.checkHealth(src, at)
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

func (u Upstream) checkBalance(src *source, at string) {
	if n, path := len(u.Weights), key(at, "weights"); n > 0 && n != len(u.Targets) && !src.wrong[path] && !src.wrong[key(at, "targets")] {
		src.add(path, "", "has %d weights for %d targets; write one for each", n, len(u.Targets))
	}
	if path := key(at, "hash"); src.given(path) && u.Balance != BalanceHash && !src.wrong[key(at, "balance")] {
		src.add(path, "", "has no effect without balance: hash")
	}
	if p := u.Passive; !p.Off && p.Eject > p.Longest {
		src.add(key(key(at, "passive"), "longest"), "", "is shorter than eject, which is %s", p.Eject)
	}
}

func (u Upstream) checkHealth(src *source, at string) {
	h := u.Health
	if h == nil {
		return
	}
	at = key(at, "health")
	if path := key(at, "path"); !strings.HasPrefix(h.Path, "/") || strings.ContainsFunc(h.Path, notGraphic) {
		src.add(path, "", "got %s, want a path such as /healthz", src.quote(path, h.Path))
	}
	if path := key(at, "host"); h.Host != "" && !httpguts.ValidHostHeader(h.Host) {
		src.add(path, "", "got %s, want a host, maybe with a port", src.quote(path, h.Host))
	}
	if path := key(at, "subprotocol"); h.Subprotocol != "" && !httpguts.ValidHeaderFieldName(h.Subprotocol) {
		src.add(path, "", "got %s, want one subprotocol's name", src.quote(path, h.Subprotocol))
	}
	for _, name := range []string{"subprotocol", "send", "expect"} {
		if path := key(at, name); !h.WebSocket && src.given(path) {
			src.add(path, "", "has no effect with websocket: false")
		}
	}
}

func notGraphic(r rune) bool { return r <= ' ' || r > '~' || r == '#' }

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
