package upstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"wsproxy/lifecycle"
)

// entry is a configured target with the endpoints that it has now. Guarded by the book's mutex, but for
// what it is configured with.
type entry struct {
	Target
	every   time.Duration // between lookups; 0: there is nothing to look up
	members []*endpoint
	known   []netip.Addr // of the latest good lookup of a name
	failure error        // of the latest lookup
	asked   bool         // there was one
}

const (
	lookupTimeout = 5 * time.Second
	srvInterval   = 30 * time.Second // of SRV records, where names are not looked up
	maxAddresses  = 1000             // of one target; more are left out
)

func newEntry(t Target, every time.Duration) *entry {
	t.Network, t.Weight = cmp.Or(t.Network, "tcp"), max(t.Weight, 1)
	e := &entry{Target: t}
	switch {
	case t.SRV:
		e.every = cmp.Or(every, srvInterval)
	case t.Network == "tcp" && !t.Egress && !isLiteral(t.Address):
		e.every = every
	}
	if !t.SRV {
		e.members = []*endpoint{e.endpoint(site{address: t.Address, host: t.Address, weight: 1})}
	}
	return e
}

func isLiteral(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	_, err = netip.ParseAddr(host)
	return err == nil
}

func (t *entry) lookedUp() bool { return t.every > 0 }

// sameAs says whether what is known of one holds for the other.
func (t *entry) sameAs(o *entry) bool {
	return t.Name == o.Name && t.Address == o.Address && t.Network == o.Network && t.SRV == o.SRV && t.lookedUp() == o.lookedUp()
}

// adopt goes on with what a former pool knows.
func (t *entry) adopt(former *entry) {
	t.known, t.failure, t.asked = former.known, former.failure, former.asked
	t.members = nil
	for _, e := range former.members {
		factor := e.weight / float64(former.Weight)
		again := t.endpoint(site{address: e.at.Address, host: e.at.Host, weight: factor, priority: e.priority})
		again.id = e.id
		t.members = append(t.members, again)
	}
}

// site is what a lookup tells of one address.
type site struct {
	address, host string
	name          string // that distinguishes it; empty: the address
	weight        float64
	priority      int
}

func (t *entry) endpoint(s site) *endpoint {
	e := newEndpoint(t.Name+" "+cmp.Or(s.name, s.address), time.Now())
	e.at = Location{Target: t.Name, Network: t.Network, Address: s.address, Host: s.host, Secure: t.Secure}
	e.weight, e.priority, e.egress = s.weight*float64(t.Weight), s.priority, t.Egress
	return e
}

// join makes the entry's endpoints members, each the one that the book has already if it does.
func (p *Pool) join(t *entry, now time.Time) {
	for i, e := range t.members {
		if known := p.book.endpoints[e.id]; known != nil && known != e {
			known.at, known.weight, known.priority, known.egress = e.at, e.weight, e.priority, e.egress
			t.members[i], e = known, known
		}
		p.book.endpoints[e.id] = e
		if e.member {
			continue
		}
		e.member = true
		if e.shown == lifecycle.TargetUnknown {
			e.shown = e.state(p, now)
		}
	}
}

// firstRound looks everything up that is to be looked up, and then checks everything once.
func (p *Pool) firstRound(ctx context.Context) {
	sideBySide(p.entries, func(t *entry) {
		if t.lookedUp() {
			p.look(ctx, t)
		}
	})
	if p.settings.Health == nil {
		return
	}
	p.book.mu.Lock()
	var all []*endpoint
	for _, t := range p.entries {
		all = append(all, t.members...)
	}
	p.book.mu.Unlock()
	sideBySide(all, func(e *endpoint) { p.check(ctx, e) })
}

// follow looks a target up again and again.
func (p *Pool) follow(ctx context.Context, t *entry) {
	for pause(ctx, t.every) {
		p.look(ctx, t)
	}
}

// pause waits for about d, so that many that began together do not go on together. False: ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(time.Duration(float64(d) * (0.9 + 0.2*rand.Float64())))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// look looks a target up once. If that fails, what the last good lookup told stays.
func (p *Pool) look(ctx context.Context, t *entry) {
	bounded, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	step := &lifecycle.Step{Phase: lifecycle.PhaseDNS}
	sites, known, err := p.lookup(bounded, t)
	if ctx.Err() != nil {
		return
	}
	err = step.End(bounded, err)
	p.book.mu.Lock()
	news := !t.asked && err != nil || t.asked && (err == nil) != (t.failure == nil)
	t.asked, t.failure = true, err
	if err == nil {
		t.known = known
	} else {
		sites = t.lastGood()
	}
	changes, moved := p.replace(t, sites)
	told := lifecycle.Lookup{Upstream: p.settings.Name, Target: t.Name, Addresses: max(len(t.known), len(t.members)), Failure: err}
	p.book.mu.Unlock()
	p.tell(changes)
	if moved {
		p.wake()
	}
	if (news || moved && err == nil) && p.settings.Looked != nil {
		p.settings.Looked(told)
	}
}

// lookup finds the target's sites; known are the addresses of a name.
func (p *Pool) lookup(ctx context.Context, t *entry) (sites []site, known []netip.Addr, err error) {
	if t.SRV {
		sites, err = p.lookupSRV(ctx, t)
		return sites, nil, err
	}
	host, port, err := net.SplitHostPort(t.Address)
	if err != nil {
		return nil, nil, err
	}
	if known, err = p.resolver().LookupNetIP(ctx, "ip", host); err != nil {
		return nil, nil, fmt.Errorf("look up %s: %w", host, err)
	}
	for i, a := range known {
		known[i] = a.Unmap()
	}
	return t.sites(known, port), known, nil
}

// Resolver is what a Pool needs of a *net.Resolver.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
}

