package access

import (
	"net"
	"net/netip"
	"testing"
)

// FuzzRules looks for an address of this machine or its network that slips through, in whatever form,
// under rules that name no network.
func FuzzRules(f *testing.F) {
	for _, host := range []string{
		"a.test", "127.0.0.1", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "0x7f.1", "017700000001",
		"１２７.０.０.１", "localhost", "xn--", "fe80::1%25eth0", "*",
	} {
		f.Add(host, uint16(443), "*", "b.test:80")
	}
	f.Fuzz(func(t *testing.T, host string, port uint16, allow, deny string) {
		r, err := ParseRules([]string{allow}, []string{deny})
		if err != nil {
			r = &Rules{}
		}
		named := r.Name(host, port) == nil
		ip, err := netip.ParseAddr(host)
		if err != nil {
			if named && net.ParseIP(host) != nil {
				t.Errorf("%q passed for a name", host)
			}
			return
		}
		addressed := r.Address(netip.AddrPortFrom(ip, port), host) == nil
		if named != addressed {
			t.Errorf("%q: got %t by name and %t by address, want one answer", host, named, addressed)
		}
		opened := len(r.allow) > 0 && r.allow[0].network.IsValid()
		plain := ip.Unmap()
		if addressed && !opened && (plain.IsLoopback() || plain.IsPrivate() || plain.IsLinkLocalUnicast() || plain.IsUnspecified() || plain.IsMulticast()) {
			t.Errorf("%q passed", host)
		}
	})
}
