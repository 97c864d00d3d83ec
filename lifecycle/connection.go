package lifecycle

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Mode is how a connection came to us.
type Mode uint8

const (
	ModeReverse Mode = iota
	ModeForward
	modeCount
)

var modeNames = [modeCount]string{"reverse", "forward"}

func (m Mode) String() string { return name(modeNames[:], m) }

// Facts is what is known of a connection besides its phases. Each part is known from some phase on.
type Facts struct {
	Mode       Mode
	Generation int // of the configuration it runs under

	// From the request head.
	Method    string // of HTTP, or MethodSOCKS5
	Scheme    string // http or https
	Host      string // as the client sent it
	Path      string // without the query: tokens travel there
	Protocol  string // 1.1
	UserAgent string
	Client    string // address of the client behind trusted hops; the socket's peer without any
	Visitor   uint64 // hash of what the route recognizes a client by, to count reconnects; 0: not known
	Trusted   bool   // the incoming trace context may be the parent
	ClientTLS *TLSInfo

	// From the route on.
	Route    string
	Pattern  string // path part of the route's pattern
	Identity string // hash of who the client has shown to be; empty if it need not
	Upstream string
	Target   string // as configured
	Egress   string // name, empty when direct

	// Of the latest attempt.
	Peer        string // address of the socket's other end: the target's, or its egress'
	UpstreamTLS *TLSInfo

	// Of a client that asked for a tunnel: when it was granted and, once the first bytes were seen, what
	// is in it.
	Granted     time.Time
	Tunnel      Tunnel
	ServerName  string // in the client's ClientHello
	ALPN        string // what it offers, with commas
	Intercepted bool   // its TLS ends here, and Tunnel is what is in that

	// From the upgrade on.
	Subprotocol string
	Extensions  string
	Compressed  bool
	Framing     string
}

// MethodSOCKS5 stands in the place of an HTTP method where the client speaks SOCKS5.
const MethodSOCKS5 = "SOCKS5"

// Tunnel is what goes through a tunnel that a client asked for.
type Tunnel uint8

const (
	TunnelNone      Tunnel = iota // no tunnel, or nothing was seen of what is in it
	TunnelWebSocket               // relayed as any other
	TunnelTLS                     // opaque from its ClientHello on
	TunnelOther                   // opaque
	tunnelCount
)

var tunnelNames = [tunnelCount]string{"", "websocket", "tls", "other"}

func (t Tunnel) String() string { return name(tunnelNames[:], t) }

// Opaque says that only bytes can be seen of it.
func (t Tunnel) Opaque() bool { return t == TunnelTLS || t == TunnelOther }

// Mark is a step of the past, in the form that a connection keeps.
type Mark struct {
	Phase    Phase
	Attempt  uint8
	Reason   Reason
	Start    time.Duration // since accept
	Duration time.Duration // -1 while it runs
}

// Connection is the record of one proxied connection, from accept until it leaves its Registry. Begin,
// NextAttempt, Update, TraceID and the outcomes may be called on nil and record nothing: plain HTTP is
// dialled through the same code.
type Connection struct {
	ID       string
	Client   string // the socket's peer
	Accepted time.Time

	registry *Registry
	shard    *shard
	watchers []Watcher
	flows    [directionCount]Flow
	phase    atomic.Uint32
	rtt      [2]atomic.Int64 // nanoseconds, by leg; 0 before the first
	taps     atomic.Pointer[[]*Tap]
	worker   atomic.Int32 // number of the event loop that relays it, from 1 on; 0: none

	mu            sync.Mutex
	facts         Facts
	traceID       string
	traceResponse string
	attempt       int
	marks         []Mark
	first         [8]Mark // what marks begins in: a direct connection has no more
	close         Close
	opened        time.Time
	stop          func(StopRequest)
	asked         *StopRequest
	gone          bool // left the registry, as done, for those who hold this mutex
	done          bool // guarded by the shard's mutex
}

// Outcome is how a connection left the registry.
type Outcome struct {
	At       time.Time
	Kind     OutcomeKind
	Failure  *Failure // of a connection that never upgraded
	Status   int      // answered to the client; 0 if nothing was
	Close    Close    // of one that did
	Upstream Counts   // what went to the upstream, and
	Down     Counts   // to the client
}

// OutcomeKind sorts connections for the invariant accepted = opened + rejected + failed + in progress.
type OutcomeKind uint8

const (
	OutcomeClosed    OutcomeKind = iota // upgraded, relayed, ended
	OutcomeRejected                     // refused before dialling
	OutcomeFailed                       // a later phase, or the TLS handshake before, failed
	OutcomeUnused                       // left without a byte: no failure
	OutcomeDismissed                    // turned out to be plain HTTP: not a connection of ours
	outcomeCount
)

