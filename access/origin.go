// Package access decides who may connect, and where to.
//
// It answers yes or no; what a refusal looks like is proxy's business.
package access

import (
	"fmt"
	"net"
	"net/url"
	"strings"
)

// Origins decides by the Origin header, against cross-site WebSocket hijacking (RFC 6455 §10.2). The
// zero value allows the service's own origin only.
type Origins struct {
	any      bool
	same     bool // although others are listed
	patterns []origin
}

// origin is scheme, host and port of an origin; in a pattern host may begin with "*.".
type origin struct{ scheme, host, port string }

// ParseOrigins reads a route's list: "same-origin", "*", or origins such as "https://example.com" and
// "https://*.example.com", which stands for every subdomain but not for example.com. An empty list is
// same-origin.
func ParseOrigins(list []string) (*Origins, error) {
	o := &Origins{}
	for _, s := range list {
		switch s {
		case "*":
			o.any = true
		case "same-origin":
			o.same = true
		default:
			p, ok := parseOrigin(s)
			if !ok || !isPattern(p.host) {
				return nil, fmt.Errorf("origin %q: want same-origin, * or scheme://host[:port], whose host may begin with an asterisk and a dot", s)
			}
			o.patterns = append(o.patterns, p)
		}
	}
	return o, nil
}

// Allow reports whether a page of the given origin may connect to the service that the client knows as
// scheme://host. An empty origin passes: only browsers send one, and only they can be led astray. The
// opaque origin "null" does not, unless every origin does.
func (o *Origins) Allow(header, scheme, host string) bool {
	if header == "" || o.any {
		return true
	}
	from, ok := parseOrigin(header)
	if !ok {
		return false
	}
	same := o.same || len(o.patterns) == 0
	if self, ok := parseOrigin(scheme + "://" + host); same && ok && from == self {
		return true
	}
	for _, p := range o.patterns {
		if p.matches(from) {
			return true
		}
	}
	return false
}

// isPattern reports whether host has no star but a first label of nothing else: "*example.com" would let
// notexample.com in.
func isPattern(host string) bool {
	domain := strings.TrimPrefix(host, "*.")
	return domain != "" && !strings.Contains(domain, "*")
}

func (p origin) matches(o origin) bool {
	if p.scheme != o.scheme || p.port != o.port {
		return false
	}
	if suffix, ok := strings.CutPrefix(p.host, "*"); ok {
		return strings.HasSuffix(o.host, suffix) && len(o.host) > len(suffix)
	}
	return p.host == o.host
}

var defaultPorts = map[string]string{"http": "80", "ws": "80", "https": "443", "wss": "443"}

// parseOrigin reads an origin as RFC 6454 §6.1 serialises it, its port filled in.
func parseOrigin(s string) (origin, bool) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return origin{}, false
	}
	o := origin{scheme: strings.ToLower(u.Scheme), host: strings.ToLower(u.Hostname()), port: u.Port()}
	if o.port == "" {
		o.port = defaultPorts[o.scheme]
	}
	if ip := net.ParseIP(o.host); ip != nil {
		o.host = ip.String()
	}
	return o, o.scheme != "" && o.host != ""
}
