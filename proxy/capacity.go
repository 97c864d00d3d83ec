package proxy

import (
	"cmp"
	"container/list"
	"context"
	"sync"
	"time"
)

// Capacity is how much a Server takes on, all listeners together. The zero value bounds only Pending.
type Capacity struct {
	Connections int // WebSockets open or being set up; 0: as many as descriptors allow
	Descriptors int // that sockets may take, besides those of pending clients; 0: unbounded
	Pending     int // clients between accept and the end of their request's head, or that read a refusal; 0: 1024
}

// Descriptors that are set aside for a connection: while it is set up the second address that Happy
// Eyeballs tries, or the duplicates that an event loop makes, are there beside its two sockets.
const (
	seatSetUp = 4
	seatOpen  = 2
	seatPlain = 2 // the client and a lookup; the socket to the target is counted by itself
	seatIdle  = 1
)

const (
	defaultPending = 1024

	// pendingGrace is how long a pending client is left in peace although others have no place.
	pendingGrace = time.Second
)

// Limit is the largest number of WebSockets that there is room for, 0 if nothing bounds it.
func (c Capacity) Limit() int {
	if c.Descriptors == 0 {
		return c.Connections
	}
	most := max((c.Descriptors-seatSetUp)/seatOpen+1, 0)
	if c.Connections > 0 {
		return min(c.Connections, most)
	}
	return most
}

// room counts the descriptors of a Server's sockets. Clients that are pending have places of their own,
// so that those beyond the limit can be told: they are not kept waiting, and nobody runs out.
type room struct {
	mu          sync.Mutex
	capacity    Capacity
	descriptors int // of what was admitted
	connections int
	pending     list.List // of *seat, the oldest first
	waiters     int
	freed       chan struct{} // closed when somebody waits and a pending client leaves or can be done without
}

func newRoom(c Capacity) *room {
	c.Pending = cmp.Or(c.Pending, defaultPending)
	return &room{capacity: c, freed: make(chan struct{})}
}

// seat is what a client's connection takes of a room.
type seat struct {
	room        *room
	descriptors int  // counted since it was admitted
	connection  bool // counted as one

	since    time.Time
	answered bool          // it has all that it will get
	place    *list.Element // among the pending, nil if it is not one of them
	evict    func(answered bool)
}

// enter finds a place for a client that was just accepted. Where there is none it takes that of one that
// was answered, or of the one that is pending for longest, and waits only if that is not long. evict is
// called with the room locked; it ends its client soon.
func (r *room) enter(ctx context.Context, evict func(answered bool)) (*seat, error) {
	s := &seat{room: r, since: time.Now(), evict: evict}
	for {
		wait, freed := r.tryEnter(s)
		if wait == 0 {
			return s, nil
		}
		t := time.NewTimer(wait)
		select {
		case <-freed:
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
		r.mu.Lock()
		r.waiters--
		r.mu.Unlock()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
}

func (r *room) tryEnter(s *seat) (wait time.Duration, freed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pending.Len() >= r.capacity.Pending {
		victim := r.victim()
		if wait = pendingGrace - time.Since(victim.since); wait > 0 && !victim.answered {
			r.waiters++
			return wait, r.freed
		}
		victim.stand()
		victim.evict(victim.answered)
	}
	s.place = r.pending.PushBack(s)
	return 0, nil
}

// victim is the pending seat that can best be done without.
func (r *room) victim() *seat {
	for e := r.pending.Front(); e != nil; e = e.Next() {
		if s := e.Value.(*seat); s.answered {
			return s
		}
	}
	return r.pending.Front().Value.(*seat)
}

// stand gives the place among the pending back.
func (s *seat) stand() {
	if s.place == nil {
		return
	}
	s.room.pending.Remove(s.place)
	s.place = nil
	s.room.wake()
}

// wake tells those who wait for a place that there may be one.
func (r *room) wake() {
	if r.waiters > 0 {
		close(r.freed)
		r.freed = make(chan struct{})
	}
}

// admit sets descriptors aside for a request, and counts a connection if it is one. It reports false,
// and changes nothing, if there is no room.
func (s *seat) admit(descriptors int, connection bool) bool {
	r := s.room
	r.mu.Lock()
	defer r.mu.Unlock()
	most := r.capacity
	if connection && most.Connections > 0 && r.connections >= most.Connections {
		return false
	}
	if !r.take(max(descriptors-s.descriptors, 0)) {
		return false
	}
	s.descriptors = max(s.descriptors, descriptors)
	if connection {
		s.connection = true
		r.connections++
	}
	s.stand()
	return true
}

// take counts descriptors, if there is room for them. The room is locked.
func (r *room) take(descriptors int) bool {
	if most := r.capacity.Descriptors; most > 0 && descriptors > 0 && r.descriptors+descriptors > most {
		return false
	}
	r.descriptors += descriptors
	return true
}

// socket is take for a socket that belongs to no client; n is 1 or -1.
func (r *room) socket(n int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.take(n)
}

// keep gives back what was set aside beyond what an admitted client needs from now on.
func (s *seat) keep(descriptors int) {
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	s.lower(descriptors)
}

func (s *seat) lower(descriptors int) {
	if descriptors < s.descriptors {
		s.room.descriptors -= s.descriptors - descriptors
		s.descriptors = descriptors
	}
}

// settle is keep for a client whose socket the relay has. The seat no longer holds on to what served it
// until then.
func (s *seat) settle() {
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	s.lower(seatOpen)
	s.evict = nil // only who is pending gives way
}

// linger makes the seat one of a client that was refused and has its answer.
func (s *seat) linger() {
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	s.give()
	s.answered = true
	if s.place == nil {
		s.place = s.room.pending.PushBack(s)
	}
	s.room.wake()
}

// leave gives everything back. The client's socket is closed.
func (s *seat) leave() {
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	s.give()
	s.stand()
}

func (s *seat) give() {
	s.lower(0)
	if s.connection {
		s.connection = false
		s.room.connections--
	}
}

// crowded reports whether connections that wait for nothing had better be closed.
func (r *room) crowded() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	most := r.capacity.Descriptors
	return most > 0 && r.descriptors > most-most/4
}
