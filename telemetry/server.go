package telemetry

import (
	"context"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/trace"

	"wsproxy/lifecycle"
)

// beginServer makes the SERVER span, now that name, parent and sampling are known, with the start that
// was noted before, and the TLS handshake under it.
func (w *watcher) beginServer(ctx context.Context) context.Context {
	if w.tel.tracing == nil {
		return ctx
	}
	f := w.conn.Facts()
	// An incoming context that is not trusted is linked, not continued, and its sampled flag and baggage
	// are ignored: who calls us must not choose what we pay for.
	parent := trace.SpanContextFromContext(ctx)
	var links []trace.Link
	if !f.Trusted {
		if parent.IsValid() {
			links = []trace.Link{{SpanContext: parent}}
		}
		parent = trace.SpanContext{}
		ctx = baggage.ContextWithoutBaggage(ctx)
	}
	span := w.tel.tracing.root(parent, serverName(f.Method, f.Pattern), trace.SpanKindServer, w.conn.Accepted, serverAttributes(w.conn, &f), links...)
	w.setup.server, w.server, w.setup.named, w.ctx = span, span.context, f.Route != "", nil
	id := w.server.TraceID().String()
	w.conn.SetTrace(id, "00-"+id+"-"+w.server.SpanID().String()+"-"+w.server.TraceFlags().String())
	switch t := w.setup.tls; {
	case !w.sampled():
		if w.tel.keeps() {
			w.dropped = &dropped{parent: parent, links: links}
		}
	case t != nil:
		w.accepting(t)
	}
	return w.within(ctx)
}

// startServer starts the SERVER span of a plain request, as beginServer does an upgrade's.
func startServer(ctx context.Context, t trace.Tracer, name string, at time.Time, trusted bool, attrs list) (context.Context, trace.Span) {
	opts := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(at), trace.WithAttributes(attrs...)}
	if !trusted {
		opts = append(opts, trace.WithNewRoot())
		if incoming := trace.SpanContextFromContext(ctx); incoming.IsValid() {
			opts = append(opts, trace.WithLinks(trace.Link{SpanContext: incoming}))
		}
		ctx = baggage.ContextWithoutBaggage(ctx)
	}
	return t.Start(ctx, name, opts...)
}

func serverName(m, pattern string) string {
	switch m {
	case lifecycle.MethodSOCKS5:
		return spanSOCKS5
	case http.MethodConnect:
		return spanConnect
	}
	m = method(m)
	if m == other {
		m = "HTTP"
	}
	if pattern == "" {
		return m
	}
	return m + " " + pattern
}

// serverAttributes are those known when the request head is complete.
func serverAttributes(c *lifecycle.Connection, f *lifecycle.Facts) list {
	l := make(list, 0, 20)
	protocol := "socks"
	if f.Method != lifecycle.MethodSOCKS5 {
		protocol = "http"
		l.string(keyHTTPRequestMethod, method(f.Method))
	}
	l.string(keyHTTPRoute, f.Pattern)
	l.string(keyURLScheme, scheme(f.Scheme))
	l.text(keyURLPath, f.Path)
	l.server(f.Host)
	l.peer(c.Client)
	l.client(f.Client)
	l.text(keyUserAgentOriginal, f.UserAgent)
	l.string(keyNetworkProtocolName, protocol)
	l.text(keyNetworkProtocolVersion, f.Protocol)
	l.string(keyConnectionID, c.ID)
	l.string(keyMode, f.Mode.String())
	l = append(l, keyConfigGeneration.Int(f.Generation))
	l.string(keyRouteName, f.Route)
	l.string(keyUpstreamName, f.Upstream)
	return l
}

// named gives the SERVER span its final name if the route was not known at its start. Its attributes
// come at the end.
func (w *watcher) named() {
	if w.setup.server == nil || w.setup.named || !w.sampled() {
		return
	}
	f := w.conn.Facts()
	w.setup.server.rename(serverName(f.Method, f.Pattern))
}

// endServer ends the SERVER span: with a 101, or with the response of a failed connection.
func (w *watcher) endServer(at time.Time, status int, failure *lifecycle.Failure) {
	span := w.setup.server
	if span == nil {
		return
	}
	if w.sampled() {
		f := w.conn.Facts()
		if !w.setup.named { // else the span has them from its start
			var l list
			l.string(keyHTTPRoute, f.Pattern)
			l.string(keyRouteName, f.Route)
			l.string(keyUpstreamName, f.Upstream)
			span.set(l)
		}
		span.set(resultAttributes(&f, status, failure))
		if failure != nil && w.isServerError(status, failure) {
			span.fail(failure.Phase.String() + ": " + failure.Reason.String())
		}
	}
	span.end(at)
}