var outcomeNames = [outcomeCount]string{"closed", "rejected", "failed", "unused", "dismissed"}

func (k OutcomeKind) String() string { return name(outcomeNames[:], k) }

type contextKey struct{}

// NewContext returns a ctx in which FromContext finds c.
func NewContext(ctx context.Context, c *Connection) context.Context {
	return context.WithValue(ctx, contextKey{}, c)
}

// FromContext returns the connection that ctx is about, or nil.
func FromContext(ctx context.Context) *Connection {
	c, _ := ctx.Value(contextKey{}).(*Connection)
	return c
}

// Begin begins the phase that s names. The returned ctx is what the phase runs under. A phase out of
// order, or before the last one has ended, is a bug of ours and panics.
func (c *Connection) Begin(ctx context.Context, s *Step) (context.Context, *Step) {
	if s.Begun.IsZero() {
		s.Begun = time.Now()
	}
	if c == nil {
		return ctx, s
	}
	s.conn = c
	c.begun(s)
	for _, w := range c.watchers {
		ctx = w.Begin(ctx, s)
	}
	return ctx, s
}

func (c *Connection) begun(s *Step) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if before := c.Phase(); !before.mayPrecede(s.Phase) {
		panic("lifecycle: phase " + s.Phase.String() + " after " + before.String())
	}
	if n := len(c.marks); n > 0 && c.marks[n-1].Duration < 0 {
		panic("lifecycle: phase " + s.Phase.String() + " begun before " + c.Phase().String() + " ended")
	}
	c.phase.Store(uint32(s.Phase))
	if s.Phase >= PhaseDNS && s.Phase <= PhaseUpgrade {
		s.Attempt = max(c.attempt, 1)
	}
	if s.Phase == PhaseTransfer {
		c.opened = s.Begun
	}
	if c.marks == nil {
		c.marks = c.first[:0]
	}
	c.marks = append(c.marks, Mark{Phase: s.Phase, Attempt: uint8(min(s.Attempt, 255)), Start: s.Begun.Sub(c.Accepted), Duration: -1})
}

func (c *Connection) ended(ctx context.Context, s *Step) {
	c.mu.Lock()
	m := &c.marks[len(c.marks)-1] // phases do not overlap
	m.Duration, m.Reason = max(s.Ended.Sub(s.Begun), 0), s.Reason()
	c.facts.learn(s)
	c.mu.Unlock()
	for _, w := range c.watchers {
		w.End(ctx, s)
	}
}

// learn takes what a step tells of the sockets.
func (f *Facts) learn(s *Step) {
	switch {
	case s.Phase == PhaseConnect:
		f.Peer, f.UpstreamTLS = s.Peer, nil
	case s.Phase == PhaseTLS && s.Hop == HopTarget:
		f.UpstreamTLS = s.TLS
	}
}

// NextAttempt starts another run of dns to upgrade; the first needs no call.
func (c *Connection) NextAttempt() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.attempt = max(c.attempt, 1) + 1
}

// Phase is the phase that the connection is in, or was in last.
func (c *Connection) Phase() Phase { return Phase(c.phase.Load()) }

// Update changes what is known of the connection.
func (c *Connection) Update(f func(*Facts)) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.facts)
}

// Facts returns what is known of the connection.
func (c *Connection) Facts() Facts {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.facts
}

// Flow is the counters of one direction.
func (c *Connection) Flow(d Direction) *Flow { return &c.flows[d] }

// SetWorker notes which event loop relays the connection.
func (c *Connection) SetWorker(id int) { c.worker.Store(int32(id) + 1) }

// Worker is the event loop that relays the connection, ok if one does.
func (c *Connection) Worker() (id int, ok bool) {
	n := c.worker.Load()
	return int(n) - 1, n > 0
}

// SetTrace notes the trace that an observer put the connection into, and the value of the traceresponse
// header (W3C Trace Context level 2) for the client, empty for none.
func (c *Connection) SetTrace(id, response string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.traceID, c.traceResponse = id, response
}

// TraceID is the id of the connection's trace, empty without one.
func (c *Connection) TraceID() string {
	if c == nil {
		return ""
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.traceID
}

// TraceResponse is the value of the traceresponse header, empty without one.
func (c *Connection) TraceResponse() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.traceResponse
}

// Timeline returns the phases so far, in order.
func (c *Connection) Timeline() []Mark {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Mark(nil), c.marks...)
}

// Opened is when transfer began, zero before it.
func (c *Connection) Opened() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.opened
}

// SetClose notes why the connection is ending. It becomes final with Close.
func (c *Connection) SetClose(cl Close) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.close = cl
}

// Closing returns why the connection is ending; its Cause is CauseNone while it is not.
func (c *Connection) Closing() Close {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.close
}
