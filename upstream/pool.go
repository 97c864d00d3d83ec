package upstream

import (
	"context"
	"slices"
	"sync"
	"time"

	"wsproxy/lifecycle"
)

// Settings is what a Pool is made from.
type Settings struct {
	Name    string
	Policy  Policy
	Targets []Target

	// Resolver looks names up. Nil: net.DefaultResolver.
	Resolver Resolver
	// ResolveInterval is the time between two lookups of a name. 0: names are left to whoever dials
	// them, and SRV records are looked up every 30 s.
	ResolveInterval time.Duration

	Health      *Health       // active checks; nil: none
	Passive     Passive       // the zero value ejects nobody
	SlowStart   time.Duration // until a target that came back has its whole share; 0: at once
	RetryBudget float64       // the part of the handshakes under way that may be retries; 0: 0.2

	// Changed is told of every change of state, Looked of lookups that went another way than the one
	// before. Nil: nobody is.
	Changed func(lifecycle.TargetChange)
	Looked  func(lifecycle.Lookup)
}

// Target is one target, as configured.
type Target struct {
	Name    string // unique; a label
	Network string // tcp or unix; empty: tcp
	Address string // host:port, a socket's path, or the name of SRV records
	SRV     bool
	Secure  bool // spoken to over TLS
	Egress  bool // dialled through an egress, which looks its name up
	Weight  int  // 0: 1
}

// Pool is the targets of one upstream.
type Pool struct {
	settings Settings
	book     *book
	changed  chan struct{} // a wake-up for Run
	checked  chan struct{} // closed when every target was looked up and checked once
	slots    chan struct{} // of checks that may be under way

	// Guarded by book.mu.
	entries    []*entry
	scratch    []*endpoint
	turn       uint64
	handshakes int
	retries    int
	refused    uint64
}

// book is what pools that follow each other share.
type book struct {
	mu        sync.Mutex
	endpoints map[string]*endpoint // by id: members, and those that were and have open connections
}

// checksAtOnce bounds the checks of one upstream that are under way together.
const checksAtOnce = 32

// NewPool makes a pool. Targets whose address is known can be picked at once; Run finds the others.
func NewPool(s Settings) *Pool {
	if s.RetryBudget == 0 {
		s.RetryBudget = defaultBudget
	}
	p := &Pool{
		settings: s, book: &book{endpoints: make(map[string]*endpoint)},
		changed: make(chan struct{}, 1), checked: make(chan struct{}), slots: make(chan struct{}, checksAtOnce),
	}
	p.enter(nil)
	return p
}

// TakeOver makes p the successor of a pool whose Run has ended: what is known of the targets that both
// have, and their open connections, goes over. It is called before p's first Pick and Run. The former pool
// is then there for the connections that it was picked for.
func (p *Pool) TakeOver(former *Pool) {
	p.book = former.book
	p.book.mu.Lock()
	defer p.book.mu.Unlock()
	p.entries = nil
	p.enter(former.entries)
}

// enter makes the entries of the settings, those that were known before with what is known of them.
func (p *Pool) enter(former []*entry) {
	for _, e := range p.book.endpoints {
		e.member = false
	}
	for _, t := range p.settings.Targets {
		e := newEntry(t, p.settings.ResolveInterval)
		if i := slices.IndexFunc(former, func(f *entry) bool { return f.sameAs(e) }); i >= 0 {
			e.adopt(former[i])
		}
		p.entries = append(p.entries, e)
		p.join(e, time.Now())
	}
	p.book.prune()
}

// prune forgets endpoints that nobody has anything to do with.
func (b *book) prune() {
	for id, e := range b.endpoints {
		if !e.member && e.open == 0 {
			delete(b.endpoints, id)
		}
	}
}

// Request is what a choice depends on.
type Request struct {
	Key    string               // for Hash; empty: least_connections decides
	Prefer func(id string) bool // chooses the endpoint that a cookie names, if it can be used; nil: none
	Tried  []string             // ids of endpoints that this connection could not use; any make it a retry
	Failed *lifecycle.Failure   // why it could not use the last one
}

