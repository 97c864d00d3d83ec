package admin

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"wsproxy/lifecycle"
)

const (
	eventsKept   = 256 // ends of connections
	eventsQueued = 256 // for each subscriber
)

// Events keeps the latest ends of connections, and tells subscribers of what happens as it does. It implements
// lifecycle.Observer; the zero value is ready.
type Events struct {
	mu          sync.Mutex
	ends        [eventsKept]*event // a ring
	next        int                // where the next one goes
	subscribers map[*subscriber]struct{}

	listening atomic.Int32 // subscribers
}

// event is something that happened. What it says is put into words when somebody reads it.
type event struct {
	at         time.Time
	kind       string
	connection *lifecycle.Connection
	outcome    lifecycle.Outcome
	transition lifecycle.Transition
}

// subscriber gets events until it is removed. What does not fit into its queue is counted.
type subscriber struct {
	queue   chan *event
	dropped atomic.Int64
}

// The kinds of events.
const (
	eventOpened = "connection.opened"
	eventClosed = "connection.closed"
	eventFailed = "connection.failed" // or refused
	eventState  = "system.state"
)

// Watch implements lifecycle.Observer.
func (e *Events) Watch(c *lifecycle.Connection) lifecycle.Watcher { return eventWatcher{e, c} }

type eventWatcher struct {
	events     *Events
	connection *lifecycle.Connection
}

func (w eventWatcher) Begin(ctx context.Context, s *lifecycle.Step) context.Context {
	if s.Phase == lifecycle.PhaseTransfer && w.events.listening.Load() > 0 {
		w.events.tell(&event{at: s.Begun, kind: eventOpened, connection: w.connection})
	}
	return ctx
}

func (w eventWatcher) End(context.Context, *lifecycle.Step) {}

func (w eventWatcher) Done(o lifecycle.Outcome) {
	e := &event{at: o.At, connection: w.connection, outcome: o}
	switch o.Kind {
	case lifecycle.OutcomeClosed:
		e.kind = eventClosed
	case lifecycle.OutcomeFailed, lifecycle.OutcomeRejected:
		e.kind = eventFailed
	default:
		return
	}
	w.events.keep(e)
	w.events.tell(e)
}

// State tells subscribers that the process entered a state.
func (e *Events) State(t lifecycle.Transition) {
	e.tell(&event{at: t.At, kind: eventState, transition: t})
}

func (e *Events) keep(v *event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ends[e.next] = v
	e.next = (e.next + 1) % eventsKept
}

// tell waits for nobody.
func (e *Events) tell(v *event) {
	if e.listening.Load() == 0 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for s := range e.subscribers {
		select {
		case s.queue <- v:
		default:
			s.dropped.Add(1)
		}
	}
}

// latest are the ends kept, the latest first.
func (e *Events) latest() []*event {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := slices.Concat(e.ends[e.next:], e.ends[:e.next])
	all = slices.DeleteFunc(all, func(v *event) bool { return v == nil })
	slices.Reverse(all)
	return all
}

func (e *Events) subscribe() *subscriber {
	s := &subscriber{queue: make(chan *event, eventsQueued)}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.subscribers == nil {
		e.subscribers = make(map[*subscriber]struct{})
	}
	e.subscribers[s] = struct{}{}
	e.listening.Add(1)
	return s
}

func (e *Events) unsubscribe(s *subscriber) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.subscribers, s)
	e.listening.Add(-1)
}

// eventDocument tells of one event. What does not belong to its type is null.
type eventDocument struct {
	Type       string              `json:"type"`
	At         timestamp           `json:"at"`
	Connection *connectionDocument `json:"connection"`
	Failure    *refusalDocument    `json:"failure"` // of a connection that never opened
	State      *transition         `json:"state"`   // of the process
	Dropped    int64               `json:"dropped"` // events that this stream's client was too slow for, since the last one it got
}

type refusalDocument struct {
	Phase  string `json:"phase"`
	Reason string `json:"reason"`
	Status *int   `json:"status"` // answered to the client; null if nothing was
}

func (v *event) describe() eventDocument {
	d := eventDocument{Type: v.kind, At: timestamp(v.at)}
	if v.kind == eventState {
		d.State = &transition{v.transition.To.String(), timestamp(v.transition.At), orNull(v.transition.Cause)}
		return d
	}
	d.Connection = new(describe(v.connection))
	if f := v.outcome.Failure; f != nil {
		d.Failure = &refusalDocument{Phase: f.Phase.String(), Reason: f.Reason.String()}
		if v.outcome.Status != 0 {
			d.Failure.Status = new(v.outcome.Status)
		}
	}
	if v.kind != eventOpened {
		d.Connection.Age = v.at.Sub(v.connection.Accepted).Seconds()
	}
	return d
}

func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	if s.Events == nil {
		notFound(w, r)
		return
	}
	limit := defaultLimit
	if v := r.URL.Query(); v.Has("limit") {
		n, err := strconv.Atoi(v.Get("limit"))
		if err != nil || n < 1 || n > eventsKept {
			problem{Status: http.StatusBadRequest, Detail: "limit must be a number from 1 to " + strconv.Itoa(eventsKept)}.write(w)
			return
		}
		limit = n
	}
	page := list[eventDocument]{Items: []eventDocument{}}
	latest := s.Events.latest()
	for _, v := range latest[:min(limit, len(latest))] {
		page.Items = append(page.Items, v.describe())
	}
	writeJSON(w, page)
}
