package telemetry

import (
	"context"
	"log/slog"
	"time"

	"wsproxy/lifecycle"
)

// measured are the attributes of what is measured on open connections.
type measured struct {
	direction lifecycle.Direction
	leg       lifecycle.Leg // none: it is about the direction
	route     string        // empty: not told
}

func (k measured) attributes() list {
	var l list
	if k.leg == lifecycle.LegNone {
		l.string(keyDirection, k.direction.String())
	} else {
		l.string(keyLeg, k.leg.String())
	}
	l.string(keyRouteName, k.route)
	return l
}

// Pinged implements lifecycle.Meter.
func (w *watcher) Pinged(l lifecycle.Leg, took time.Duration) {
	if m := w.tel.metrics; m != nil {
		m.on.Load().pingDuration.Record(context.Background(), took.Seconds(), m.measured.of(measured{leg: l, route: w.label}).record...)
	}
}

// Relayed implements lifecycle.Meter.
func (w *watcher) Relayed(d lifecycle.Direction, took time.Duration) {
	if m := w.tel.metrics; m != nil {
		m.on.Load().relayDuration.Record(context.Background(), took.Seconds(), m.measured.of(measured{direction: d, route: w.label}).record...)
	}
}

// Probed implements lifecycle.Meter.
func (w *watcher) Probed(l lifecycle.Leg, rtt time.Duration, retransmits int) {
	m := w.tel.metrics
	if m == nil {
		return
	}
	k := measured{leg: l}
	m.on.Load().tcpRtt.Record(context.Background(), rtt.Seconds(), m.measured.of(k).record...)
	m.retransmits.add(k, int64(retransmits))
}

// Stalled implements lifecycle.Meter.
func (w *watcher) Stalled(d lifecycle.Direction, took time.Duration) {
	if c := w.tel.console; c.enabled(LevelNotice, w.conn.Facts().Route) {
		c.connection(w.server, LevelNotice, "connection stalled", append(w.identity(), slog.String("direction", d.String()), slog.Float64("stall_ms", milliseconds(took))))
		c.flush()
	}
	if w.tel.events == nil {
		return
	}
	l := w.tel.events.list()
	defer w.tel.events.release(l)
	w.eventAttributes(l)
	*l = append(*l, keyDirection.String(d.String()), keyStallDuration.Float64(took.Seconds()))
	w.tel.events.emit(time.Now(), w.server, eventConnectionStalled, LevelNotice, *l)
}