func (p *Pool) resolver() Resolver {
	if p.settings.Resolver == nil {
		return net.DefaultResolver
	}
	return p.settings.Resolver
}

// sites makes endpoints of a name's addresses. A name with one address, or with one of each family, is
// one machine: whoever dials it looks it up again and lets the families race. Of a name with several the
// larger family counts, and of equals the one that the resolver has first (RFC 6724): two addresses of
// one machine must not count as two machines.
func (t *entry) sites(known []netip.Addr, port string) []site {
	known = slices.Clone(known)
	four := slices.DeleteFunc(slices.Clone(known), func(a netip.Addr) bool { return !a.Is4() })
	six := slices.DeleteFunc(slices.Clone(known), func(a netip.Addr) bool { return a.Is4() })
	family := six
	if len(four) > len(six) || len(four) == len(six) && known[0].Is4() {
		family = four
	}
	if len(family) <= 1 {
		return []site{{address: t.Address, host: t.Address, weight: 1}}
	}
	slices.SortFunc(family, netip.Addr.Compare) // resolvers shuffle them
	family = slices.Compact(family)
	var sites []site
	for _, a := range family[:min(len(family), maxAddresses)] {
		sites = append(sites, site{address: net.JoinHostPort(a.String(), port), host: t.Address, weight: 1})
	}
	return sites
}

// lastGood is where the target is as long as it can't be looked up. One that is dialled by name is
// dialled by its address meanwhile; nil is where it was.
func (t *entry) lastGood() []site {
	if t.SRV || len(t.known) == 0 || len(t.members) != 1 {
		return nil
	}
	_, port, err := net.SplitHostPort(t.Address)
	if err != nil {
		return nil
	}
	return []site{{address: net.JoinHostPort(t.known[0].String(), port), host: t.Address, name: t.Address, weight: 1}}
}

var errNoRecords = errors.New("no SRV records")

// lookupSRV reads SRV records (RFC 2782). Priorities count from 0; a weight of 0 is the smallest.
func (p *Pool) lookupSRV(ctx context.Context, t *entry) ([]site, error) {
	_, records, err := p.resolver().LookupSRV(ctx, "", "", t.Address)
	if len(records) == 0 {
		if err = cmp.Or(err, errNoRecords); err == errNoRecords {
			err = lifecycle.Fail(lifecycle.ReasonDNSNotFound, err)
		}
		return nil, fmt.Errorf("look up SRV %s: %w", t.Address, err)
	}
	slices.SortFunc(records, func(a, b *net.SRV) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Target, b.Target), cmp.Compare(a.Port, b.Port))
	})
	var sites []site
	priority := 0
	for i, r := range records[:min(len(records), maxAddresses)] {
		if i > 0 && r.Priority != records[i-1].Priority {
			priority++
		}
		address := net.JoinHostPort(trimDot(r.Target), strconv.Itoa(int(r.Port)))
		if i > 0 && len(sites) > 0 && sites[len(sites)-1].address == address {
			continue // the same again
		}
		sites = append(sites, site{address: address, host: address, weight: max(float64(r.Weight), 1), priority: priority})
	}
	return sites, nil
}

func trimDot(name string) string {
	if n := len(name); n > 1 && name[n-1] == '.' {
		return name[:n-1]
	}
	return name
}

// replace gives an entry the endpoints of sites; nil leaves those that it has. An endpoint that is not
// among them any more keeps its open connections and gets no new ones.
func (p *Pool) replace(t *entry, sites []site) (changes []lifecycle.TargetChange, moved bool) {
	if sites == nil {
		return nil, false
	}
	now := time.Now()
	before := t.members
	t.members = nil
	for _, s := range sites {
		t.members = append(t.members, t.endpoint(s))
	}
	p.join(t, now)
	for _, e := range t.members {
		if slices.Contains(before, e) {
			continue
		}
		moved = true
		if t.everHad(before) && p.settings.SlowStart > 0 && e.shown.Usable() && e.slow.IsZero() {
			e.slow = now
			e.shown = e.state(p, now)
		}
	}
	for _, e := range before {
		if !slices.Contains(t.members, e) {
			moved, e.member = true, false
			if c, changed := e.settle(p, now); changed && e.open > 0 {
				changes = append(changes, c)
			}
		}
	}
	p.book.prune()
	return changes, moved
}

// everHad says whether an entry had other endpoints than the one that stands for a name not yet looked up.
func (t *entry) everHad(before []*endpoint) bool {
	return len(before) > 1 || len(before) == 1 && (t.SRV || before[0].at.Address != t.Address)
}

// status is the entry as its operators see it.
func (t *entry) status(p *Pool, now time.Time) lifecycle.TargetStatus {
	s := lifecycle.TargetStatus{Name: t.Name, State: t.state(), Lookup: t.failure}
	for _, e := range t.members {
		s.Addresses = append(s.Addresses, e.status(p, now))
	}
	for _, e := range p.book.endpoints {
		if !e.member && e.at.Target == t.Name {
			s.Addresses = append(s.Addresses, e.status(p, now))
		}
	}
	slices.SortFunc(s.Addresses, func(a, b lifecycle.AddressStatus) int { return cmp.Compare(a.Address, b.Address) })
	return s
}

// state sums up those of the members.
func (t *entry) state() lifecycle.TargetState {
	if len(t.members) == 0 {
		if t.asked {
			return lifecycle.TargetUnhealthy
		}
		return lifecycle.TargetUnknown
	}
	usable := 0
	worst := lifecycle.TargetUnknown
	for _, e := range t.members {
		if e.shown.Usable() {
			usable++
		}
		worst = max(worst, e.shown)
	}
	if usable > 0 && usable < len(t.members) {
		return lifecycle.TargetDegraded
	}
	return worst
}
