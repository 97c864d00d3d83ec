package upstream

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
)

// Key is what of a request Hash goes by. The zero value is the client's address.
type Key struct {
	from func(r *http.Request, client string) string
}

// ParseKey reads header:NAME, cookie:NAME, query:NAME or address.
func ParseKey(text string) (Key, error) {
	kind, name, _ := strings.Cut(text, ":")
	switch {
	case text == "address" || text == "":
		return Key{}, nil
	case name == "":
	case kind == "header":
		return Key{func(r *http.Request, _ string) string { return r.Header.Get(name) }}, nil
	case kind == "cookie":
		return Key{func(r *http.Request, _ string) string { return cookie(r, name) }}, nil
	case kind == "query":
		return Key{func(r *http.Request, _ string) string { return r.URL.Query().Get(name) }}, nil
	}
	return Key{}, fmt.Errorf("hash %q: want header:NAME, cookie:NAME, query:NAME or address", text)
}

// Of is the key of a request; empty where the request has none. client is the client's address, with or
// without a port.
func (k Key) Of(r *http.Request, client string) string {
	if k.from != nil {
		return k.from(r, client)
	}
	if host, _, err := net.SplitHostPort(client); err == nil {
		return host
	}
	return client
}

func cookie(r *http.Request, name string) string {
	c, err := r.Cookie(name)
	if err != nil {
		return ""
	}
	return c.Value
}

// Sticky brings clients back to the target that they were at, by a cookie. Its value tells nothing of
// the target: it is an HMAC of it.
type Sticky struct {
	Cookie string // its name
	Key    []byte // those who share it understand each other's cookies

	mu     sync.Mutex
	tokens map[string]string // by endpoint
}

// tokensKept bounds what is remembered; endpoints come and go with lookups.
const tokensKept = 4096

// Token is the cookie's value for an endpoint.
func (s *Sticky) Token(id string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tokens[id]; t != "" {
		return t
	}
	mac := hmac.New(sha256.New, s.Key)
	mac.Write([]byte(id))
	t := base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:18])
	if s.tokens == nil || len(s.tokens) >= tokensKept {
		s.tokens = make(map[string]string)
	}
	s.tokens[id] = t
	return t
}

// Prefer is for a Request: it finds the endpoint that r's cookie names. Nil without a cookie.
func (s *Sticky) Prefer(r *http.Request) func(id string) bool {
	value := cookie(r, s.Cookie)
	if value == "" {
		return nil
	}
	return func(id string) bool { return s.Token(id) == value }
}
