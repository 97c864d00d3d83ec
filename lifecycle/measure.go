package lifecycle

import "time"

// Meter is a Watcher that is also told what is measured on an open connection. Such calls may come at the
// same time as others.
type Meter interface {
	// Pinged tells how long leg l took to answer a ping, an endpoint's or our own.
	Pinged(l Leg, took time.Duration)
}

func (c *Connection) measure(f func(Meter)) {
	for _, w := range c.watchers {
		if m, ok := w.(Meter); ok {
			f(m)
		}
	}
}

// Pinged notes a round trip to leg l and back.
func (c *Connection) Pinged(l Leg, took time.Duration) {
	if l == LegNone {
		return
	}
	c.rtt[l-1].Store(int64(max(took, 1)))
	c.measure(func(m Meter) { m.Pinged(l, took) })
}

// RTT is the last round trip to leg l and back; not ok before the first.
func (c *Connection) RTT(l Leg) (took time.Duration, ok bool) {
	if l == LegNone {
		return 0, false
	}
	n := c.rtt[l-1].Load()
	return time.Duration(n), n != 0
}
