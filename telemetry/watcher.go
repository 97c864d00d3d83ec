package telemetry

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"wsproxy/lifecycle"
)

type observer struct{ tel *Telemetry }

func (o observer) Watch(c *lifecycle.Connection) lifecycle.Watcher {
	w := &watcher{tel: o.tel, conn: c, setup: new(setup)}
	w.setup.steps = w.setup.room[:0]
	return w
}

// watcher follows one connection. From the 101 on it holds a few hundred bytes and no live span.
type watcher struct {
	tel     *Telemetry
	conn    *lifecycle.Connection
	setup   *setup            // nil from the 101 on
	server  trace.SpanContext // of the SERVER span; not valid with tracing off
	peer    string            // address of the socket towards the upstream
	label   string            // route.name on metrics
	tunnel  bool              // open, and opaque
	leaving bool              // its client may be back as one that was here before
	open    *transfer         // nil before the 101 and for a connection that is not sampled
	closing *lifecycle.Step   // the close, ended
	dropped *dropped          // nil for one that is sampled, or that will not be kept
	mark    *mark             // nil when there is nothing to tell of the connection
}

// setup is what is remembered until the 101.
type setup struct {
	tls      *lifecycle.Step // tls_accept, ended
	request  *lifecycle.Step
	head     time.Time // the request head was complete
	server   *span
	exchange *span // of the proxy or upgrade phase under way
	steps    []doneStep
	room     [6]doneStep // for as many as most need
	attempt  int
	failed   lifecycle.Reason // of the last step that failed
	counted  bool             // in connection.accepted
	told     bool             // by tellSteps
	named    bool             // the SERVER span began with its final name
}

// doneStep is a step from the route on that is over and not told yet.
type doneStep struct {
	*lifecycle.Step
	exchange *span // of a proxy or upgrade phase
}

func (w *watcher) Begin(ctx context.Context, s *lifecycle.Step) context.Context {
	switch s.Phase {
	case lifecycle.PhaseRequest:
		w.setup.request = s
	case lifecycle.PhaseRoute:
		w.setup.head = s.Begun
		return w.beginServer(ctx)
	case lifecycle.PhaseDNS, lifecycle.PhaseConnect, lifecycle.PhaseTLS:
		w.attempt(s)
		return w.within(ctx)
	case lifecycle.PhaseProxy:
		w.attempt(s)
		return w.beginTunnel(ctx, s)
	case lifecycle.PhaseUpgrade:
		w.attempt(s)
		return w.beginUpgrade(ctx, s)
	case lifecycle.PhaseTransfer:
		w.opened(s)
	case lifecycle.PhaseClose: // now: its client may be back before it is over
		w.left(w.conn.Closing().Cause, s.Begun)
	}
	return ctx
}

func (w *watcher) End(_ context.Context, s *lifecycle.Step) {
	defer w.debug(s)
	switch {
	case s.Phase == lifecycle.PhaseTransfer:
		if w.open != nil {
			w.tel.segments.end(w.open, s.Ended)
		}
	case w.setup == nil:
		w.closing = s
	default:
		w.done(s)
	}
}

// done notes a step of the set-up that is over. It is told with all others when the set-up is over.
func (w *watcher) done(s *lifecycle.Step) {
	switch s.Phase {
	case lifecycle.PhaseTLSAccept:
		if w.setup.head.IsZero() {
			w.setup.tls = s
			return
		}
	case lifecycle.PhaseRequest: // noted at its begin
		return
	case lifecycle.PhaseRoute:
		w.named()
		w.accepted()
	case lifecycle.PhaseConnect:
		if s.Failure == nil {
			w.peer = s.Peer
		}
	}
	if w.dropped != nil && s.Phase != lifecycle.PhaseRoute {
		w.dropped.note(s, w.conn.Facts().Target)
	}
	w.setup.failed = s.Reason()
	w.setup.steps = append(w.setup.steps, doneStep{s, w.setup.exchange})
	w.setup.exchange = nil
}

// tellSteps tells of the steps of the set-up, once. Those before the route are told of no plain request and of no
// unused connection.
func (w *watcher) tellSteps() {
	if w.setup.told {
		return
	}
	w.setup.told = true
	for _, s := range []*lifecycle.Step{w.setup.tls, w.setup.request} {
		if s != nil && !s.Ended.IsZero() {
			w.tel.metrics.phase(w.near(w.server), w.label, s)
		}
	}
	for _, s := range w.setup.steps {
		span := w.server // the step's own if it has one, for exemplars
		if s.Phase != lifecycle.PhaseRoute {
			span = w.dialled(s)
		}
		if s.Phase == lifecycle.PhaseUpgrade {
			w.tel.metrics.upgrade(w.near(span), s.Step)
		}
		w.tel.metrics.phase(w.near(span), w.label, s.Step)
	}
}

// dialled makes the span of a step of dialling, if the connection is sampled, and returns its context.
func (w *watcher) dialled(done doneStep) trace.SpanContext {
	s := done.Step
	if !w.sampled() {
		return w.server
	}
	switch s.Phase {
	case lifecycle.PhaseDNS:
		return w.lookup(s)
	case lifecycle.PhaseConnect:
		return w.connected(s)
	case lifecycle.PhaseTLSAccept:
		return w.accepting(s)
	case lifecycle.PhaseTLS:
		return w.secured(s)
	}
	return w.exchanged(done)
}

func (w *watcher) Done(o lifecycle.Outcome) {
	switch o.Kind {
	case lifecycle.OutcomeDismissed:
	case lifecycle.OutcomeUnused:
		w.tel.metrics.unused()
	default:
		if o.Kind == lifecycle.OutcomeClosed {
			w.left(o.Close.Cause, o.At)
		}
		w.tel.tellings.add(&telling{watcher: w, outcome: &o})
	}
}

