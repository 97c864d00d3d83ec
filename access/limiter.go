package access

import (
	"net/netip"
	"sync"
	"time"

	"wsproxy/lifecycle"
)

// Limits bound what one listener or route takes on. Zero is no limit.
type Limits struct {
	Connections int     // open or being set up
	PerClient   int     // of them from one address; of IPv6 a /64 is one, as a host has at least that
	PerIdentity int     // of them of one identity
	Rate        float64 // handshakes per second, with a burst of a second's worth
	ClientRate  float64 // of them from one address
}

// Limiter holds connections to Limits. The zero value has none.
type Limiter struct {
	mu         sync.Mutex
	limits     Limits
	open       int
	clients    map[netip.Prefix]int // those with a connection, so no more than there are connections
	identities map[string]int
	rate       bucket
	rates      buckets
}

// NewLimiter makes a Limiter.
func NewLimiter(l Limits) *Limiter {
	m := new(Limiter)
	m.Set(l)
	return m
}

// Set changes the limits. Connections that are open stay and go on counting.
func (m *Limiter) Set(l Limits) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.limits = l
	m.rate.set(l.Rate)
	m.rates.set(l.ClientRate)
}

// Limits are those in force.
func (m *Limiter) Limits() Limits {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.limits
}

// Handshake counts a handshake from client, or refuses it. What a client has too many of is not taken
// from everyone's share. A client without an IP address has no limit of its own.
func (m *Limiter) Handshake(client netip.Addr) *lifecycle.Failure {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if client.IsValid() {
		if wait := m.rates.take(attemptsOf(client), now); wait > 0 {
			return tooSoon(wait, "handshakes per second from one client")
		}
	}
	if wait := m.rate.take(now); wait > 0 {
		return tooSoon(wait, "handshakes per second")
	}
	return nil
}

// Connect counts a connection of client until release is called, once, or refuses it. identity is
// empty for a client that none is known of.
func (m *Limiter) Connect(client netip.Addr, identity string) (release func(), refused *lifecycle.Failure) {
	from := attemptsOf(client)
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.limits
	switch {
	case l.Connections > 0 && m.open >= l.Connections:
		return nil, full("connections")
	case l.PerClient > 0 && client.IsValid() && m.clients[from] >= l.PerClient:
		return nil, full("connections from one client")
	case l.PerIdentity > 0 && identity != "" && m.identities[identity] >= l.PerIdentity:
		return nil, full("connections of one identity")
	}
	m.open++
	if m.clients == nil {
		m.clients, m.identities = make(map[netip.Prefix]int), make(map[string]int)
	}
	m.clients[from]++
	if identity != "" {
		m.identities[identity]++
	}
	return func() { m.release(from, identity) }, nil
}

func (m *Limiter) release(from netip.Prefix, identity string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.open--
	less(m.clients, from)
	if identity != "" {
		less(m.identities, identity)
	}
}

func less[K comparable](counts map[K]int, k K) {
	if counts[k]--; counts[k] == 0 {
		delete(counts, k)
	}
}

func full(what string) *lifecycle.Failure {
	return lifecycle.Failf(lifecycle.ReasonConnectionLimit, "the limit of %s is reached", what)
}

func tooSoon(wait time.Duration, what string) *lifecycle.Failure {
	f := lifecycle.Failf(lifecycle.ReasonRateLimit, "the limit of %s is reached", what)
	f.RetryAfter = wait
	return f
}
