package config

import (
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// Log is the log on standard error.
type Log struct {
	// The least severity that is written.
	Level LogLevel `yaml:"level" default:"info"`
	// The shape of a line: `auto` is text on a terminal and JSON elsewhere.
	Format LogFormat `yaml:"format" default:"auto" reload:"restart"`
	// Levels of parts of wsproxy, by their name: `access` (a line for each connection), `admin`, `connection` (each phase, at debug), `proxy`, `relay`, `system`, `telemetry` and `tls`.
	Components map[string]LogLevel `yaml:"components"`
	// Levels of what concerns a route, by its name. They win over those of components.
	Routes map[string]LogLevel `yaml:"routes"`
	// Whether a connection has a line when it opens, beside the one when it closes.
	Opened bool `yaml:"opened" default:"false" reload:"restart"`
}

func (c *Config) checkLog(src *source, routes nameList) {
	for _, name := range slices.Sorted(maps.Keys(c.Log.Components)) {
		if !slices.Contains(LogComponents(), name) {
			src.add(key("log.components", name), closest(name, LogComponents()), "no part has this name; there are %s", oneOf(LogComponents()))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Log.Routes)) {
		routes.checkReference(src, key("log.routes", name), name)
	}
}

// Admin is the port for operators.
type Admin struct {
	// Where to listen. Beyond loopback a token or `tls.client_ca` is needed.
	Address Address `yaml:"address" default:"127.0.0.1:9900" reload:"restart"`
	// What a request must carry as `Authorization: Bearer`, as `file:PATH` or from `${NAME}`. Without it no request needs one.
	Token Secret `yaml:"token"`
	// TLS of the port. Without this block it speaks plain HTTP.
	TLS *AdminTLS `yaml:"tls"`
}

// AdminTLS is TLS towards operators.
type AdminTLS struct {
	// Certificates with their keys. The client's SNI picks one, the first where none matches. They are read anew when they change.
	Certificates []Certificate `yaml:"certificates" required:"true"`
	// A PEM file of the authorities of which a request must show a certificate, besides the token if there is one. `/healthz` and `/readyz` need neither.
	ClientCA File `yaml:"client_ca"`
	// The least version of TLS that is accepted.
	MinVersion TLSVersion `yaml:"min_version" default:"1.2"`
}

// Drain is how open connections leave when the process is asked to stop.
type Drain struct {
	// When those still open are cut.
	Timeout Duration `yaml:"timeout" default:"60s" range:"0s..24h"`
	// The time over which Close frames are spread, so that clients do not all come back at once; at most `timeout`. New clients are told to come back within it.
	Spread Duration `yaml:"spread" default:"30s" range:"0s..24h"`
	// The close code that clients get.
	Code int `yaml:"code" default:"1012" range:"1000..4999"`
	// The close reason that clients get.
	Reason string `yaml:"reason" default:"restarting"`
}

func (c *Config) checkAdmin(src *source) {
	token := c.Admin.Token
	if token.literal {
		src.add("admin.token", "", "a token does not belong in this file; write file:PATH or ${NAME}")
	}
	known := !token.IsZero() || src.wrong["admin.token"] || c.Admin.TLS != nil && (c.Admin.TLS.ClientCA != "" || src.wrong["admin.tls.client_ca"])
	if !known && !c.Admin.Address.loopback() {
		src.add("admin.address", "", "%s can be reached from other machines; set admin.token or admin.tls.client_ca, or listen on 127.0.0.1",
			src.quote("admin.address", string(c.Admin.Address)))
	}
	for i, l := range c.Listeners {
		if l.Address == c.Admin.Address && !l.Address.takesFreePort() {
			src.add(key(item("listeners", i), "address"), "", "admin.address is the same")
		}
	}
}

// maxCloseReason is what a Close frame has room for: 125 bytes, less the code (RFC 6455 §5.5).
const maxCloseReason = 123

func (c *Config) checkDrain(src *source) {
	d := &c.Drain
	if !src.given("drain.spread") {
		d.Spread = min(d.Spread, d.Timeout)
	}
	if d.Spread > d.Timeout {
		src.add("drain.spread", "", "%v is more than timeout, %v", d.Spread, d.Timeout)
	}
	if !sendable(d.Code) {
		src.add("drain.code", "", "got %d, want 1000 to 1003, 1007 to 1014 or 3000 to 4999", d.Code)
	}
	if len(d.Reason) > maxCloseReason || !utf8.ValidString(d.Reason) {
		src.add("drain.reason", "", "want at most %d bytes", maxCloseReason)
	}
}

// sendable reports whether a close code may go on the wire (RFC 6455 §7.4 and the IANA registry).
func sendable(code int) bool {
	return 1000 <= code && code <= 1003 || 1007 <= code && code <= 1014 || 3000 <= code && code <= 4999
}

// check finds what is wrong between values that are each right.
func (c *Config) check(src *source) {
	upstreams := checkNames(src, "upstreams", "upstream", c.Upstreams, func(u Upstream) string { return u.Name })
	egress := checkNames(src, "egress", "egress", c.Egress, func(e Egress) string { return e.Name })
	c.checkListeners(src)
	routes := c.checkRoutes(src, upstreams, egress)
	c.checkAuth(src)
	c.checkUpstreams(src, egress)
	c.checkEgress(src, egress)
	c.checkFallbacks(src)
	c.checkLog(src, routes)
	c.checkForward(src, egress)
	c.checkNeeded(src)
	c.checkTelemetry(src)
	if c.Workers > 0 && c.Engine == EngineGoroutines {
		src.add("workers", "", "engine: goroutines has no event loops")
	}
	c.checkAdmin(src)
	c.checkDrain(src)
	c.checkSecrets(src)
}

// checkSecrets looks at the secrets that are there: those in files are once ReadFiles has read them.
func (c *Config) checkSecrets(src *source) {
	for i, egress := range c.Egress {
		checkCredentials(src, key(item("egress", i), "credentials"), egress.Credentials)
	}
	for i, r := range c.Routes {
		if r.Sticky != nil {
			r.Sticky.checkSecret(src, key(key(item("routes", i), "sticky"), "secret"))
		}
	}
	if c.Telemetry.OTLP == nil {
		return
	}
	for name, value := range c.Telemetry.OTLP.Headers {
		if hasControl(value.Value()) {
			src.add(key("telemetry.otlp.headers", name), "", "has control characters, which a header can't")
		}
	}
}

// hasControl reports whether text has characters that no header can carry.
func hasControl(text string) bool {
	return strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}