// ended tells of a connection that is over, once nothing else is told of it.
func (w *watcher) ended(o *lifecycle.Outcome) {
	if o.Kind == lifecycle.OutcomeClosed {
		w.closed(o)
	} else {
		w.accepted()
		w.tellSteps()
		w.failedSetup(o)
		w.setup = nil
	}
	w.access(o)
}

// attempt counts a step of a further attempt at dialling.
func (w *watcher) attempt(s *lifecycle.Step) {
	if s.Attempt > max(w.setup.attempt, 1) {
		w.tel.metrics.retry(w.conn, w.setup.failed)
	}
	w.setup.attempt = s.Attempt
}

// accepted counts the connection, once it is known to be one and its route is known.
func (w *watcher) accepted() {
	if w.setup.counted {
		return
	}
	w.setup.counted = true
	w.label = w.tel.metrics.route(w.conn)
	w.tel.metrics.accepted(w.label)
}

// opened counts the connection, starts the transfer's spans and has the set-up told.
func (w *watcher) opened(s *lifecycle.Step) {
	if w.dropped != nil {
		w.tellSteps() // before there are spans
		w.keepSlow(s.Begun)
	}
	w.tel.metrics.opened(w.label)
	w.tel.metrics.reconnected(w.conn, w.label, s.Begun)
	f := w.conn.Facts()
	if w.tunnel = f.Tunnel.Opaque(); w.tunnel {
		w.tel.metrics.tunnelOpened(f.Mode)
	}
	as := *w // as it is now
	w.setup, w.mark = nil, nil
	w.tel.tellings.add(&telling{watcher: &as, opened: s.Begun})
	if w.sampled() && w.dropped == nil {
		w.open = w.tel.segments.begin(w, s.Begun)
	}
}

// upgraded tells of a connection that was opened.
func (w *watcher) upgraded(at time.Time) {
	w.tellSteps()
	w.endServer(at, statusSwitching, nil)
	w.answered(at, statusSwitching, lifecycle.ReasonNone)
	w.setup = nil
	w.accessOpened(at)
}

func (w *watcher) closed(o *lifecycle.Outcome) {
	if w.open != nil {
		if w.open.ended.IsZero() { // a fault of ours
			w.tel.segments.end(w.open, o.At)
		}
		w.open.last()
		w.open = nil
	}
	if w.closing != nil {
		w.tel.metrics.phase(w.near(w.server), w.label, w.closing)
	}
	w.keepClosed(o)
	w.closeSpan(o)
	w.tel.metrics.closed(w.near(w.server), w.label, w.conn, o)
	if w.tunnel {
		w.tel.metrics.tunnelClosed(w.near(w.server), w.conn, o)
	}
}

// answered records the request as the client saw it. A tunnel's answer was there when it was granted.
func (w *watcher) answered(at time.Time, status int, failed lifecycle.Reason) {
	f := w.conn.Facts()
	if f.Method == lifecycle.MethodSOCKS5 { // not a request of HTTP
		return
	}
	if !f.Granted.IsZero() {
		at, status, failed = f.Granted, grantedStatus(&f), lifecycle.ReasonNone
	}
	w.tel.metrics.handshake(w.near(w.server), w.conn, at.Sub(w.setup.head), status, failed)
}

// failedSetup tells of a connection that never upgraded.
func (w *watcher) failedSetup(o *lifecycle.Outcome) {
	w.keepFailed(o)
	if w.setup.server != nil {
		w.endServer(o.At, o.Status, o.Failure)
	} else {
		w.failedHead(o)
	}
	w.tel.metrics.failed(w.label, o)
	if !w.setup.head.IsZero() {
		w.answered(o.At, o.Status, o.Failure.Reason)
	}
}

const statusSwitching = 101

// sampled says whether the connection has spans. It has not with tracing off.
func (w *watcher) sampled() bool { return w.server.IsSampled() }

// mark is a ctx for metrics, whose exemplars have the ids of the span in it. One goes for all spans of a
// connection's set-up, and one for its end: nobody keeps it.
type mark struct {
	noop.Span
	of  trace.SpanContext
	ctx context.Context
}

// SpanContext implements trace.Span.
func (m *mark) SpanContext() trace.SpanContext { return m.of }

// near is a ctx with span in it, until the next call.
func (w *watcher) near(span trace.SpanContext) context.Context {
	if w.mark == nil {
		w.mark = new(mark)
		w.mark.ctx = trace.ContextWithSpan(context.Background(), w.mark)
	}
	w.mark.of = span
	return w.mark.ctx
}

// within returns ctx with the SERVER span in it.
func (w *watcher) within(ctx context.Context) context.Context {
	if !w.server.IsValid() || trace.SpanContextFromContext(ctx).Equal(w.server) {
		return ctx
	}
	return trace.ContextWithSpanContext(ctx, w.server)
}

// after makes s the span of something that is over, under the SERVER span, and returns its context. Of a
// connection that is not sampled nothing is made.
func (w *watcher) after(s *span, name string, begun, ended time.Time, failed lifecycle.Reason) trace.SpanContext {
	if !w.sampled() {
		s.release()
		return w.server
	}
	w.tel.tracing.child(s, w.server, name, trace.SpanKindInternal, begun)
	made := s.context
	finish(s, failed, ended)
	return made
}

// finish ends a span. failed is the reason of the phase that the span stands for, if it failed.
func finish(s *span, failed lifecycle.Reason, at time.Time) {
	if failed != lifecycle.ReasonNone {
		s.fail(failed.String())
	}
	s.end(at)
}
