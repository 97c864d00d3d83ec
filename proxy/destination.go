package proxy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// destination is a target that a client named.
type destination struct {
	host string // a name in lower case and ASCII, or an IP address without brackets
	port uint16
}

func (d destination) String() string { return net.JoinHostPort(d.host, strconv.Itoa(int(d.port))) }

// maxName is how long a domain name may be (RFC 1035 §2.3.4).
const maxName = 253

// parseDestination reads host:port. Without a port it is the given one, and wrong if that is 0.
func parseDestination(text string, port uint16) (destination, error) {
	host, portText, err := net.SplitHostPort(text)
	if err != nil { // no port, or nonsense
		if host, portText, err = net.SplitHostPort(text + ":"); err != nil {
			return destination{}, errors.New("want host:port")
		}
	}
	if portText != "" || port == 0 {
		n, err := strconv.ParseUint(portText, 10, 16)
		if err != nil || n == 0 {
			return destination{}, errors.New("want a port from 1 to 65535")
		}
		port = uint16(n)
	}
	name, err := canonicalHost(host)
	return destination{host: name, port: port}, err
}

// canonicalHost makes what is compared and resolved of what a client wrote. An internationalized name
// becomes its ASCII form (RFC 5891), once and here, so that rules and resolver judge the same name.
func canonicalHost(host string) (string, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.Zone() != "" {
			return "", errors.New("an address with a zone")
		}
		return ip.Unmap().String(), nil
	}
	if strings.Contains(host, ":") {
		return "", errors.New("not an IPv6 address")
	}
	if !utf8.ValidString(host) {
		return "", errors.New("not a domain name")
	}
	if !isASCII(host) {
		ascii, err := idna.Lookup.ToASCII(host)
		if err != nil {
			return "", fmt.Errorf("not a domain name: %w", err)
		}
		host = ascii
	}
	name := strings.TrimSuffix(strings.ToLower(host), ".")
	if len(name) > maxName || strings.ContainsFunc(name, notInName) || hasBadLabel(name) {
		return "", errors.New("not a domain name")
	}
	return name, nil
}

// notInName lets underscores pass: there are such names.
func notInName(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.')
}

func hasBadLabel(name string) bool {
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return true
		}
	}
	return false
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 })
}
