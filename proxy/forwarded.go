package proxy

import (
	"cmp"
	"math"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// origin is how the client knows the service, and who the client is: from the socket, or from the
// forwarding headers of hops that are trusted.
type origin struct {
	trusted bool   // the socket's peer is a trusted hop
	client  string // address of the client, without port where a header told it
	scheme  string
	host    string

	silent     bool // the service is told nothing of the client
	trustTrace bool // the incoming trace context may be the parent
}

func (l *listener) origin(r *http.Request) origin {
	o := origin{client: r.RemoteAddr, scheme: "http", host: r.Host, trustTrace: l.TrustTrace}
	if l.TLS != nil {
		o.scheme = "https"
	}
	if o.trusted = l.trusts(r.RemoteAddr); !o.trusted {
		return o
	}
	o.believe(l, r.Header)
	return o
}

// believe takes up what trusted hops say. Where there is X-Forwarded-For, Forwarded is not looked at: a hop
// that writes the one may pass on the other as the client made it up.
func (o *origin) believe(l *listener, h http.Header) {
	var hops []forwarder
	for _, t := range tokens(h["X-Forwarded-For"]) {
		hops = append(hops, forwarder{from: t})
	}
	if len(hops) == 0 {
		hops = forwardedHops(h["Forwarded"])
	}
	chosen, fromRight := forwarder{}, math.MaxInt // the left, where nobody is told from a hop
	if i := l.client(hops); i >= 0 {
		chosen, fromRight = hops[i], len(hops)-1-i
		ip, _ := parseAddress(chosen.from)
		o.client = ip.String()
	}
	if p := strings.ToLower(cmp.Or(at(tokens(h["X-Forwarded-Proto"]), fromRight), chosen.proto)); p == "http" || p == "https" {
		o.scheme = p
	}
	if host := cmp.Or(at(tokens(h["X-Forwarded-Host"]), fromRight), chosen.host); host != "" {
		o.host = host
	}
}

// trusts reports whether addr, with or without port, is a trusted hop.
func (l *listener) trusts(addr string) bool {
	ip, ok := parseAddress(addr)
	return ok && l.trustsIP(ip)
}

func (l *listener) trustsIP(ip netip.Addr) bool {
	ip = ip.WithZone("") // a prefix contains no address with a zone
	return slices.ContainsFunc(l.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// client is the last of hops that is not a trusted one: those before it may be made up. It is -1 where there
// is none, or something else than an address comes first.
func (l *listener) client(hops []forwarder) int {
	for i, h := range slices.Backward(hops) {
		ip, ok := parseAddress(h.from)
		if !ok {
			return -1
		}
		if !l.trustsIP(ip) {
			return i
		}
	}
	return -1
}

// parseAddress reads an IP address, with or without port and brackets.
func parseAddress(s string) (netip.Addr, bool) {
	if host, _, err := net.SplitHostPort(s); err == nil {
		s = host
	}
	ip, err := netip.ParseAddr(strings.Trim(s, "[]"))
	return ip.Unmap(), err == nil
}

// forward puts this hop into the forwarding headers of a request that goes on. What an untrusted
// client sent in them is dropped.
func (o origin) forward(h http.Header, r *http.Request) {
	if o.silent {
		return
	}
	peer := "unknown" // of a Unix socket
	if ip, ok := parseAddress(r.RemoteAddr); ok {
		peer = ip.String()
	}
	if !o.trusted {
		for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-Ip"} {
			h.Del(name)
		}
	}
	appendTo(h, "X-Forwarded-For", peer)
	h.Set("X-Forwarded-Proto", o.scheme)
	h.Set("X-Forwarded-Host", o.host)
	appendTo(h, "Forwarded", "for="+node(peer)+";host="+quote(o.host)+";proto="+o.scheme)
}

func appendTo(h http.Header, name, value string) {
	if before := h.Values(name); len(before) > 0 {
		value = strings.Join(before, ", ") + ", " + value
	}
	h.Set(name, value)
}

// node is an address as RFC 7239 §6 writes it.
func node(ip string) string {
	if strings.Contains(ip, ":") {
		return `"[` + ip + `]"`
	}
	return ip
}

// quote makes a quoted-string (RFC 9110 §5.6.4) of what need not be a token.
func quote(s string) string {
	return `"` + quotable.Replace(s) + `"`
}

// quotable escapes what ends a quoted-string or another escape. A Replacer is 6 KiB once it was used.
var quotable = strings.NewReplacer(`\`, `\\`, `"`, `\"`)
