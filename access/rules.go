package access

import (
	"fmt"
	"net/netip"
	"slices"

	"wsproxy/lifecycle"
)

// Rules say where clients of a forward proxy may go. The zero value is that of two empty lists.
//
// A connection is judged twice: Name before anything is looked up, and Address for every address that
// the name turned out to have. Neither is enough alone: a name may change its address between the two
// (DNS rebinding), and rules for names know nothing of addresses.
//
//   - A rule that denies beats every rule that allows.
//   - An empty allow list allows every public address on ports 80 and 443.
//   - An address that is not public (private, loopback, link-local, metadata, carrier-grade NAT,
//     multicast, reserved, …) needs an allowed network that lies inside its block: 10.20.0.0/16 opens
//     addresses of 10.0.0.0/8, 0.0.0.0/0 does not, and no name does. A metadata service that sits at
//     one address has to be named by that address.
//   - An IPv6 address that carries an IPv4 address (mapped, NAT64, 6to4, Teredo, …) must be allowed as
//     both.
type Rules struct {
	allow, deny []entry
}

// ParseRules reads the two lists. An entry is a host ("example.com"), the hosts under a domain
// ("*.example.com", without example.com itself), every host ("*"), an address or a network, each maybe
// with a port, as in "*.example.com:443", "10.20.0.0/16:8080" and "[fd00::/8]:443". An entry without a
// port is for every port.
func ParseRules(allow, deny []string) (*Rules, error) {
	r := &Rules{}
	var err error
	if r.allow, err = parseEntries(allow); err != nil {
		return nil, fmt.Errorf("allow: %w", err)
	}
	if r.deny, err = parseEntries(deny); err != nil {
		return nil, fmt.Errorf("deny: %w", err)
	}
	return r, nil
}

// Name judges a host as the client wrote it, without brackets, before it is looked up or sent anywhere.
// The error is a *lifecycle.Failure with the reason forbidden. A name that passes may still lead to an
// address that Address denies; where only an egress learns the address, Name is all there is.
func (r *Rules) Name(host string, port uint16) error {
	t, err := parseTarget(host, port)
	if err != nil {
		return lifecycle.Fail(lifecycle.ReasonForbidden, err)
	}
	if t.literal() {
		err = r.judge(t)
	} else {
		err = r.judgeName(t)
	}
	if err != nil {
		return lifecycle.Fail(lifecycle.ReasonForbidden, err)
	}
	return nil
}

// Address judges an address about to be dialled, or sent to an egress, for host, which is what Name was
// asked about. The error is a *lifecycle.Failure with the reason address_denied.
func (r *Rules) Address(addr netip.AddrPort, host string) error {
	t, err := parseTarget(host, addr.Port())
	switch {
	case err != nil:
	case !addr.Addr().IsValid():
		err = fmt.Errorf("%s has no address", t)
	default:
		t.addr = plainAddr(addr.Addr())
		err = r.judge(t)
	}
	if err != nil {
		return lifecycle.Fail(lifecycle.ReasonAddressDenied, err)
	}
	return nil
}

// judgeName passes what some address could be allowed for.
func (r *Rules) judgeName(t target) error {
	for _, e := range r.deny {
		if e.matchesName(t) {
			return fmt.Errorf("%s is denied by %s", t, e)
		}
	}
	if len(r.allow) == 0 {
		return webPort(t)
	}
	may := func(e entry) bool { return e.matchesName(t) || e.network.IsValid() && e.matchesPort(t.port) }
	if !slices.ContainsFunc(r.allow, may) {
		return fmt.Errorf("%s is allowed by no rule", t)
	}
	return nil
}

// judge is for a target whose address is known.
func (r *Rules) judge(t target) error {
	forms := formsOf(t.addr)
	for _, e := range r.deny {
		if e.matchesName(t) || slices.ContainsFunc(forms, func(a netip.Addr) bool { return e.matchesAddress(a, t.port) }) {
			return fmt.Errorf("%s is denied by %s", t, e)
		}
	}
	for i, form := range forms {
		if err := r.judgeForm(t, form, i == 0); err != nil {
			return err
		}
	}
	return nil
}

// judgeForm judges an address, or one that it carries.
func (r *Rules) judgeForm(t target, a netip.Addr, outer bool) error {
	if block, ok := specialBlock(a); ok {
		opens := func(e entry) bool { return e.matchesAddress(a, t.port) && e.network.Bits() >= block.Bits() }
		if !slices.ContainsFunc(r.allow, opens) {
			return fmt.Errorf("%s is not public (%s) and no allowed network inside of that has it", t, block)
		}
		return nil
	}
	switch {
	case !outer: // public, and the address around it is allowed
		return nil
	case len(r.allow) == 0:
		return webPort(t)
	case !slices.ContainsFunc(r.allow, func(e entry) bool { return e.matchesName(t) || e.matchesAddress(a, t.port) }):
		return fmt.Errorf("%s is allowed by no rule", t)
	}
	return nil
}

func webPort(t target) error {
	if t.port == 80 || t.port == 443 {
		return nil
	}
	return fmt.Errorf("%s: only ports 80 and 443 are allowed without rules", t)
}
