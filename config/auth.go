package config

import (
	"net/url"
	"path"
	"slices"
	"strings"
)

// Auth is who may use a route. One of basic, api_key, jwt and mtls is enough; check is asked in addition.
type Auth struct {
	// Users with passwords.
	Basic *BasicAuth `yaml:"basic"`
	// Keys of programs.
	APIKey *APIKeyAuth `yaml:"api_key"`
	// Signed tokens. A connection ends with 4401 when its token expires.
	JWT *JWTAuth `yaml:"jwt"`
	// Client certificates, which a listener's `client_ca` verifies. A connection ends with 4401 when its certificate expires.
	MTLS *MTLSAuth `yaml:"mtls"`
	// An HTTP service that decides.
	Check *CheckAuth `yaml:"check"`
	// Whether the credentials are taken out of the request that goes to the upstream. Those in `Sec-WebSocket-Protocol` always are.
	Strip bool `yaml:"strip" default:"false"`
	// What a client without credentials is told that they are for.
	Realm string `yaml:"realm" default:"wsproxy" required:"true"`
}

// BasicAuth is users with passwords, as `Authorization: Basic`.
type BasicAuth struct {
	// The htpasswd file, of bcrypt hashes only (`htpasswd -B`); read anew when it changes.
	Htpasswd File `yaml:"htpasswd" required:"true"`
}

// APIKeyAuth is keys of programs.
type APIKeyAuth struct {
	// The file of the keys, with `NAME:SHA256` on each line, the digest in hex (`printf %s KEY | sha256sum`); read anew when it changes.
	Keys File `yaml:"keys" required:"true"`
	// The header that has the key.
	Header string `yaml:"header" default:"X-API-Key"`
	// The query parameter that has the key, in place of the header.
	Query string `yaml:"query"`
}

// JWTAuth is signed tokens.
type JWTAuth struct {
	// The JSON Web Key Set with the keys that sign: `file:PATH`, read anew when it changes, or an `https://` or `http://` URL.
	JWKS Source `yaml:"jwks" required:"true"`
	// How often the set is fetched from a URL. A token with an unknown key has it fetched at once, at most every 30s.
	Refresh Duration `yaml:"refresh" default:"15m" range:"10s..24h"`
	// What `aud` must be or contain. Without it every audience is let in.
	Audience string `yaml:"audience"`
	// What `iss` must be. Without it every issuer is let in.
	Issuer string `yaml:"issuer"`
	// The algorithms that are accepted. HS256 and its like are not unless they are listed here.
	Algorithms []string `yaml:"algorithms"`
	// How far the clocks may be apart.
	Leeway Duration `yaml:"leeway" default:"30s" range:"0s..10m"`
	// Where a token is looked for, in this order: `authorization` (`Bearer`), `header:NAME`, `cookie:NAME`, `query:NAME`, or `subprotocol:PREFIX` for an entry of `Sec-WebSocket-Protocol` behind that prefix.
	Tokens []TokenSource `yaml:"tokens" default:"authorization"`
	// The claim that says who it is.
	Identity string `yaml:"identity" default:"sub" required:"true"`
	// Claims that a token must have, or contain where they are a list or words; else 403.
	Claims map[string]string `yaml:"claims"`
	// Whether a token must have `exp`.
	RequireExpiry bool `yaml:"require_expiry" default:"true"`
}

// MTLSAuth is client certificates. Without patterns every verified one is let in.
type MTLSAuth struct {
	// Patterns of whole subjects, as `CN=*,O=Example`; `*` is anything but a comma.
	Subjects []string `yaml:"subjects"`
	// Patterns of alternative names (DNS, mail, URI), as `*.example.com`; `*` is anything but a slash.
	Names []string `yaml:"names"`
}

// CheckAuth is an HTTP service that decides: 2xx lets in, 401 and 403 do not, and anything else is an error that lets nobody in.
type CheckAuth struct {
	// Where it is.
	URL Source `yaml:"url" required:"true"`
	// The method of the request.
	Method string `yaml:"method" default:"GET" required:"true"`
	// Headers of the client's request that it gets, besides `X-Forwarded-Method`, `-Proto`, `-Host`, `-Uri` and `-For`.
	Headers []string `yaml:"headers"`
	// Headers of its answer that go to the upstream, in place of the client's own of those names.
	Copy []string `yaml:"copy"`
	// The header of its answer that says who the client is.
	Identity string `yaml:"identity"`
	// How long it may take.
	Timeout Duration `yaml:"timeout" default:"3s" range:"1ms..1m"`
	// How often it is asked again while the connection is open. A no, or three times no answer, ends the connection with 4401.
	Interval Duration `yaml:"interval" default:"off" range:"1s..24h" off:"true"`
}

// Source is where something is read from: file:PATH, or a URL with http:// or https://.
type Source struct {
	File string // relative to the working folder
	URL  string
}

