package lifecycle

import "time"

// Meter is a Watcher that is also told what is measured on an open connection. Such calls may come at the
// same time as others.
type Meter interface {
	// Pinged tells how long leg l took to answer a ping, an endpoint's or our own; at most once per second.
	Pinged(l Leg, took time.Duration)
	// Relayed tells how long bytes were with us, of a sample.
	Relayed(d Direction, took time.Duration)
	// Probed tells what the system knows of leg l's TCP: its round trip time, and how many segments it
	// has sent again since the last time.
	Probed(l Leg, rtt time.Duration, retransmits int)
	// Stalled tells that direction d waits for a slow peer and has done so for long.
	Stalled(d Direction, took time.Duration)
}

func (c *Connection) measure(f func(Meter)) {
	for _, w := range c.watchers {
		if m, ok := w.(Meter); ok {
			f(m)
		}
	}
}

// Pinged notes a round trip to leg l and back. tell says whether it is to be told: pings may come by the
// thousand.
func (c *Connection) Pinged(l Leg, took time.Duration, tell bool) {
	if l == LegNone {
		return
	}
	c.rtt[l-1].Store(int64(max(took, 1)))
	if tell {
		c.measure(func(m Meter) { m.Pinged(l, took) })
	}
}

// RTT is the last round trip by ping and pong to leg l and back; not ok before the first.
func (c *Connection) RTT(l Leg) (took time.Duration, ok bool) {
	if l == LegNone {
		return 0, false
	}
	n := c.rtt[l-1].Load()
	return time.Duration(n), n != 0
}

// Relayed tells the Meters.
func (c *Connection) Relayed(d Direction, took time.Duration) {
	c.measure(func(m Meter) { m.Relayed(d, took) })
}

// Probed tells the Meters.
func (c *Connection) Probed(l Leg, rtt time.Duration, retransmits int) {
	c.measure(func(m Meter) { m.Probed(l, rtt, retransmits) })
}

// Stalled tells the Meters.
func (c *Connection) Stalled(d Direction, took time.Duration) {
	c.measure(func(m Meter) { m.Stalled(d, took) })
}
