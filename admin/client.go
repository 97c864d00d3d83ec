package admin

import "net/netip"

// clientFilter matches a client by its network, its address, or its address and port.
type clientFilter struct {
	text    string
	network netip.Prefix // invalid: only the text counts
}

func parseClient(text string) clientFilter {
	f := clientFilter{text: text}
	if network, err := netip.ParsePrefix(text); err == nil {
		f.network = network
	} else if ip, err := netip.ParseAddr(text); err == nil {
		f.network = netip.PrefixFrom(ip, ip.BitLen())
	}
	return f
}

func (f clientFilter) matches(client string) bool {
	if client == f.text {
		return true
	}
	if !f.network.IsValid() {
		return false
	}
	if at, err := netip.ParseAddrPort(client); err == nil {
		return f.network.Contains(at.Addr().Unmap().WithZone(""))
	}
	ip, err := netip.ParseAddr(client)
	return err == nil && f.network.Contains(ip.Unmap().WithZone(""))
}
