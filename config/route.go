package config

import (
	"strings"

	"golang.org/x/net/http/httpguts"
)

// Route says which requests go to an upstream, and how their connections are treated.
type Route struct {
	// Its name in telemetry and in the admin API.
	Name string `yaml:"name" required:"true"`
	// Which requests: a pattern of Go's net/http.ServeMux without a method, as in `chat.example.com/chat/{room}`. The host is optional, the most specific pattern wins, and its path is `http.route` in telemetry.
	Match string `yaml:"match" required:"true"`
	// The name of the upstream that serves them.
	Upstream string `yaml:"upstream" required:"true"`
	// The name of the egress proxy to go through, in place of the upstream's.
	Egress string `yaml:"egress"`
	// What becomes of a request that is no WebSocket upgrade: `proxy` passes it on, `reject` answers 426.
	HTTP PlainHTTP `yaml:"http" default:"proxy"`
	// Whether the upstream gets the client's `Host` header, or the target's.
	PreserveHost bool `yaml:"preserve_host" default:"true"`
	// What becomes of frames that break RFC 6455: `strict` ends the connection with 1002, `observe` counts them, `off` looks at no frame and sends none.
	Framing Framing `yaml:"framing" default:"strict"`
	// What the client gets when its upstream is lost without a Close frame: a Close with this code, or with `fin` the end of the stream alone.
	OnUpstreamLost UpstreamLost `yaml:"on_upstream_lost" default:"1012"`
	// Whether the 101 carries `Server-Timing` with the time of each phase, for the browser's developer tools.
	ServerTiming bool `yaml:"server_timing" default:"false"`
	// How many further targets are tried when one can't be reached. Nothing is tried again once the handshake may have reached an upstream.
	Retries int `yaml:"retries" default:"2" range:"0..10"`
	// After which answers of a target another one is tried, too: 502, 503 and 504. The handshake may have reached an application by then.
	RetryOn []RetryStatus `yaml:"retry_on"`
	// Brings clients back to the target that they were at, by a cookie that the 101 sets. Without it each connection is balanced anew.
	Sticky *Sticky `yaml:"sticky"`
	// Which web pages may connect, by the request's `Origin`: `same-origin`, an origin, an origin whose host begins with `*.` for every subdomain, or `*` alone for all. A request without the header passes.
	Origins []Origin `yaml:"origins" default:"same-origin"`
	// What a reload does with the route's open connections if it changes the route, its upstream or its egress, or removes the route: they `keep` what they have until they end, `drain` within `drain.spread`, or `close` at once. Clients get 1012. A changed route goes by its new value.
	OnChange OnChange `yaml:"on_change" default:"keep"`
	// Who may use it, WebSockets and other requests alike. Without it everyone may.
	Auth *Auth `yaml:"auth"`
	// Keys of the W3C `baggage` header that go on to the upstream, from clients of listeners with `trust.trace_context`. All others stay here, if there are traces at all; without traces the header passes as it came.
	Baggage []string `yaml:"baggage"`
	// Changes of the headers that are passed on.
	Headers Headers `yaml:"headers"`
	// How much the route takes on.
	Limits Limits `yaml:"limits"`
	// What of a request tells who the client is, so that reconnects can be counted: `cookie:NAME`, `header:NAME`, `query:NAME` or the client's `address`. Only a hash is kept, for 10 minutes after its connection ended. Without this key none are counted.
	Identity Identity `yaml:"identity"`
	// How long each step may take.
	Timeouts Timeouts `yaml:"timeouts"`
	// Pings of wsproxy's own, which find endpoints that are gone without a word.
	Keepalive Keepalive `yaml:"keepalive"`
}

