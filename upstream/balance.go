package upstream

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"wsproxy/lifecycle"
)

// choose finds where a connection goes, nil if nowhere.
func (p *Pool) choose(q Request, now time.Time) *endpoint {
	from := p.candidates(q.Tried, now)
	switch {
	case len(from) == 0:
		return nil
	case q.Prefer != nil:
		if i := slices.IndexFunc(from, func(e *endpoint) bool { return q.Prefer(e.id) }); i >= 0 {
			return from[i]
		}
	}
	share := func(e *endpoint) float64 { return e.share(p, now) }
	switch {
	case p.settings.Policy == RoundRobin:
		return roundRobin(from, share)
	case p.settings.Policy == RandomTwo:
		return randomTwo(from, share)
	case p.settings.Policy == Hash && q.Key != "":
		return rendezvous(from, q.Key)
	}
	return leastConnections(from, share)
}

// candidates are the endpoints of the best priority that has any to offer. Those that could not be
// reached a moment ago, or left in the handshake, are left out while there are others: a target that has just died has the fewest
// connections of all. Where no other is left, ejected ones are better than none: that they will fail
// again is a guess. Unhealthy ones never are.
func (p *Pool) candidates(tried []string, now time.Time) []*endpoint {
	usable := func(e *endpoint) bool { return e.shown.Usable() }
	reached := func(e *endpoint) bool { return usable(e) && !now.Before(e.passed.avoid) }
	ejected := func(e *endpoint) bool { return e.shown == lifecycle.TargetEjected }
	for _, in := range []func(*endpoint) bool{reached, usable, ejected} {
		if found := p.those(tried, in); len(found) > 0 {
			return found
		}
	}
	return nil
}

func (p *Pool) those(tried []string, in func(*endpoint) bool) []*endpoint {
	found, best := p.scratch[:0], math.MaxInt
	for _, t := range p.entries {
		for _, e := range t.members {
			if e.priority > best || !in(e) || slices.Contains(tried, e.id) {
				continue
			}
			if e.priority < best {
				found, best = found[:0], e.priority
			}
			found = append(found, e)
		}
	}
	p.scratch = found
	return found
}

// leastConnections takes the one with the fewest open connections for its share; of equals the one that
// has waited longest.
func leastConnections(from []*endpoint, share func(*endpoint) float64) *endpoint {
	var best *endpoint
	var least float64
	for _, e := range from {
		if l := load(e, share); best == nil || l < least || l == least && e.picked < best.picked {
			best, least = e, l
		}
	}
	return best
}

// load is what it would be with one connection more.
func load(e *endpoint, share func(*endpoint) float64) float64 { return float64(e.open+1) / share(e) }

// roundRobin is smooth: one with much weight does not get its turns in a row. Every one gains its
// share, the richest is taken and pays for all.
func roundRobin(from []*endpoint, share func(*endpoint) float64) *endpoint {
	var best *endpoint
	all := 0.0
	for _, e := range from {
		s := share(e)
		e.credit += s
		all += s
		if best == nil || e.credit > best.credit {
			best = e
		}
	}
	best.credit -= all
	return best
}

// randomTwo draws two by weight and takes the less busy one (the power of two choices).
func randomTwo(from []*endpoint, share func(*endpoint) float64) *endpoint {
	first := draw(from, nil, share)
	second := draw(from, first, share)
	if second == nil || load(first, share) < load(second, share) {
		return first
	}
	return second
}

// draw takes one by weight that is not the one left out; nil if there is no other.
func draw(from []*endpoint, out *endpoint, share func(*endpoint) float64) *endpoint {
	all := 0.0
	for _, e := range from {
		if e != out {
			all += share(e)
		}
	}
	var last *endpoint
	at := rand.Float64() * all
	for _, e := range from {
		if e == out {
			continue
		}
		last = e
		if at -= share(e); at < 0 {
			break
		}
	}
	return last
}

// rendezvous is weighted rendezvous hashing: each endpoint draws a lot from the key and its own name, and
// the best one wins. When one leaves, only its keys move. Slow start has no say, or keys would move twice.
func rendezvous(from []*endpoint, key string) *endpoint {
	h := xxhash.Sum64String(key)
	var best *endpoint
	var most float64
	for _, e := range from {
		lot := (float64(mix(h^mix(e.hash))>>11) + 0.5) / (1 << 53) // in (0, 1)
		if score := -e.weight / math.Log(lot); best == nil || score > most {
			best, most = e, score
		}
	}
	return best
}

// mix spreads every bit over all others, as in SplitMix64.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
