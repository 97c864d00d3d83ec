package access

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// entry is one rule: of hosts or of a network, on one port or on all.
type entry struct {
	text    string
	network netip.Prefix // invalid: a rule of hosts
	host    string       // an exact name
	suffix  string       // with its leading dot; "." is every host
	port    uint16       // 0: every port
}

func (e entry) String() string { return e.text }

func parseEntries(list []string) ([]entry, error) {
	var entries []entry
	var problems []error
	for _, text := range list {
		e, err := parseEntry(text)
		if err != nil {
			problems = append(problems, fmt.Errorf("rule %q: %w", text, err))
			continue
		}
		entries = append(entries, e)
	}
	return entries, errors.Join(problems...)
}

var errEntry = errors.New("want a host, *.domain, *, an address or a network, maybe with :port")

func parseEntry(text string) (entry, error) {
	host, port, err := splitEntry(text)
	if err != nil {
		return entry{}, err
	}
	e := entry{text: text, port: port}
	if network, ok, err := parseNetwork(host); ok || err != nil {
		e.network = network
		return e, err
	}
	if host == "*" {
		e.suffix = "."
		return e, nil
	}
	domain, under := strings.CutPrefix(host, "*.")
	if domain, err = normalName(domain); err != nil {
		return entry{}, errEntry
	}
	if e.host = domain; under {
		e.host, e.suffix = "", "."+domain
	}
	return e, nil
}

// splitEntry takes the port off. An IPv6 address or network with a port is in brackets; without one it
// may be.
func splitEntry(text string) (host string, port uint16, err error) {
	host, portText := text, ""
	if inner, ok := strings.CutPrefix(text, "["); ok {
		if host, portText, ok = strings.Cut(inner, "]"); !ok || !strings.Contains(host, ":") {
			return "", 0, errEntry
		}
	} else if strings.Count(text, ":") == 1 {
		host, portText, _ = strings.Cut(text, ":")
		portText = ":" + portText
	}
	if portText == "" {
		return host, 0, nil
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(portText, ":"), 10, 16)
	if err != nil || n == 0 || portText[0] != ':' {
		return "", 0, fmt.Errorf("invalid port %q", portText)
	}
	return host, uint16(n), nil
}

// parseNetwork reads an address or a network; ok is false if text is neither.
func parseNetwork(text string) (network netip.Prefix, ok bool, err error) {
	if ip, err := netip.ParseAddr(text); err == nil {
		if ip.Zone() != "" {
			return network, false, errors.New("want an address without zone")
		}
		ip = ip.Unmap()
		return netip.PrefixFrom(ip, ip.BitLen()), true, nil
	}
	if !strings.Contains(text, "/") {
		return network, false, nil
	}
	network, err = netip.ParsePrefix(text)
	switch {
	case err != nil:
		return network, false, errEntry
	case network != network.Masked():
		return network, false, fmt.Errorf("bits beyond the mask (did you mean %s?)", network.Masked())
	case network.Addr().Is4In6() && network.Bits() >= mappedBits:
		network = netip.PrefixFrom(network.Addr().Unmap(), network.Bits()-mappedBits)
	}
	return network, true, nil
}

// mappedBits is the length of ::ffff:0:0/96, in front of an IPv4 address.
const mappedBits = 96

func (e entry) matchesPort(port uint16) bool { return e.port == 0 || e.port == port }

// matchesAddress is for rules of networks; a is an address without zone, and IPv4 as such.
func (e entry) matchesAddress(a netip.Addr, port uint16) bool {
	return e.network.Contains(a) && e.matchesPort(port)
}

// matchesName is for rules of hosts. Only "*" matches a literal address.
func (e entry) matchesName(t target) bool {
	switch {
	case e.network.IsValid() || !e.matchesPort(t.port):
		return false
	case e.suffix == ".":
		return true
	case e.suffix != "":
		return strings.HasSuffix(t.name, e.suffix)
	}
	return t.name == e.host
}