// Pick chooses where a connection goes; false if there is nowhere, or no budget for a retry.
func (p *Pool) Pick(q Request) (*Lease, bool) {
	now := time.Now()
	p.book.mu.Lock()
	changes := p.settle(now)
	l := p.pick(q, now)
	p.book.mu.Unlock()
	p.tell(changes)
	return l, l != nil
}

func (p *Pool) pick(q Request, now time.Time) *Lease {
	// A refused connection was no load for anybody, so to go on from there needs no budget.
	refused := q.Failed != nil && q.Failed.Reason == lifecycle.ReasonConnectionRefused
	retry := len(q.Tried) > 0 && !refused
	if retry && !p.mayRetry() {
		p.refused++
		return nil
	}
	e := p.choose(q, now)
	if e == nil {
		return nil
	}
	p.turn++
	p.handshakes++
	if retry {
		p.retries++
	}
	e.picked = p.turn
	e.open++
	return &Lease{ID: e.id, At: e.at, pool: p, endpoint: e, retry: retry}
}

const (
	defaultBudget = 0.2
	leastRetries  = 3 // under way at once, however few handshakes there are
)

// mayRetry keeps retries from multiplying a storm.
func (p *Pool) mayRetry() bool {
	return p.retries < max(leastRetries, int(p.settings.RetryBudget*float64(p.handshakes)))
}

// settle notes what changed; the caller tells it once the lock is free.
func (p *Pool) settle(now time.Time) []lifecycle.TargetChange {
	var changes []lifecycle.TargetChange
	for _, t := range p.entries {
		for _, e := range t.members {
			if c, changed := e.settle(p, now); changed {
				changes = append(changes, c)
			}
		}
	}
	return changes
}

func (p *Pool) tell(changes []lifecycle.TargetChange) {
	if p.settings.Changed == nil {
		return
	}
	for _, c := range changes {
		p.settings.Changed(c)
	}
}

// wake has Run look at what changed.
func (p *Pool) wake() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// Run looks targets up and checks them until ctx ends. It is called once at most; without it a Pool
// knows what it is configured with and what connections tell of it.
func (p *Pool) Run(ctx context.Context) {
	var work sync.WaitGroup
	defer work.Wait()
	p.firstRound(ctx)
	close(p.checked)
	for _, t := range p.entries {
		if t.lookedUp() {
			work.Go(func() { p.follow(ctx, t) })
		}
	}
	p.attend(ctx, &work)
}

// Checked is closed when Run has looked up and checked every target once.
func (p *Pool) Checked() <-chan struct{} { return p.checked }

// attend has every member checked, and sees to it that a state that time ends is left in time.
func (p *Pool) attend(ctx context.Context, work *sync.WaitGroup) {
	checking := make(map[*endpoint]context.CancelFunc)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		p.staff(ctx, work, checking)
		p.book.mu.Lock()
		changes := p.settle(time.Now())
		next := p.nextChange(time.Now())
		p.book.mu.Unlock()
		p.tell(changes)
		timer.Reset(next)
		select {
		case <-timer.C:
		case <-p.changed:
		case <-ctx.Done():
			for _, stop := range checking {
				stop()
			}
			return
		}
	}
}

// nextChange is how long until some state changes by itself; an hour if none does.
func (p *Pool) nextChange(now time.Time) time.Duration {
	next := time.Hour
	for _, t := range p.entries {
		for _, e := range t.members {
			if at := e.changesAt(p, now); !at.IsZero() {
				next = min(next, at.Sub(now))
			}
		}
	}
	return next
}

// Status is the upstream as it is now.
func (p *Pool) Status() lifecycle.UpstreamStatus {
	now := time.Now()
	p.book.mu.Lock()
	changes := p.settle(now)
	s := lifecycle.UpstreamStatus{
		Name: p.settings.Name, Balance: p.settings.Policy.String(),
		Handshakes: p.handshakes, Retries: p.retries, RetriesRefused: p.refused,
	}
	for _, t := range p.entries {
		s.Targets = append(s.Targets, t.status(p, now))
	}
	p.book.mu.Unlock()
	p.tell(changes)
	return s
}
