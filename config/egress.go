package config

import (
	"net/netip"
	"strings"
)

// Egress is a proxy between wsproxy and targets.
type Egress struct {
	// Its name, for upstreams and in telemetry.
	Name string `yaml:"name" required:"true"`
	// The proxy: `http://` or `https://` for HTTP CONNECT, `socks5://` to look target names up here, `socks5h://` to let the proxy do it.
	URL EgressURL `yaml:"url"`
	// In place of `url`: the proxies that `HTTPS_PROXY` (for targets over TLS), `HTTP_PROXY` and `ALL_PROXY` name, but for targets in `NO_PROXY` and on this machine.
	FromEnvironment bool `yaml:"from_environment" default:"false"`
	// Who looks target names up: `local` is wsproxy, which then sends an address; `remote` is the proxy. `auto` is what the url's scheme says for upstreams, and `local` for forward traffic, whose addresses are to be checked.
	Resolve Resolve `yaml:"resolve" default:"auto"`
	// The name of another egress, tried when this one can't be reached or can't do its work, and before it while it has been so lately. What this one forbids is not tried there.
	Fallback string `yaml:"fallback"`
	// `user:password` for the proxy, as `file:PATH` or from `${NAME}`.
	Credentials Secret `yaml:"credentials"`
	// Targets that are dialled directly, as in NO_PROXY: a host, `.example.com` with every host under it, an address or a network, each maybe with `:port`; or `*`.
	Bypass []string `yaml:"bypass"`
	// Whether the proxy gets the trace context in its CONNECT request.
	Trusted bool `yaml:"trusted" default:"false"`
	// TLS towards an `https://` proxy.
	TLS *ClientTLS `yaml:"tls"`
}

// EgressURL is where an egress is and what it speaks.
type EgressURL struct {
	Text    string // as configured
	Scheme  string // http, https, socks5 or socks5h
	Address string // host:port, with the scheme's port where none is given
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (u *EgressURL) UnmarshalText(text []byte) error {
	known := schemes{{"http", "80"}, {"https", "443"}, {"socks5", "1080"}, {"socks5h", "1080"}}
	scheme, address, err := known.split(string(text))
	if err != nil {
		return err
	}
	*u = EgressURL{Text: string(text), Scheme: scheme, Address: address}
	return nil
}

// UserPassword is the credentials' two halves; ok is false where the egress has none.
func (e Egress) UserPassword() (user, password string, ok bool) {
	return strings.Cut(e.Credentials.Value(), ":")
}

func (c *Config) checkEgress(src *source, names nameList) {
	for i, e := range c.Egress {
		at := item("egress", i)
		names.checkReference(src, key(at, "fallback"), e.Fallback)
		checkEgressURL(src, at, e)
		checkBypass(src, key(at, "bypass"), e.Bypass)
		if e.TLS == nil {
			continue
		}
		path := key(at, "tls")
		e.TLS.check(src, path)
		if e.URL.Scheme != "" && e.URL.Scheme != "https" {
			src.add(path, "", "only an https:// proxy is spoken to over TLS; remove the block, or change the url")
		}
	}
}

func checkEgressURL(src *source, at string, e Egress) {
	switch url := key(at, "url"); {
	case src.wrong[url]:
	case e.URL.Scheme == "" && !e.FromEnvironment:
		src.add(url, "", "is missing; write one, or from_environment: true")
	case e.URL.Scheme != "" && e.FromEnvironment:
		src.add(key(at, "from_environment"), "", "has no use beside a url; remove one of them")
	}
}

// checkFallbacks makes sure that no chain of fallbacks comes back to where it began.
func (c *Config) checkFallbacks(src *source) {
	next := map[string]string{}
	for _, e := range c.Egress {
		next[e.Name] = e.Fallback
	}
	for i, e := range c.Egress {
		at := e.Fallback
		for range c.Egress {
			if at == e.Name && at != "" {
				path := key(item("egress", i), "fallback")
				src.add(path, "", "%s leads back to this egress", src.quote(path, e.Fallback))
			}
			at = next[at]
		}
	}
}

// maxCredential is what a SOCKS5 proxy takes of a user name or a password (RFC 1929 §2), and none of the others needs more.
const maxCredential = 255

func checkCredentials(src *source, path string, credentials Secret) {
	user, password, ok := strings.Cut(credentials.Value(), ":")
	switch {
	case credentials.IsZero() || credentials.unread():
	case credentials.literal:
		src.add(path, "", "a password does not belong in this file; write file:PATH or ${NAME}")
	case !ok || user == "":
		src.add(path, "", "want user:password")
	case len(user) > maxCredential || len(password) > maxCredential:
		src.add(path, "", "want a user and a password of at most %d bytes each", maxCredential)
	case hasControl(credentials.Value()):
		src.add(path, "", "want user:password without control characters")
	}
}

func checkBypass(src *source, path string, bypass []string) {
	for i, entry := range bypass {
		if path := item(path, i); entry != "" && !validBypass(entry) {
			src.add(path, "", "got %s, want a host, .suffix, address or network, maybe with :port, or *", src.quote(path, entry))
		}
	}
}

func validBypass(entry string) bool {
	if _, err := netip.ParsePrefix(entry); err == nil || entry == "*" {
		return true
	}
	if _, err := netip.ParseAddr(entry); err == nil {
		return true
	}
	_, ok := withPort(strings.TrimPrefix(entry, "*"), "1")
	return ok
}
