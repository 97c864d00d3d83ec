package access

import (
	"encoding/binary"
	"net/netip"
)

// specialBlocks are the networks that are not the public internet, after IANA's special-purpose address
// registries (RFC 6890), and the single addresses of metadata services, whatever block they are in.
var specialBlocks = parseBlocks(
	"0.0.0.0/8",       // this network; the system takes 0.0.0.0 for itself
	"10.0.0.0/8",      // private (RFC 1918)
	"100.64.0.0/10",   // carrier-grade NAT (RFC 6598)
	"127.0.0.0/8",     // loopback
	"169.254.0.0/16",  // link-local
	"172.16.0.0/12",   // private
	"192.0.0.0/24",    // IETF protocol assignments
	"192.0.2.0/24",    // documentation
	"192.88.99.0/24",  // 6to4 relays, deprecated
	"192.168.0.0/16",  // private
	"198.18.0.0/15",   // benchmarks
	"198.51.100.0/24", // documentation
	"203.0.113.0/24",  // documentation
	"224.0.0.0/4",     // multicast
	"240.0.0.0/4",     // reserved, broadcast

	"100.100.100.200/32", // metadata: Alibaba
	"168.63.129.16/32",   // Azure's host, although it is a public address
	"169.254.169.254/32", // metadata: AWS, Azure, Google, OpenStack and others
	"169.254.170.2/32",   // credentials of ECS tasks
	"169.254.170.23/32",  // credentials of EKS pods
	"192.0.0.192/32",     // metadata: Oracle
	"fd00:ec2::23/128",   // credentials of EKS pods
	"fd00:ec2::254/128",  // metadata: AWS
	"fd20:ce::254/128",   // metadata: Google

	// Global unicast is 2000::/3; what is outside of it is one of these or unassigned.
	"::/3", "4000::/3", "6000::/3", "8000::/3", "a000::/3", "c000::/3", "e000::/3",
	"::1/128",         // loopback
	"::/128",          // unspecified
	"::/96",           // IPv4-compatible, deprecated
	"::ffff:0:0:0/96", // IPv4-translated (RFC 2765)
	"64:ff9b::/96",    // NAT64 (RFC 6052)
	"64:ff9b:1::/48",  // NAT64, local use (RFC 8215)
	"100::/64",        // discard
	"fc00::/7",        // unique local
	"fe80::/10",       // link-local
	"fec0::/10",       // site-local, deprecated
	"ff00::/8",        // multicast

	"2001::/23",     // IETF protocol assignments
	"2001::/32",     // Teredo
	"2001:db8::/32", // documentation
	"2002::/16",     // 6to4
	"3fff::/20",     // documentation
)

func parseBlocks(texts ...string) []netip.Prefix {
	blocks := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		blocks[i] = netip.MustParsePrefix(text)
	}
	return blocks
}

// specialBlock is the narrowest block that has a; ok is false if a is public.
func specialBlock(a netip.Addr) (block netip.Prefix, ok bool) {
	for _, b := range specialBlocks {
		if b.Contains(a) && (!ok || b.Bits() > block.Bits()) {
			block, ok = b, true
		}
	}
	return block, ok
}

// carriers are the networks whose addresses carry an IPv4 address to which somebody on the way may
// send the packet on. At what byte; Teredo has the client's inverted.
var carriers = []struct {
	network  netip.Prefix
	at       int
	inverted bool
}{
	{netip.MustParsePrefix("::/96"), 12, false},
	{netip.MustParsePrefix("::ffff:0:0:0/96"), 12, false},
	{netip.MustParsePrefix("64:ff9b::/96"), 12, false},
	{netip.MustParsePrefix("2002::/16"), 2, false},
	{netip.MustParsePrefix("2001::/32"), 12, true},
}

// isatap are the interface identifiers of RFC 5214 §6.1, in any network, before an IPv4 address.
const (
	isatap       = 0x0000_5efe
	isatapGlobal = 0x0200_5efe
)

// formsOf lists a and the IPv4 address that it carries, if it does.
func formsOf(a netip.Addr) []netip.Addr {
	a = plainAddr(a)
	forms := []netip.Addr{a}
	if !a.Is6() {
		return forms
	}
	whole := a.As16()
	carried := func(at int, mask uint32) netip.Addr {
		var four [4]byte
		binary.BigEndian.PutUint32(four[:], binary.BigEndian.Uint32(whole[at:])^mask)
		return netip.AddrFrom4(four)
	}
	for _, c := range carriers {
		if !c.network.Contains(a) {
			continue
		}
		mask := uint32(0)
		if c.inverted {
			mask = ^mask
		}
		forms = append(forms, carried(c.at, mask))
	}
	if id := binary.BigEndian.Uint32(whole[8:]); id == isatap || id == isatapGlobal {
		forms = append(forms, carried(12, 0))
	}
	return forms
}
