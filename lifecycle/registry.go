package lifecycle

import (
	"context"
	"crypto/rand"
	"iter"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Observer is told of every connection.
type Observer interface {
	// Watch returns who follows c. It is called at accept, before the first phase.
	Watch(c *Connection) Watcher
}

// Watcher follows one connection. Calls come one at a time, Begin and End in pairs; Done is last.
type Watcher interface {
	// Begin may return a changed ctx, which the phase then runs under.
	Begin(ctx context.Context, s *Step) context.Context
	// End tells of a step that ended. s may be kept.
	End(ctx context.Context, s *Step)
	// Done tells that the connection left the registry.
	Done(o Outcome)
}

// Propagator carries a trace context in HTTP headers.
type Propagator interface {
	Extract(ctx context.Context, h http.Header) context.Context
	Inject(ctx context.Context, h http.Header)
}

// Registry holds the live connections and the totals of all that have been. The zero value is ready;
// its fields are set before the first Open.
type Registry struct {
	Observers []Observer

	// NewID makes a connection's id. Nil: 26 random characters.
	NewID func() string

	// Fault, in tests, may delay the end of a step and replace its error. A step that ended at a moment
	// noted before is not made longer.
	Fault func(ctx context.Context, s *Step, err error) error

	generation atomic.Pointer[generation]
	turn       atomic.Uint32
	shards     [16]shard
}

// generation is a configuration that connections run under.
type generation struct {
	number int
	since  map[string]int // the generation from which on a route is as it is now
}

// current says whether what f's connection runs under is as it is now.
func (g *generation) current(f *Facts) bool {
	if since, known := g.since[f.Route]; known {
		return f.Generation >= since
	}
	return f.Generation == g.number
}

// shard is a part of the connections; several, so that summing one does not hold up all accepts.
type shard struct {
	mu     sync.Mutex
	live   map[string]*Connection
	totals map[Key]*Total
}

// Key is what flows are summed by; all of it comes from the configuration.
type Key struct {
	Mode     Mode
	Route    string
	Upstream string
}

// Total is the sum over one key's connections, live and gone.
type Total struct {
	Active   int // open connections whose route is configured as when they were opened
	Outdated int // open connections whose route was changed or removed since
	Flows    [directionCount]Counts
}

func (t *Total) add(o *Total) {
	t.Active += o.Active
	t.Outdated += o.Outdated
	for d := range t.Flows {
		t.Flows[d].Add(&o.Flows[d])
	}
}

// Open records a connection accepted from client at the given time.
func (r *Registry) Open(client string, at time.Time) *Connection {
	c := &Connection{Client: client, Accepted: at, registry: r, close: Close{Code: NoCode}}
	if r.NewID != nil {
		c.ID = r.NewID()
	} else {
		c.ID = rand.Text()
	}
	c.facts.Generation = r.Generation()
	c.facts.Client = client
	c.watchers = make([]Watcher, len(r.Observers))
	for i, o := range r.Observers {
		c.watchers[i] = o.Watch(c)
	}
	c.shard = &r.shards[r.turn.Add(1)%uint32(len(r.shards))]
	c.shard.mu.Lock()
	defer c.shard.mu.Unlock()
	if c.shard.live == nil {
		c.shard.live = make(map[string]*Connection)
	}
	c.shard.live[c.ID] = c
	return c
}

// remove takes c out and, under the same lock, adds its numbers to its key's totals, so that no sum
// ever dips. False if c was removed before.
func (r *Registry) remove(c *Connection, o *Outcome) bool {
	c.shard.mu.Lock()
	defer c.shard.mu.Unlock()
	if c.done {
		return false
	}
	c.done = true
	delete(c.shard.live, c.ID)
	if !c.Opened().IsZero() {
		o.Upstream, o.Down = c.flows[Upstream].Counts(), c.flows[Downstream].Counts()
		t := c.shard.total(c.key())
		t.Flows[Upstream].Add(&o.Upstream)
		t.Flows[Downstream].Add(&o.Down)
	}
	return true
}

func (s *shard) total(k Key) *Total {
	if s.totals == nil {
		s.totals = make(map[Key]*Total)
	}
	t := s.totals[k]
	if t == nil {
		t = new(Total)
		s.totals[k] = t
	}
	return t
}

func (c *Connection) key() Key {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Key{Mode: c.facts.Mode, Route: c.facts.Route, Upstream: c.facts.Upstream}
}

// Declare makes a key known, so that its totals are there as zeros before its first connection.
func (r *Registry) Declare(k Key) {
	s := &r.shards[0]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total(k)
}

// SetGeneration says which configuration is in force. since has, of each of its routes, the generation from
// which on it is as it is now; nil is none that was so before.
func (r *Registry) SetGeneration(number int, since map[string]int) {
	r.generation.Store(&generation{number, since})
}

// Generation is the number of the current configuration.
func (r *Registry) Generation() int { return r.inForce().number }

func (r *Registry) inForce() *generation {
	if g := r.generation.Load(); g != nil {
		return g
	}
	return new(generation)
}

// All yields the live connections, in no order. The registry is not locked while the caller looks at
// one, so some may have left.
func (r *Registry) All() iter.Seq[*Connection] {
	return func(yield func(*Connection) bool) {
		for i := range r.shards {
			for _, c := range r.shards[i].list() {
				if !yield(c) {
					return
				}
			}
		}
	}
}

func (s *shard) list() []*Connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*Connection, 0, len(s.live))
	for _, c := range s.live {
		all = append(all, c)
	}
	return all
}

