package telemetry

import (
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"wsproxy/lifecycle"
)

const (
	// formerKept is how many clients that have left are remembered: some 10 MB.
	formerKept = 100_000

	// formerFor is how soon a client must be back to have reconnected.
	formerFor = 10 * time.Minute
)

// former remembers why the connections of known clients ended.
type former struct {
	ended *lru.Cache[formerKey, pastEnd]
}

type formerKey struct {
	route    string
	identity uint64
}

type pastEnd struct {
	cause lifecycle.Cause
	at    time.Time
}

func newFormer() *former {
	cache, err := lru.New[formerKey, pastEnd](formerKept)
	if err != nil {
		panic(err) // only of a size that is not positive
	}
	return &former{ended: cache}
}

// left is told that the connection is ending, and of the cause if it is known by now; the first counts.
func (w *watcher) left(cause lifecycle.Cause, at time.Time) {
	if w.leaving || cause == lifecycle.CauseNone {
		return
	}
	w.leaving = true
	w.tel.metrics.left(w.conn, cause, at)
}

// left notes why a client's connection ended.
func (m *metrics) left(c *lifecycle.Connection, cause lifecycle.Cause, at time.Time) {
	if m == nil {
		return
	}
	if k := formerOf(c); k.identity != 0 {
		m.former.ended.Add(k, pastEnd{cause, at})
	}
}

// back returns why the former connection of c's client ended, and forgets that; CauseNone if there was
// none lately.
func (f *former) back(c *lifecycle.Connection, at time.Time) lifecycle.Cause {
	k := formerOf(c)
	if k.identity == 0 {
		return lifecycle.CauseNone
	}
	e, ok := f.ended.Peek(k)
	if !ok {
		return lifecycle.CauseNone
	}
	f.ended.Remove(k)
	if at.Sub(e.at) > formerFor {
		return lifecycle.CauseNone
	}
	return e.cause
}

func formerOf(c *lifecycle.Connection) formerKey {
	f := c.Facts()
	return formerKey{f.Route, f.Visitor}
}

// reconnected counts a connection whose client was here before.
func (m *metrics) reconnected(c *lifecycle.Connection, route string, at time.Time) {
	if m == nil {
		return
	}
	if cause := m.former.back(c, at); cause != lifecycle.CauseNone {
		m.reconnects.add(reconnectKey{route, cause}, 1)
	}
}

type reconnectKey struct {
	route string
	cause lifecycle.Cause
}

func (k reconnectKey) attributes() list {
	return list{keyRouteName.String(k.route), keyCloseCause.String(k.cause.String())}
}
