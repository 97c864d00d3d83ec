package telemetry

import (
	"context"

	"go.opentelemetry.io/otel/trace"

	"wsproxy/lifecycle"
)

func (w *watcher) lookup(s *lifecycle.Step) trace.SpanContext {
	made := newSpan()
	l := &made.attrs
	l.text(keyDNSQuestionName, s.Host)
	if len(s.Answers) > 0 {
		*l = append(*l, keyDNSAnswers.StringSlice(s.Answers))
	}
	l.dial(s)
	return w.after(made, spanDNSLookup, s.Begun, s.Ended, s.Reason())
}

// dial adds what all steps of an attempt have.
func (l *list) dial(s *lifecycle.Step) {
	*l = append(*l, keyDialAttempt.Int(s.Attempt))
	if s.Phase == lifecycle.PhaseDNS || s.Phase == lifecycle.PhaseConnect {
		l.string(keyDialHop, s.Hop.String())
	}
	l.failure(s.Reason())
}

// connected makes a span of every address tried, and returns the winner's, or the last one's.
func (w *watcher) connected(s *lifecycle.Step) (span trace.SpanContext) {
	if len(s.Tries) == 0 { // failed before the first address
		made := newSpan()
		l := &made.attrs
		l.peer(s.Peer)
		l.string(keyConnectOutcome, outcome(s, nil))
		l.dial(s)
		return w.after(made, spanTCPConnect, s.Begun, s.Ended, s.Reason())
	}
	won := false
	for i := range s.Tries {
		t := w.tried(s, &s.Tries[i])
		if !won {
			span, won = t, s.Tries[i].Won
		}
	}
	return span
}

func (w *watcher) tried(s *lifecycle.Step, t *lifecycle.Try) trace.SpanContext {
	reason, ended := t.Reason(), t.Ended
	if ended.IsZero() { // given up with the phase
		ended = s.Ended
	}
	if s.Failure != nil && reason == lifecycle.ReasonNone { // called off with it
		reason = s.Reason()
	}
	made := newSpan()
	l := &made.attrs
	l.peer(t.Address)
	l.string(keyConnectOutcome, outcome(s, t))
	*l = append(*l, keyDialAttempt.Int(s.Attempt), keyDialHop.String(s.Hop.String()))
	if !t.Won {
		l.failure(reason)
	}
	failed := lifecycle.ReasonNone
	if s.Failure != nil { // one address that failed beside one that won is no error
		failed = reason
	}
	return w.after(made, spanTCPConnect, t.Begun, ended, failed)
}

// outcome tells what became of one connect: t, or the step where no single one is known.
func outcome(s *lifecycle.Step, t *lifecycle.Try) string {
	switch {
	case t == nil && s.Failure == nil, t != nil && t.Won:
		return "won"
	case s.Failure != nil, t.Reason() != lifecycle.ReasonNone:
		return "failed"
	}
	return "lost"
}

// beginTunnel makes the span of the proxy phase: its context goes into the CONNECT request to a trusted
// egress, so it has to be there before.
func (w *watcher) beginTunnel(ctx context.Context, s *lifecycle.Step) context.Context {
	if !w.sampled() {
		return w.within(ctx)
	}
	made := newSpan()
	l := &made.attrs
	name := spanProxySOCKS5
	if s.EgressType == "http" || s.EgressType == "https" {
		name = spanProxyConnect
		l.string(keyHTTPRequestMethod, "CONNECT")
	}
	l.server(s.Host)
	l.peer(s.Peer)
	l.egress(s)
	l.dial(s)
	return w.beginExchange(ctx, made, name, s)
}

// beginExchange starts the CLIENT span of a request whose context goes along with it.
func (w *watcher) beginExchange(ctx context.Context, made *span, name string, s *lifecycle.Step) context.Context {
	w.tel.tracing.child(made, w.server, name, trace.SpanKindClient, s.Begun)
	w.setup.exchange = made
	return trace.ContextWithSpanContext(ctx, made.context)
}

// exchanged ends it.
func (w *watcher) exchanged(s doneStep) trace.SpanContext {
	made := s.exchange
	if made == nil {
		return w.server
	}
	made.attrs.int(keyHTTPResponseStatusCode, s.Status)
	made.attrs.failure(s.Reason())
	span := made.context
	finish(made, s.Reason(), s.Ended)
	return span
}

func (l *list) egress(s *lifecycle.Step) {
	l.string(keyEgressType, s.EgressType)
	l.string(keyEgressName, s.EgressName)
}

func (w *watcher) secured(s *lifecycle.Step) trace.SpanContext {
	made := newSpan()
	l := &made.attrs
	l.tls(s.TLS)
	if s.TLS == nil || s.TLS.ServerName == "" {
		l.text(keyServerAddress, s.Host)
	}
	l.peer(s.Peer)
	l.string(keyTLSPeer, s.Hop.String())
	l.egress(s)
	l.dial(s)
	return w.after(made, spanTLSClientHandshake, s.Begun, s.Ended, s.Reason())
}

// beginUpgrade makes the span whose context goes upstream.
func (w *watcher) beginUpgrade(ctx context.Context, s *lifecycle.Step) context.Context {
	if !w.sampled() {
		return w.within(ctx)
	}
	return w.upgradeSpan(ctx, s, w.conn.Facts().Target)
}

func (w *watcher) upgradeSpan(ctx context.Context, s *lifecycle.Step, target string) context.Context {
	f := w.conn.Facts()
	made := newSpan()
	l := &made.attrs
	l.string(keyHTTPRequestMethod, "GET")
	l.string(keyURLScheme, targetScheme(target))
	l.text(keyURLPath, f.Path)
	l.server(s.Host)
	l.peer(s.Peer)
	l.string(keyNetworkProtocolName, "http")
	l.string(keyNetworkProtocolVersion, "1.1")
	l.string(keyTargetName, target)
	l.dial(s)
	return w.beginExchange(ctx, made, spanWebsocketUpgrade, s)
}

// targetScheme is the scheme of a configured target.
func targetScheme(target string) string {
	for i := range len(target) {
		if target[i] == ':' {
			return scheme(target[:i])
		}
	}
	return ""
}
