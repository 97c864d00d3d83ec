package config

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// schemes are the URL schemes that a key accepts, the usual one first, each with its port.
type schemes []struct{ name, port string }

// split takes a URL that is only a scheme, a host and maybe a port, and returns the address to dial.
func (s schemes) split(whole string) (scheme, address string, err error) {
	scheme, rest, ok := strings.Cut(whole, "://")
	if !ok {
		return "", "", &wanted{what: s.want(), suggestion: s.complete(whole)}
	}
	known := s.find(scheme)
	if known < 0 {
		return "", "", &wanted{what: s.want(), suggestion: s.lower(scheme, rest)}
	}
	host, tail := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		host, tail = rest[:i], rest[i:]
	}
	switch {
	case strings.Contains(host, "@"):
		return "", "", &wanted{what: "a URL without user and password"}
	case tail != "" && tail != "/":
		return "", "", &wanted{what: "a URL without path or query", suggestion: scheme + "://" + host}
	}
	address, ok = withPort(host, s[known].port)
	if !ok {
		return "", "", &wanted{what: "a URL such as " + scheme + "://host:" + s[known].port}
	}
	return scheme, address, nil
}

func (s schemes) want() string {
	list := make([]string, len(s))
	for i, scheme := range s {
		list[i] = scheme.name + "://"
	}
	return "a URL with " + oneOf(list)
}

func (s schemes) find(name string) int {
	return slices.IndexFunc(s, func(scheme struct{ name, port string }) bool { return scheme.name == name })
}

// complete is the URL that was meant by an address alone.
func (s schemes) complete(text string) string {
	if _, ok := withPort(text, s[0].port); !ok {
		return ""
	}
	return s[0].name + "://" + text
}

// lower is the URL that was meant by a scheme in capitals.
func (s schemes) lower(scheme, rest string) string {
	if s.find(strings.ToLower(scheme)) < 0 {
		return ""
	}
	return strings.ToLower(scheme) + "://" + rest
}

// withPort is text, a host with or without a port, with port where it has none.
func withPort(text, port string) (address string, ok bool) {
	host := strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")
	if h, p, err := net.SplitHostPort(text); err == nil {
		host, port = h, p
	} else if strings.Contains(host, ":") && !strings.HasPrefix(text, "[") {
		return "", false
	}
	return net.JoinHostPort(host, port), validHost(host) && validPort(port, 1)
}

// validHost accepts IP addresses and names that a resolver can be asked for.
func validHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return host != "" && len(host) <= 253 && !strings.ContainsFunc(host, func(r rune) bool {
		return r != '.' && r != '-' && r != '_' && !alphanumeric(r)
	})
}

func validPort(port string, least int) bool {
	n, err := strconv.Atoi(port)
	return err == nil && strconv.Itoa(n) == port && least <= n && n <= 65535
}