// resultAttributes are those known at the SERVER span's end.
func resultAttributes(f *lifecycle.Facts, status int, failure *lifecycle.Failure) list {
	l := make(list, 0, 10)
	if !f.Granted.IsZero() { // what came of the tunnel's content is told by the spans below
		status = grantedStatus(f)
	}
	l.int(keyHTTPResponseStatusCode, status)
	l.text(keyTargetName, f.Target)
	l.string(keyEgressName, f.Egress)
	l.string(keyIdentityHash, f.Identity)
	l.tunnel(f)
	if failure != nil {
		l.string(keyPhaseName, failure.Phase.String())
		l.failure(failure.Reason)
		return l
	}
	l.text(keyWebsocketSubprotocol, f.Subprotocol)
	l.text(keyWebsocketExtensions, f.Extensions)
	l.string(keyFraming, f.Framing)
	return l
}

// tunnel tells what is in a tunnel.
func (l *list) tunnel(f *lifecycle.Facts) {
	l.string(keyTunnelProtocol, f.Tunnel.String())
	l.text(keyTunnelServerName, f.ServerName)
	l.text(keyTunnelALPN, f.ALPN)
	l.flag(keyTunnelIntercepted, f.Intercepted)
	if f.Tunnel == lifecycle.TunnelWebSocket {
		l.text(keyURLPath, f.Path)
	}
}

// grantedStatus is what a tunnel was granted with; SOCKS5 has no such status.
func grantedStatus(f *lifecycle.Facts) int {
	if f.Method == lifecycle.MethodSOCKS5 {
		return 0
	}
	return 200
}

// isServerError says whether a failure is one of a SERVER span: 5xx, or no answer, because the client
// left before it or because none could be given. 4xx is the client's, and so is what SOCKS5, which has no
// status, is refused.
func (w *watcher) isServerError(status int, f *lifecycle.Failure) bool {
	if f.Kind() == lifecycle.OutcomeRejected && w.conn.Facts().Method == lifecycle.MethodSOCKS5 {
		return false
	}
	return status >= 500 || status == 0 || f.Reason == lifecycle.ReasonClientGone
}

// failedHead makes the root span of a connection that failed before its request was complete: of the
// TLS handshake if that failed, else of the request, with the TLS handshake under it.
func (w *watcher) failedHead(o *lifecycle.Outcome) {
	if w.tel.tracing == nil {
		return
	}
	if w.setup.request == nil {
		if t := w.setup.tls; t != nil {
			attrs := acceptAttributes(t)
			attrs.peer(w.conn.Client)
			attrs.string(keyConnectionID, w.conn.ID)
			w.root(spanTLSServerHandshake, trace.SpanKindInternal, t.Begun, t.Ended, t.Reason(), o, attrs)
		}
		return
	}
	var attrs list
	attrs.client(w.conn.Facts().Client)
	attrs.peer(w.conn.Client)
	attrs.int(keyHTTPResponseStatusCode, o.Status)
	attrs.string(keyConnectionID, w.conn.ID)
	attrs.string(keyPhaseName, o.Failure.Phase.String())
	attrs.failure(o.Failure.Reason)
	status := lifecycle.ReasonNone
	if w.isServerError(o.Status, o.Failure) {
		status = o.Failure.Reason
	}
	w.root(spanRequest, trace.SpanKindServer, w.conn.Accepted, o.At, status, o, attrs)
	if t := w.setup.tls; t != nil {
		w.accepting(t)
	}
}

// accepting makes the span of a TLS handshake with the client, under the SERVER span.
func (w *watcher) accepting(s *lifecycle.Step) context.Context {
	return w.after(spanTLSServerHandshake, s.Begun, s.Ended, s.Reason(), acceptAttributes(s))
}

// root makes a span of something that is over and is a trace of its own.
func (w *watcher) root(name string, kind trace.SpanKind, begun, ended time.Time, failed lifecycle.Reason, o *lifecycle.Outcome, attrs list) {
	span := w.tel.tracing.root(trace.SpanContext{}, name, kind, begun, attrs)
	if o.Kind == lifecycle.OutcomeFailed && w.tel.settings.Keep.Failed && w.tel.keeps() {
		span.context = span.context.WithTraceFlags(span.context.TraceFlags().WithSampled(true))
	}
	finish(span, failed, ended)
	w.server, w.ctx = span.context, nil
	w.conn.SetTrace(w.server.TraceID().String(), "")
}

func acceptAttributes(s *lifecycle.Step) list {
	l := make(list, 0, 12)
	l.tls(s.TLS)
	l.failure(s.Reason())
	return l
}
