package access

import "slices"

// Hosts is a list of hosts, written as in Rules.
type Hosts struct{ entries []entry }

// ParseHosts reads the list. The error names every entry that is wrong.
func ParseHosts(list []string) (*Hosts, error) {
	entries, err := parseEntries(list)
	return &Hosts{entries}, err
}

// Has says whether a host as a client wrote it, a name or an address, is in the list. A name is not looked
// up, so it is in no network.
func (h *Hosts) Has(host string, port uint16) bool {
	t, err := parseTarget(host, port)
	return err == nil && slices.ContainsFunc(h.entries, func(e entry) bool {
		return e.matchesName(t) || t.literal() && e.matchesAddress(t.addr, port)
	})
}