// UnmarshalText implements encoding.TextUnmarshaler. The decoder makes the path of a file absolute.
func (s *Source) UnmarshalText(text []byte) error {
	const want = "file:PATH, or a URL with http:// or https://"
	if file, ok := strings.CutPrefix(string(text), "file:"); ok && file != "" {
		*s = Source{File: file}
		return nil
	}
	u, err := url.Parse(string(text))
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return &wanted{what: want}
	case u.User != nil || u.Fragment != "":
		return &wanted{what: "a URL without user, password and fragment"}
	}
	*s = Source{URL: string(text)}
	return nil
}

// TokenSource is where a token may be: authorization, header:NAME, cookie:NAME, query:NAME or subprotocol:PREFIX.
type TokenSource string

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *TokenSource) UnmarshalText(text []byte) error {
	kinds := []string{"header", "cookie", "query", "subprotocol"}
	whole := string(text)
	kind, name, named := strings.Cut(whole, ":")
	if whole != "authorization" && !(named && slices.Contains(kinds, kind) && validHeader(name)) {
		return &wanted{what: "authorization, header:NAME, cookie:NAME, query:NAME or subprotocol:PREFIX",
			suggestion: closest(whole, []string{"authorization"})}
	}
	*s = TokenSource(whole)
	return nil
}

// DefaultAlgorithms are those that are accepted where a route lists none: signatures with a public key.
func DefaultAlgorithms() []string {
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
}

func knownAlgorithms() []string { return append(DefaultAlgorithms(), "HS256", "HS384", "HS512") }

func (c *Config) checkAuth(src *source) {
	for i, r := range c.Routes {
		r.Headers.check(src, key(item("routes", i), "headers"))
		if r.Auth == nil {
			continue
		}
		at := key(item("routes", i), "auth")
		r.Auth.check(src, at)
		asks := func(l Listener) bool { return l.TLS != nil && l.TLS.ClientCA != "" }
		if r.Auth.MTLS != nil && !slices.ContainsFunc(c.Listeners, asks) {
			src.add(key(at, "mtls"), "", "no listener asks for client certificates; set tls.client_ca of one")
		}
	}
}

func (a *Auth) check(src *source, at string) {
	if a.Basic == nil && a.APIKey == nil && a.JWT == nil && a.MTLS == nil && a.Check == nil {
		src.add(at, "", "lets everyone in; write basic, api_key, jwt, mtls or check, or remove the block")
	}
	if hasControl(a.Realm) {
		src.add(key(at, "realm"), "", "has control characters, which a header can't")
	}
	if a.APIKey != nil {
		a.APIKey.check(src, key(at, "api_key"))
	}
	if a.JWT != nil {
		a.JWT.check(src, key(at, "jwt"))
	}
	if a.MTLS != nil {
		checkGlobs(src, key(at, "mtls.subjects"), a.MTLS.Subjects)
		checkGlobs(src, key(at, "mtls.names"), a.MTLS.Names)
	}
	if a.Check != nil {
		a.Check.check(src, key(at, "check"))
	}
}

func (a *APIKeyAuth) check(src *source, at string) {
	if a.Query != "" && src.given(key(at, "header")) {
		src.add(key(at, "header"), "", "stands beside query; write one of them")
	}
	checkHeaderName(src, key(at, "header"), a.Header)
}

func (j *JWTAuth) check(src *source, at string) {
	for i, alg := range j.Algorithms {
		path := item(key(at, "algorithms"), i)
		if !slices.Contains(knownAlgorithms(), alg) {
			src.add(path, closest(alg, knownAlgorithms()), "got %s, want one of %s", src.quote(path, alg), strings.Join(knownAlgorithms(), ", "))
		}
	}
	if j.JWKS.File != "" && src.given(key(at, "refresh")) {
		src.add(key(at, "refresh"), "", "is for a URL; a file is read when it changes")
	}
}

func (c *CheckAuth) check(src *source, at string) {
	if c.URL.File != "" {
		src.add(key(at, "url"), "", "want a URL with http:// or https://")
	}
	if !validHeader(c.Method) {
		src.add(key(at, "method"), "", "is not the name of a method")
	}
	for i, name := range c.Headers {
		checkHeaderName(src, item(key(at, "headers"), i), name)
	}
	for i, name := range c.Copy {
		checkHeaderName(src, item(key(at, "copy"), i), name)
	}
	if c.Identity != "" {
		checkHeaderName(src, key(at, "identity"), c.Identity)
	}
}

func checkHeaderName(src *source, at, name string) {
	if !validHeader(name) {
		src.add(at, "", "is not the name of a header")
	}
}

func checkGlobs(src *source, at string, patterns []string) {
	for i, p := range patterns {
		if _, err := path.Match(p, ""); err != nil {
			src.add(item(at, i), "", "is not a pattern: a [ or \\ is without its end")
		}
	}
}
