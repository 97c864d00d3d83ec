package telemetry

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/trace"

	"wsproxy/lifecycle"
)

// Keep says which connections are traced after all, though the sampler dropped them. Their spans have the
// ids that were passed on, whose sampled flag stays 0 for others.
type Keep struct {
	Failed   bool          // before they were upgraded, other than by refusal
	Abnormal bool          // closed abnormally
	Slow     time.Duration // request to 101 took at least this; 0: none are kept for that
}

// dropped is what is remembered of a connection that the sampler dropped and that may be kept. From the
// 101 on that is little: the record has the times of its phases.
type dropped struct {
	parent trace.SpanContext // of the SERVER span: the client's that is trusted
	links  []trace.Link
	steps  []dialStep // until the 101
	hops   []lifecycle.Hop
	egress string // type
	kept   bool
}

// dialStep is a step of dialling and the target that it was for.
type dialStep struct {
	*lifecycle.Step
	target string
}

// keeps says whether a connection that the sampler dropped may be kept. A provider that makes the spans
// itself has nothing for them.
func (t *Telemetry) keeps() bool {
	return t.settings.Keep != Keep{} && t.tracing != nil && t.tracing.recording != nil
}

// note remembers a step.
func (d *dropped) note(s *lifecycle.Step, target string) {
	d.hops = append(d.hops, s.Hop)
	d.steps = append(d.steps, dialStep{s, target})
	if s.Phase == lifecycle.PhaseProxy {
		d.egress = s.EgressType
	}
}

// keep has spans made from now on.
func (w *watcher) keep() {
	w.dropped.kept = true
	w.server = w.server.WithTraceFlags(w.server.TraceFlags().WithSampled(true))
}

// recall keeps a connection that is being set up: all of its steps are still there.
func (w *watcher) recall() {
	w.keep()
	f := w.conn.Facts()
	w.setup.server.context = w.server
	w.setup.server.rename(serverName(f.Method, f.Pattern))
	if t := w.setup.tls; t != nil {
		w.accepting(t)
	}
	for _, s := range w.dropped.steps {
		w.retell(s.Step, s.target)
	}
}

// retell makes the span of a step that is over.
func (w *watcher) retell(s *lifecycle.Step, target string) {
	begun := *s // as it was then
	begun.Failure = nil
	if w.setup == nil { // which holds the span between its begin and its end
		w.setup = new(setup)
		defer func() { w.setup = nil }()
	}
	switch s.Phase {
	case lifecycle.PhaseProxy:
		w.beginTunnel(context.Background(), &begun)
	case lifecycle.PhaseUpgrade:
		w.upgradeSpan(context.Background(), &begun, target)
	}
	w.dialled(doneStep{s, w.setup.exchange})
	w.setup.exchange = nil
}

// keepSlow keeps a connection that was slow to open. It comes before the SERVER span's end.
func (w *watcher) keepSlow(at time.Time) {
	if w.dropped == nil {
		return
	}
	if slow := w.tel.settings.Keep.Slow; slow > 0 && at.Sub(w.setup.head) >= slow {
		w.recall()
	}
	w.dropped.steps = nil
}

// keepFailed keeps a connection that failed to open.
func (w *watcher) keepFailed(o *lifecycle.Outcome) {
	if w.dropped != nil && w.tel.settings.Keep.Failed && o.Kind == lifecycle.OutcomeFailed {
		w.recall()
	}
}

// keepClosed keeps a connection that ended abnormally, and tells of the transfer of one that is kept.
func (w *watcher) keepClosed(o *lifecycle.Outcome) {
	if w.dropped == nil {
		return
	}
	if !w.dropped.kept && w.tel.settings.Keep.Abnormal && o.Close.Abnormal() {
		w.keep()
		w.rebuild()
	}
	if w.dropped.kept {
		w.wholeTransfer(o)
	}
}