// Sticky is the cookie that brings clients back. Its value is made from the target by a secret and tells nothing of it.
type Sticky struct {
	// The cookie's name.
	Cookie string `yaml:"cookie" required:"true"`
	// Its `SameSite` attribute. `none` is for pages of other sites and works over TLS only.
	SameSite SameSite `yaml:"same_site" default:"lax"`
	// What its value is made with, as `file:PATH` or from `${NAME}`, 16 bytes or more. Processes with the same one understand each other's cookies. Without it each process has its own, until it ends.
	Secret Secret `yaml:"secret"`
}

// Timeouts are the deadlines of a connection. Only idle and max_lifetime can be off: every other wait ends.
type Timeouts struct {
	// The whole handshake with the upstream, all attempts together.
	Handshake Duration `yaml:"handshake" default:"10s" range:"1ms..10m"`
	// Name lookup and TCP connect, for each attempt.
	Connect Duration `yaml:"connect" default:"3s" range:"1ms..10m"`
	// The egress proxy's answer, for each attempt.
	Proxy Duration `yaml:"proxy" default:"5s" range:"1ms..10m"`
	// Each TLS handshake, for each attempt.
	TLS Duration `yaml:"tls" default:"5s" range:"1ms..10m"`
	// How long an open connection may carry no frame of its endpoints before it is closed with 1001.
	Idle Duration `yaml:"idle" default:"off" range:"1ms..8760h" off:"true"`
	// From the first Close frame to the end of both sockets.
	Close Duration `yaml:"close" default:"5s" range:"1ms..10m"`
	// How long a peer may take nothing of what is sent to it.
	Write Duration `yaml:"write" default:"30s" range:"1ms..24h"`
	// How long an upstream may go on sending after its client ended its side.
	HalfClose Duration `yaml:"half_close" default:"30s" range:"1ms..24h"`
	// How long a connection may be open at all.
	MaxLifetime Duration `yaml:"max_lifetime" default:"off" range:"1ms..8760h" off:"true"`
}

// Keepalive is how silent endpoints are told from dead ones. With framing: off nobody is pinged.
type Keepalive struct {
	// How long a client may be quiet before it is pinged.
	Interval Duration `yaml:"interval" default:"30s" range:"1ms..24h" off:"true"`
	// How long an upstream may be quiet before it is pinged.
	UpstreamInterval Duration `yaml:"upstream_interval" default:"off" range:"1ms..24h" off:"true"`
	// How long a leg may give no sign of life after a ping before it is cut.
	Timeout Duration `yaml:"timeout" default:"15s" range:"1ms..24h"`
}

func (c *Config) checkRoutes(src *source, upstreams, egress nameList) nameList {
	routes := checkNames(src, "routes", "route", c.Routes, func(r Route) string { return r.Name })
	c.checkMatches(src)
	for i, r := range c.Routes {
		at := item("routes", i)
		upstreams.checkReference(src, key(at, "upstream"), r.Upstream)
		egress.checkReference(src, key(at, "egress"), r.Egress)
		if r.Egress != "" && c.hasSocket(r.Upstream) {
			src.add(key(at, "egress"), "", "the upstream has a unix socket, which can't be reached through an egress")
		}
		checkOrigins(src, key(at, "origins"), r.Origins)
		if retries := key(at, "retry_on"); len(r.RetryOn) > 0 && r.Retries == 0 && !src.wrong[key(at, "retries")] {
			src.add(retries, "", "has no effect with retries: 0")
		}
		if r.Sticky != nil {
			r.Sticky.check(src, key(at, "sticky"))
		}
		if lost := key(at, "on_upstream_lost"); r.Framing == FramingOff && src.given(lost) && r.OnUpstreamLost != UpstreamLostFIN {
			src.add(lost, string(UpstreamLostFIN), "with framing: off no Close frame is sent")
		}
		checkBaggage(src, key(at, "baggage"), r.Baggage)
		r.Limits.check(src, key(at, "limits"), r.Framing)
		if r.Framing == FramingOff {
			r.Keepalive.refuse(src, key(at, "keepalive"))
		}
	}
	return routes
}

