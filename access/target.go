package access

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

// target is where a client wants to go.
type target struct {
	name string     // normal; empty if the client gave an address
	addr netip.Addr // without zone, IPv4 as such; invalid while unknown
	port uint16
}

func (t target) literal() bool { return t.name == "" }

func (t target) String() string {
	host := t.name
	if t.addr.IsValid() {
		host = t.addr.String()
	}
	whole := net.JoinHostPort(host, strconv.Itoa(int(t.port)))
	if t.addr.IsValid() && t.name != "" {
		whole += " (" + t.name + ")"
	}
	return whole
}

// parseTarget reads a host as a client wrote it.
func parseTarget(host string, port uint16) (target, error) {
	if port == 0 {
		return target{}, errors.New("port 0")
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return target{addr: plainAddr(ip), port: port}, nil
	}
	name, err := normalName(host)
	if err != nil {
		return target{}, err
	}
	return target{name: name, port: port}, nil
}

// plainAddr is the address that a packet is sent to.
func plainAddr(ip netip.Addr) netip.Addr { return ip.WithZone("").Unmap() }

// maxName is the longest name that DNS can hold (RFC 1035 §2.3.4).
const maxName = 253

// normalName is a name in lower case and ASCII, without its final dot. What a resolver might take for
// an address is no name: "2130706433", "0x7f.1", "0177.0.0.1" and "127.1" are all 127.0.0.1 to
// getaddrinfo, and some of them to an egress.
func normalName(host string) (string, error) {
	name := strings.TrimSuffix(host, ".")
	if isASCII(name) {
		name = strings.ToLower(name)
	} else {
		mapped, err := idna.Lookup.ToASCII(name)
		if err != nil {
			return "", fmt.Errorf("%q is no name: %w", abridge(host), err)
		}
		name = strings.TrimSuffix(mapped, ".")
	}
	if name == "" || len(name) > maxName {
		return "", fmt.Errorf("%q is no name", abridge(host))
	}
	last := ""
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, notInLabel) {
			return "", fmt.Errorf("%q is no name", abridge(host))
		}
		last = label
	}
	if isNumber(last) {
		return "", fmt.Errorf("%q is neither a name nor a plain address", abridge(host))
	}
	return name, nil
}

// isNumber is "ends in a number" of the URL standard: no top-level domain does, and every parser of
// odd IPv4 addresses wants one.
func isNumber(label string) bool {
	digits := func(s string, of string) bool { return strings.Trim(s, of) == "" }
	hex, ok := strings.CutPrefix(label, "0x")
	return digits(label, "0123456789") || ok && digits(hex, "0123456789abcdef")
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 })
}

func notInLabel(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_')
}

// abridge keeps an error readable when a client sends a page.
func abridge(s string) string {
	if len(s) <= 64 {
		return s
	}
	return s[:64] + "…"
}