// rebuild makes the spans of the handshake from what the record has of it.
func (w *watcher) rebuild() {
	f, d := w.conn.Facts(), w.dropped
	server := newSpan()
	server.attrs.request(w.conn, &f)
	server.attrs.result(&f, statusSwitching, nil)
	w.tel.tracing.begin(server, d.parent, serverName(f.Method, f.Pattern), trace.SpanKindServer, w.conn.Accepted, d.links)
	server.context = w.server
	server.end(w.conn.Opened())

	marks := w.conn.Timeline()
	last := uint8(0) // attempt
	for _, m := range marks {
		last = max(last, m.Attempt)
	}
	hops, tunnel := d.hops, false
	for _, m := range marks {
		switch {
		case m.Phase == lifecycle.PhaseRoute:
			tunnel = true
		case m.Phase == lifecycle.PhaseTLSAccept && tunnel:
			hops = hops[min(1, len(hops)):] // of which it has none
			w.retellAccept(m, nil)
		case m.Phase == lifecycle.PhaseTLSAccept:
			w.retellAccept(m, f.ClientTLS)
		case m.Phase >= lifecycle.PhaseDNS && m.Phase <= lifecycle.PhaseUpgrade && len(hops) > 0:
			w.retellMark(m, &f, hops[0], m.Attempt == last)
			hops = hops[1:]
		}
	}
}

// retellAccept makes the span of a TLS handshake with the client, of which nil is no more known than that it
// went well.
func (w *watcher) retellAccept(m lifecycle.Mark, t *lifecycle.TLSInfo) {
	made := newSpan()
	if t != nil {
		made.attrs.tls(t)
	} else {
		made.attrs = append(made.attrs, keyTLSEstablished.Bool(true))
	}
	begun := w.conn.Accepted.Add(m.Start)
	w.after(made, spanTLSServerHandshake, begun, begun.Add(m.Duration), m.Reason)
}

// retellMark makes the span of a mark. What the record knows of the connection goes for its last attempt.
func (w *watcher) retellMark(m lifecycle.Mark, f *lifecycle.Facts, hop lifecycle.Hop, last bool) {
	s := &lifecycle.Step{Phase: m.Phase, Attempt: int(m.Attempt), Hop: hop, Begun: w.conn.Accepted.Add(m.Start), EgressName: f.Egress, EgressType: w.dropped.egress}
	s.Ended = s.Begun.Add(m.Duration)
	if m.Reason != lifecycle.ReasonNone {
		s.Failure = &lifecycle.Failure{Phase: m.Phase, Reason: m.Reason}
	}
	target := ""
	if last {
		s.Peer, target = w.peer, f.Target
	}
	switch {
	case m.Phase == lifecycle.PhaseTLS:
		made := newSpan()
		made.attrs = append(made.attrs, keyTLSEstablished.Bool(s.Failure == nil), keyTLSPeer.String(hop.String()))
		made.attrs.egress(s)
		made.attrs.dial(s)
		w.after(made, spanTLSClientHandshake, s.Begun, s.Ended, m.Reason)
		return
	case m.Phase == lifecycle.PhaseUpgrade && last:
		s.Status = statusSwitching
	}
	w.retell(s, target)
}

// wholeTransfer makes one span of the whole transfer: segments were never begun.
func (w *watcher) wholeTransfer(o *lifecycle.Outcome) {
	begun, ended := w.conn.Opened(), o.At
	for _, m := range w.conn.Timeline() {
		if m.Phase == lifecycle.PhaseTransfer && m.Duration >= 0 {
			ended = begun.Add(m.Duration)
		}
	}
	made := newSpan()
	l := &made.attrs
	l.string(keyConnectionID, w.conn.ID)
	*l = append(*l, keySegmentIndex.Int(0), keySegmentFinal.Bool(true))
	for i, c := range []*lifecycle.Counts{&o.Upstream, &o.Down} {
		l.sums(segmentKeys[i], sums{c.Bytes, c.Messages(), c.Stall}, w.tunnel)
	}
	name := spanWebsocketTransfer
	if w.tunnel {
		name = spanTunnelTransfer
	}
	w.part(made, name, begun, ended, nil)
}
