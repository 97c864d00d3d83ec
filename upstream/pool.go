// Package upstream chooses which of an upstream's targets a connection goes to.
//
// It knows targets by name only; dialling them is egress's business.
package upstream

import (
	"fmt"
	"slices"
	"sync"
)

// Policy is how a target is chosen.
type Policy uint8

const (
	LeastConnections Policy = iota // the target with the fewest open connections
	RoundRobin                     // one after the other
)

var policyNames = [...]string{"least_connections", "round_robin"}

func (p Policy) String() string {
	if int(p) < len(policyNames) {
		return policyNames[p]
	}
	return "invalid"
}

// ParsePolicy reads a policy's name; the empty one is least_connections.
func ParsePolicy(s string) (Policy, error) {
	if s == "" {
		return LeastConnections, nil
	}
	if i := slices.Index(policyNames[:], s); i >= 0 {
		return Policy(i), nil
	}
	return 0, fmt.Errorf("balance %q: want one of %v", s, policyNames)
}

// Pool is the targets of one upstream.
type Pool struct {
	policy Policy

	mu      *sync.Mutex // shared by pools that took over from each other
	targets []target
	turn    int
}

type target struct {
	name string
	open *int // shared by pools that took over from each other
}

// NewPool makes a pool of the named targets.
func NewPool(p Policy, names ...string) *Pool {
	pool := &Pool{policy: p, mu: new(sync.Mutex)}
	for _, n := range names {
		pool.targets = append(pool.targets, target{name: n, open: new(int)})
	}
	return pool
}

// TakeOver makes the pool, which is not in use yet, count the open connections that former's targets of the
// same names have. former goes on counting as well.
func (p *Pool) TakeOver(former *Pool) {
	former.mu.Lock()
	defer former.mu.Unlock()
	p.mu = former.mu
	for i, t := range p.targets {
		if same := slices.IndexFunc(former.targets, func(o target) bool { return o.name == t.name }); same >= 0 {
			p.targets[i].open = former.targets[same].open
		}
	}
}

// Pick chooses a target that is not among those tried. The connection counts as open until release is
// called, once; false means that there is no target left.
func (p *Pool) Pick(tried []string) (name string, release func(), ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	best := -1
	for i := range p.targets {
		at := (p.turn + i) % len(p.targets) // equals take turns
		t := &p.targets[at]
		if slices.Contains(tried, t.name) {
			continue
		}
		if best < 0 || p.policy == LeastConnections && *t.open < *p.targets[best].open {
			best = at
		}
	}
	if best < 0 {
		return "", nil, false
	}
	p.turn = best + 1
	*p.targets[best].open++
	return p.targets[best].name, sync.OnceFunc(func() { p.release(best) }), true
}

func (p *Pool) release(i int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*p.targets[i].open--
}

// Open returns how many connections each target has.
func (p *Pool) Open() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	open := make(map[string]int, len(p.targets))
	for _, t := range p.targets {
		open[t.name] += *t.open
	}
	return open
}