// Get finds a live connection, or nil.
func (r *Registry) Get(id string) *Connection {
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		c := s.live[id]
		s.mu.Unlock()
		if c != nil {
			return c
		}
	}
	return nil
}

// Snapshot is the state of all connections at one moment.
type Snapshot struct {
	Phases map[Phase]int // connections in each phase, zeros included
	Totals map[Key]Total
}

// Open is how many connections are upgraded and not yet closed. Those in PhaseClose need not be: one
// that failed has that phase, too.
func (s Snapshot) Open() int {
	n := 0
	for _, t := range s.Totals {
		n += t.Active + t.Outdated
	}
	return n
}

// Snapshot sums up the live connections and the totals of those that left. A connection is counted
// once, live or left.
func (r *Registry) Snapshot() Snapshot {
	sum := Snapshot{Phases: make(map[Phase]int, phaseCount), Totals: make(map[Key]Total)}
	in := r.inForce()
	phases, totals := new([phaseCount]int), make(map[Key]*Total)
	for i := range r.shards {
		r.shards[i].addTo(phases, totals, in)
	}
	for _, p := range Phases() {
		sum.Phases[p] = phases[p]
	}
	if n := phases[PhaseNone]; n > 0 {
		sum.Phases[PhaseNone] = n
	}
	for k, t := range totals {
		sum.Totals[k] = *t
	}
	return sum
}

// addTo adds up without an allocation for each connection: there may be a million.
func (s *shard) addTo(phases *[phaseCount]int, totals map[Key]*Total, in *generation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := func(k Key) *Total {
		t := totals[k]
		if t == nil {
			t = new(Total)
			totals[k] = t
		}
		return t
	}
	for k, t := range s.totals {
		of(k).add(t)
	}
	for _, c := range s.live {
		phases[c.Phase()]++
		if !c.Opened().IsZero() {
			c.addTo(of(c.key()), in)
		}
	}
}

// addTo adds an open connection to its key's total.
func (c *Connection) addTo(t *Total, in *generation) {
	for d := range c.flows {
		counts := c.flows[d].Counts()
		t.Flows[d].Add(&counts)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if in.current(&c.facts) {
		t.Active++
	} else {
		t.Outdated++
	}
}
