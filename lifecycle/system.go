package lifecycle

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// State is a state of the whole process.
type State uint8

const (
	StateNone             State = iota
	StateCreated                // arguments read, identity made
	StateInitialized            // configuration parsed, telemetry up, secrets read
	StateInterfacesReady        // every listen address bound
	StateTimeValid              // the clock is inside every certificate's validity
	StatePolicyValid            // routes, limits and policies compiled
	StateUpstreamsChecked       // first round of health checks done or timed out
	StateOperational            // accepting
	StateReloading              // a new configuration is being applied; accepting goes on
	StateUpgrading              // a new binary is taking over
	StateDraining               // no new connections, open ones leaving
	StateStopped                // telemetry flushed
	stateCount
)

var stateNames = [stateCount]string{
	"none", "created", "initialized", "interfaces_ready", "time_valid", "policy_valid", "upstreams_checked",
	"operational", "reloading", "upgrading", "draining", "stopped",
}

func (s State) String() string { return name(stateNames[:], s) }

// States lists every state, in order.
func States() []State {
	all := make([]State, 0, stateCount-1)
	for s := StateCreated; s < stateCount; s++ {
		all = append(all, s)
	}
	return all
}

// stateTransitions is the whole order of states. A start that fails goes straight to stopped, and a
// stop may come at any moment.
var stateTransitions = [stateCount][]State{
	StateNone:             {StateCreated},
	StateCreated:          {StateInitialized, StateDraining, StateStopped},
	StateInitialized:      {StateInterfacesReady, StateDraining, StateStopped},
	StateInterfacesReady:  {StateTimeValid, StateDraining, StateStopped},
	StateTimeValid:        {StatePolicyValid, StateDraining, StateStopped},
	StatePolicyValid:      {StateUpstreamsChecked, StateDraining, StateStopped},
	StateUpstreamsChecked: {StateOperational, StateDraining, StateStopped},
	StateOperational:      {StateReloading, StateUpgrading, StateDraining, StateStopped},
	StateReloading:        {StateOperational, StateDraining, StateStopped},
	StateUpgrading:        {StateOperational, StateDraining, StateStopped},
	StateDraining:         {StateStopped},
}

// Transition is a state entered.
type Transition struct {
	From, To State
	At       time.Time
	Cause    string
}

// historyBound is how many transitions are kept: a start and a stop, and the latest reloads.
const historyBound = 128

// System is the state of the process and how it came there. The zero value is ready.
type System struct {
	telling sync.Mutex // held until the observers know of a change, so that all hear of all in order

	mu        sync.Mutex
	state     State
	history   []Transition
	observers []func(Transition)
}

// Enter goes to state s. A state out of order is refused.
func (y *System) Enter(s State, cause string) error {
	y.telling.Lock()
	defer y.telling.Unlock()
	y.mu.Lock()
	if !slices.Contains(stateTransitions[y.state], s) {
		defer y.mu.Unlock()
		return fmt.Errorf("system state %s cannot follow %s", s, y.state)
	}
	t := Transition{From: y.state, To: s, At: time.Now(), Cause: cause}
	y.state = s
	if len(y.history) == historyBound {
		y.history = slices.Delete(y.history, int(stateCount), int(stateCount)+1) // the start stays
	}
	y.history = append(y.history, t)
	observers := slices.Clone(y.observers)
	y.mu.Unlock()
	for _, f := range observers {
		f(t)
	}
	return nil
}

// State is the current state.
func (y *System) State() State {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.state
}

// Ready says whether new connections are welcome.
func (y *System) Ready() bool {
	s := y.State()
	return s == StateOperational || s == StateReloading || s == StateUpgrading
}

// History returns the states entered, in order: all of the start and the latest after it.
func (y *System) History() []Transition {
	y.mu.Lock()
	defer y.mu.Unlock()
	return slices.Clone(y.history)
}

// Observe has f called for every transition from now on, and first for those already made. f calls
// neither Enter nor Observe.
func (y *System) Observe(f func(Transition)) {
	y.telling.Lock()
	defer y.telling.Unlock()
	y.mu.Lock()
	past := slices.Clone(y.history)
	y.observers = append(y.observers, f)
	y.mu.Unlock()
	for _, t := range past {
		f(t)
	}
}
