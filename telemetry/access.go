package telemetry

import (
	"log/slog"
	"time"

	"wsproxy/lifecycle"
)

// access tells of a connection that is over: a line on the console, a log event to the collector. None
// is left out for repeating: each is another connection.
func (w *watcher) access(o *lifecycle.Outcome) {
	message, level := accessMessage(o)
	phases := w.phases()
	if c := w.tel.console; c.enabled(level, w.conn.Facts().Route) {
		c.connection(w.server, level, message, w.accessAttrs(o, phases))
	}
	w.endedEvent(o, level, phases)
}

func accessMessage(o *lifecycle.Outcome) (string, slog.Level) {
	switch {
	case o.Kind == lifecycle.OutcomeRejected:
		return "connection rejected", LevelNotice
	case o.Kind == lifecycle.OutcomeFailed:
		return "connection failed", LevelNotice
	case o.Close.Abnormal():
		return "connection closed", LevelNotice
	}
	return "connection closed", slog.LevelInfo
}

// accessOpened tells of a connection that was upgraded.
func (w *watcher) accessOpened(at time.Time) {
	if c := w.tel.console; w.tel.settings.Log.Opened && c.enabled(slog.LevelInfo, w.conn.Facts().Route) {
		c.connection(w.server, slog.LevelInfo, "connection opened", w.identity())
		c.flush()
	}
	w.openedEvent(at)
}

// identity is who is connected to what.
func (w *watcher) identity() []slog.Attr {
	f := w.conn.Facts()
	a := append(make(lineAttrs, 0, 20), slog.String("id", w.conn.ID), slog.String("client", w.conn.Client))
	if f.Client != w.conn.Client {
		a.text("forwarded_for", f.Client)
	}
	a.text("identity", f.Identity)
	a.text("upstream_address", w.peer)
	a.text("route", f.Route)
	a.text("upstream", f.Upstream)
	a.text("target", f.Target)
	a.text("egress", f.Egress)
	a.text("host", f.Host)
	a.text("path", f.Path)
	if f.Mode == lifecycle.ModeForward {
		a.text("mode", f.Mode.String())
		a.text("method", f.Method)
	}
	a.text("tunnel", f.Tunnel.String())
	a.text("server_name", f.ServerName)
	if f.Intercepted {
		a = append(a, slog.Bool("intercepted", true))
	}
	a.text("subprotocol", f.Subprotocol)
	return a
}

func (w *watcher) accessAttrs(o *lifecycle.Outcome, phases []phaseTime) []slog.Attr {
	a := lineAttrs(w.identity())
	if o.Status != 0 {
		a = append(a, slog.Int("status", o.Status))
	}
	times := make([]slog.Attr, 0, len(phases))
	for _, p := range phases {
		times = append(times, slog.Float64(p.phase.String(), milliseconds(p.took)))
	}
	a = append(a, slog.GroupAttrs("phases_ms", times...))
	if o.Failure != nil {
		a.text("phase", o.Failure.Phase.String())
		a.text("reason", o.Failure.Reason.String())
		if o.Failure.Err != nil {
			a.text("error", o.Failure.Err.Error())
		}
		return a
	}
	return a.close(o)
}

func (a lineAttrs) close(o *lifecycle.Outcome) []slog.Attr {
	a = append(a, slog.String("cause", o.Close.Cause.String()), slog.String("initiator", o.Close.Initiator.String()))
	a.text("leg", o.Close.Leg.String())
	if o.Close.Code > 0 {
		a = append(a, slog.Int("code", o.Close.Code))
	}
	a = append(a, slog.Bool("clean", o.Close.Clean))
	if o.Close.FrameTruncated {
		a = append(a, slog.Bool("frame_truncated", true))
	}
	if o.Close.TLSTruncated {
		a = append(a, slog.Bool("tls_truncated", true))
	}
	return append(a, sentAttrs("sent_upstream", &o.Upstream), sentAttrs("sent_downstream", &o.Down))
}

func sentAttrs(name string, c *lifecycle.Counts) slog.Attr {
	return slog.GroupAttrs(name, slog.Uint64("bytes", c.Bytes), slog.Uint64("messages", c.Messages()), slog.Float64("stall_ms", milliseconds(c.Stall)))
}

// lineAttrs collects what is known.
type lineAttrs []slog.Attr

func (a *lineAttrs) text(key, v string) {
	if v != "" {
		*a = append(*a, slog.String(key, text(v)))
	}
}

// phaseTime is how long a connection was in a phase, all attempts together.
type phaseTime struct {
	phase lifecycle.Phase
	took  time.Duration
}

func (w *watcher) phases() []phaseTime {
	var took [len(phaseKeys)]time.Duration
	var seen [len(phaseKeys)]bool
	for _, m := range w.conn.Timeline() {
		if int(m.Phase) < len(phaseKeys) {
			took[m.Phase] += max(m.Duration, 0)
			seen[m.Phase] = true
		}
	}
	list := make([]phaseTime, 0, len(seen))
	for p, was := range seen {
		if was {
			list = append(list, phaseTime{lifecycle.Phase(p), took[p]})
		}
	}
	return list
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
