package lifecycle

import "time"

// TargetState is what is known of a target's fitness for new connections.
type TargetState uint8

const (
	TargetUnknown   TargetState = iota // not yet looked up or checked; connections go there
	TargetHealthy                      //
	TargetSlowStart                    // has just come back: gets its share bit by bit
	TargetDegraded                     // some of its addresses can't be used; of a target only
	TargetEjected                      // failed connections, and is left alone for a while
	TargetUnhealthy                    // fails its checks, or has no address
	TargetDraining                     // removed, with connections still open
	targetStateCount
)

var targetStateNames = [targetStateCount]string{"unknown", "healthy", "slow_start", "degraded", "ejected", "unhealthy", "draining"}

func (s TargetState) String() string { return name(targetStateNames[:], s) }

// TargetStates lists every state.
func TargetStates() []TargetState {
	all := make([]TargetState, 0, targetStateCount)
	for s := range targetStateCount {
		all = append(all, s)
	}
	return all
}

// Usable says whether new connections go to an address in this state.
func (s TargetState) Usable() bool {
	return s == TargetUnknown || s == TargetHealthy || s == TargetSlowStart
}

// UpstreamStatus is an upstream as its operators see it.
type UpstreamStatus struct {
	Name           string
	Balance        string
	Targets        []TargetStatus
	Handshakes     int    // under way
	Retries        int    // those of them that are not a connection's first
	RetriesRefused uint64 // for want of budget, since the start
}

// TargetStatus is a configured target.
type TargetStatus struct {
	Name      string
	State     TargetState
	Addresses []AddressStatus
	Lookup    error // of the latest lookup of its name; nil if it went well or there was none
}

// AddressStatus is one address of a target.
type AddressStatus struct {
	Address      string
	State        TargetState
	Since        time.Time // of the state
	Open         int       // connections, those being set up included
	Weight       float64
	Priority     int           // 0 first; others only of SRV records
	Checked      time.Time     // the latest active check; zero without one
	RTT          time.Duration // from ping to pong in the latest check that went well; 0 without one
	Failure      *Failure      // of the latest check
	Ejections    int           // in a row
	EjectedUntil time.Time     // zero unless ejected
}

// TargetChange is an address of a target that went from one state to another.
type TargetChange struct {
	Upstream, Target, Address string
	From, To                  TargetState
	Failure                   *Failure // what led to it; nil if nothing failed
}

// Lookup is what came of looking up where a target is. It is told when that changes.
type Lookup struct {
	Upstream, Target string
	Addresses        int   // known now; those of the last good lookup when it failed
	Failure          error // a *Failure, nil if it went well
}
