package upstream

import (
	"fmt"
	"slices"
)

// Policy is how a target is chosen.
type Policy uint8

const (
	LeastConnections Policy = iota // the fewest open connections for its weight
	RoundRobin                     // one after the other, as often as its weight says
	RandomTwo                      // the less busy of two that are drawn by weight
	Hash                           // the same for the same key, as long as it is there
)

var policyNames = [...]string{"least_connections", "round_robin", "random_two", "hash"}

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
