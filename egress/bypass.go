package egress

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Bypass is a list of targets. The zero value matches none.
//
// golang.org/x/net/http/httpproxy reads the same lists, but lets every loopback target bypass
// whatever the list says, and so could not send one through an egress that was chosen for it.
type Bypass struct {
	all   bool
	rules []bypassRule
}

// bypassRule matches a network or a domain, on one port or on all.
type bypassRule struct {
	network netip.Prefix
	domain  string // with a leading dot
	apex    bool   // the domain itself, too
	port    string // empty: all
}

// ParseBypass reads entries as NO_PROXY has them: a domain (which includes its subdomains), ".domain"
// or "*.domain" (its subdomains only), an address, a network in CIDR notation, all but the last
// optionally with ":port"; "*" is everything. Empty entries are skipped. Names are compared as
// written, never resolved.
func ParseBypass(entries []string) (Bypass, error) {
	var b Bypass
	var errs []error
	for _, entry := range entries {
		entry = strings.TrimSpace(entry)
		switch entry {
		case "":
			continue
		case "*":
			b.all = true
			continue
		}
		rule, err := parseBypassRule(strings.ToLower(entry))
		if err != nil {
			errs = append(errs, fmt.Errorf("bypass %q: %w", entry, err))
			continue
		}
		b.rules = append(b.rules, rule)
	}
	return b, errors.Join(errs...)
}

func parseBypassRule(entry string) (bypassRule, error) {
	if strings.Contains(entry, "/") {
		network, err := netip.ParsePrefix(entry)
		return bypassRule{network: network.Masked()}, err
	}
	host, port := entry, ""
	if h, p, err := net.SplitHostPort(entry); err == nil {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return bypassRule{}, fmt.Errorf("invalid port %q", p)
		}
		host, port = h, p
	}
	if ip, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		ip = ip.Unmap().WithZone("")
		return bypassRule{network: netip.PrefixFrom(ip, ip.BitLen()), port: port}, nil
	}
	domain, subdomains := strings.CutPrefix(strings.TrimPrefix(host, "*"), ".")
	domain = "." + strings.TrimSuffix(domain, ".")
	if domain == "." || strings.Contains(domain, "..") || strings.ContainsFunc(domain, notInDomain) || !subdomains && host[0] == '*' {
		return bypassRule{}, errors.New("neither a domain, in ASCII, nor an address")
	}
	return bypassRule{domain: domain, apex: !subdomains, port: port}, nil
}

func notInDomain(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.')
}

// Match says whether address, a host:port, is in the list.
func (b Bypass) Match(address string) bool {
	if b.all {
		return true
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	ip, err := netip.ParseAddr(host)
	if err == nil {
		ip = ip.Unmap().WithZone("")
	}
	for _, r := range b.rules {
		if (r.port == "" || r.port == port) && r.match(host, ip) {
			return true
		}
	}
	return false
}

func (r bypassRule) match(host string, ip netip.Addr) bool {
	if ip.IsValid() {
		return r.network.Contains(ip)
	}
	return r.domain != "" && (strings.HasSuffix(host, r.domain) || r.apex && host == r.domain[1:])
}