// refuse finds what the file asks for in vain where no frame can be sent.
func (k Keepalive) refuse(src *source, path string) {
	for _, field := range []struct {
		name   string
		wanted bool
	}{{"interval", k.Interval > 0}, {"upstream_interval", k.UpstreamInterval > 0}, {"timeout", true}} {
		if at := key(path, field.name); field.wanted && src.given(at) {
			src.add(at, "", "with framing: off no ping can be sent; remove it, or choose another framing")
		}
	}
}

// leastSecret is how many bytes a secret of ours must have that nobody is to guess.
const leastSecret = 16

func (s *Sticky) check(src *source, at string) {
	if path := key(at, "cookie"); s.Cookie != "" && !httpguts.ValidHeaderFieldName(s.Cookie) {
		src.add(path, "", "got %s, want a cookie's name", src.quote(path, s.Cookie))
	}
}

func (s *Sticky) checkSecret(src *source, path string) {
	switch {
	case s.Secret.literal:
		src.add(path, "", "a secret does not belong in this file; write file:PATH or ${NAME}")
	case !s.Secret.IsZero() && !s.Secret.unread() && len(s.Secret.Value()) < leastSecret:
		src.add(path, "", "has less than %d bytes", leastSecret)
	}
}

// checkBaggage refuses what is no key of a baggage: a token of HTTP, as a header's name is.
func checkBaggage(src *source, path string, keys []string) {
	for i, k := range keys {
		if at := item(path, i); !httpguts.ValidHeaderFieldName(k) {
			src.add(at, "", "got %s, want a key, as in key=value", src.quote(at, k))
		}
	}
}

// checkOrigins refuses entries that have no effect beside "*".
func checkOrigins(src *source, path string, origins []Origin) {
	if len(origins) < 2 {
		return
	}
	for i, origin := range origins {
		if origin == OriginAny {
			src.add(item(path, i), "", `"*" lets every origin in; write it alone, or remove it`)
		}
	}
}

// Origin is an entry of a route's origins: a serialized origin (RFC 6454 §6.2), maybe with "*." before its host, or one of the constants.
type Origin string

// OriginSame is the origin that the request went to; OriginAny is every one.
const (
	OriginSame Origin = "same-origin"
	OriginAny  Origin = "*"
)

// UnmarshalText implements encoding.TextUnmarshaler.
func (o *Origin) UnmarshalText(text []byte) error {
	const want = `same-origin, "*", or an origin such as https://app.example.com or https://*.example.com`
	whole := string(text)
	if *o = Origin(whole); *o == OriginSame || *o == OriginAny {
		return nil
	}
	if lower := strings.ToLower(whole); lower != whole {
		return &wanted{what: "lower case, as browsers send it", suggestion: lower}
	}
	scheme, host, ok := strings.Cut(whole, "://")
	if !ok {
		return &wanted{what: want, suggestion: originOf(whole)}
	}
	if bare, slash := strings.CutSuffix(host, "/"); slash && validOriginHost(bare) {
		return &wanted{what: "an origin, which ends with its host or port", suggestion: scheme + "://" + bare}
	}
	if !validScheme(scheme) || !validOriginHost(host) {
		return &wanted{what: want}
	}
	return nil
}

// originOf is the origin that was meant by a host alone.
func originOf(text string) string {
	if strings.Contains(text, ".") && validOriginHost(text) {
		return "https://" + text
	}
	return closest(text, []string{string(OriginSame)})
}

func validOriginHost(host string) bool {
	_, ok := withPort(strings.TrimPrefix(host, "*."), "443")
	return ok
}

// validScheme is RFC 3986's, in lower case: other programs than web pages have their own.
func validScheme(scheme string) bool {
	return scheme != "" && 'a' <= scheme[0] && scheme[0] <= 'z' && !strings.ContainsFunc(scheme, func(r rune) bool {
		return !strings.ContainsRune("+-.", r) && !alphanumeric(r)
	})
}
