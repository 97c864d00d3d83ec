package access

import (
	"fmt"
	"net/http"
	"strings"
)

// TokenSource is where in a request a token may be. Browsers can set no header on a WebSocket, so there
// are cookies, the query and the subprotocols.
type TokenSource struct{ kind, name string }

// ParseTokenSource reads authorization (a bearer token), header:NAME, cookie:NAME, query:NAME, or
// subprotocol:PREFIX, which is an entry of Sec-WebSocket-Protocol behind that prefix.
func ParseTokenSource(s string) (TokenSource, error) {
	kind, name, named := strings.Cut(s, ":")
	switch {
	case s == "authorization":
		return TokenSource{kind: s}, nil
	case named && name != "" && (kind == "header" || kind == "cookie" || kind == "query" || kind == "subprotocol"):
		return TokenSource{kind, name}, nil
	}
	return TokenSource{}, fmt.Errorf("token %q: want authorization, header:NAME, cookie:NAME, query:NAME or subprotocol:PREFIX", s)
}

// find returns the token, empty if there is none.
func (s TokenSource) find(r *http.Request) string {
	switch s.kind {
	case "authorization":
		return bearer(r.Header.Get("Authorization"))
	case "header":
		return r.Header.Get(s.name)
	case "cookie":
		if c, err := r.Cookie(s.name); err == nil {
			return c.Value
		}
	case "query":
		return r.URL.Query().Get(s.name)
	case "subprotocol":
		for _, p := range subprotocols(r.Header) {
			if token, ok := strings.CutPrefix(p, s.name); ok {
				return token
			}
		}
	}
	return ""
}

// strip takes the token out of a request. A subprotocol must always go: an upstream that agreed to it
// would publish it.
func (s TokenSource) strip(r *http.Request, always bool) {
	if always != (s.kind == "subprotocol") {
		return
	}
	switch s.kind {
	case "authorization":
		if bearer(r.Header.Get("Authorization")) != "" {
			r.Header.Del("Authorization")
		}
	case "header":
		r.Header.Del(s.name)
	case "cookie":
		stripCookie(r.Header, s.name)
	case "query":
		stripQuery(r, s.name)
	case "subprotocol":
		var kept []string
		for _, p := range subprotocols(r.Header) {
			if !strings.HasPrefix(p, s.name) {
				kept = append(kept, p)
			}
		}
		setList(r.Header, "Sec-Websocket-Protocol", kept, ", ")
	}
}

func bearer(authorization string) string {
	scheme, token, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

func subprotocols(h http.Header) []string {
	var all []string
	for _, v := range h["Sec-Websocket-Protocol"] {
		for p := range strings.SplitSeq(v, ",") {
			if p = strings.TrimSpace(p); p != "" {
				all = append(all, p)
			}
		}
	}
	return all
}

// stripCookie leaves other cookies as they were sent.
func stripCookie(h http.Header, name string) {
	var kept []string
	for _, v := range h["Cookie"] {
		for c := range strings.SplitSeq(v, ";") {
			c = strings.TrimSpace(c)
			if key, _, _ := strings.Cut(c, "="); c != "" && strings.TrimSpace(key) != name {
				kept = append(kept, c)
			}
		}
	}
	setList(h, "Cookie", kept, "; ")
}

// stripQuery leaves other parameters as they were sent. A name may be escaped.
func stripQuery(r *http.Request, name string) {
	var kept []string
	for p := range strings.SplitSeq(r.URL.RawQuery, "&") {
		key, _, _ := strings.Cut(p, "=")
		if unescaped, err := unescape(key); err != nil || unescaped != name {
			kept = append(kept, p)
		}
	}
	r.URL.RawQuery = strings.Join(kept, "&")
}

func setList(h http.Header, name string, values []string, separator string) {
	if len(values) == 0 {
		h.Del(name)
		return
	}
	h.Set(name, strings.Join(values, separator))
}
