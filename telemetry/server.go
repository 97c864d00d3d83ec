package telemetry

import (
	"context"
	"encoding/hex"
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
		if baggage.FromContext(ctx).Len() > 0 {
			ctx = baggage.ContextWithoutBaggage(ctx)
		}
	}
	made := newSpan()
	made.attrs.request(w.conn, &f)
	w.tel.tracing.root(made, parent, serverName(f.Method, f.Pattern), trace.SpanKindServer, w.conn.Accepted, links...)
	w.setup.server, w.server, w.setup.named = made, made.context, f.Route != ""
	response := traceResponse(w.server)
	w.conn.SetTrace(response[3:35], response)
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

// traceResponse is the header of that name, in the form of a traceparent (W3C Trace Context Level 2).
func traceResponse(c trace.SpanContext) string {
	traceID, spanID := c.TraceID(), c.SpanID()
	b := append(make([]byte, 0, 55), "00-"...)
	b = append(hex.AppendEncode(b, traceID[:]), '-')
	b = append(hex.AppendEncode(b, spanID[:]), '-')
	return string(hex.AppendEncode(b, []byte{byte(c.TraceFlags())}))
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

// request adds what a SERVER span has when the request head is complete.
func (l *list) request(c *lifecycle.Connection, f *lifecycle.Facts) {
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
	*l = append(*l, keyConfigGeneration.Int(f.Generation))
	l.string(keyRouteName, f.Route)
	l.string(keyUpstreamName, f.Upstream)
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
	made := w.setup.server
	if made == nil {
		return
	}
	if w.sampled() {
		f := w.conn.Facts()
		if !w.setup.named { // else the span has them from its start
			made.attrs.string(keyHTTPRoute, f.Pattern)
			made.attrs.string(keyRouteName, f.Route)
			made.attrs.string(keyUpstreamName, f.Upstream)
		}
		made.attrs.result(&f, status, failure)
		if failure != nil && w.isServerError(status, failure) {
			made.fail(failure.Phase.String() + ": " + failure.Reason.String())
		}
	}
	made.end(at)
	w.setup.server = nil
}

// result adds what is known at the SERVER span's end.
func (l *list) result(f *lifecycle.Facts, status int, failure *lifecycle.Failure) {
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
		return
	}
	l.text(keyWebsocketSubprotocol, f.Subprotocol)
	l.text(keyWebsocketExtensions, f.Extensions)
	l.string(keyFraming, f.Framing)
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
			made := newSpan()
			made.attrs.accept(t)
			made.attrs.peer(w.conn.Client)
			made.attrs.string(keyConnectionID, w.conn.ID)
			w.root(made, spanTLSServerHandshake, trace.SpanKindInternal, t.Begun, t.Ended, t.Reason(), o)
		}
		return
	}
	made := newSpan()
	l := &made.attrs
	l.client(w.conn.Facts().Client)
	l.peer(w.conn.Client)
	l.int(keyHTTPResponseStatusCode, o.Status)
	l.string(keyConnectionID, w.conn.ID)
	l.string(keyPhaseName, o.Failure.Phase.String())
	l.failure(o.Failure.Reason)
	status := lifecycle.ReasonNone
	if w.isServerError(o.Status, o.Failure) {
		status = o.Failure.Reason
	}
	w.root(made, spanRequest, trace.SpanKindServer, w.conn.Accepted, o.At, status, o)
	if t := w.setup.tls; t != nil {
		w.accepting(t)
	}
}

// accepting makes the span of a TLS handshake with the client, under the SERVER span.
func (w *watcher) accepting(s *lifecycle.Step) trace.SpanContext {
	made := newSpan()
	made.attrs.accept(s)
	return w.after(made, spanTLSServerHandshake, s.Begun, s.Ended, s.Reason())
}

// root makes s the span of something that is over and is a trace of its own.
func (w *watcher) root(s *span, name string, kind trace.SpanKind, begun, ended time.Time, failed lifecycle.Reason, o *lifecycle.Outcome) {
	w.tel.tracing.root(s, trace.SpanContext{}, name, kind, begun)
	if o.Kind == lifecycle.OutcomeFailed && w.tel.settings.Keep.Failed && w.tel.keeps() {
		s.context = s.context.WithTraceFlags(s.context.TraceFlags().WithSampled(true))
	}
	w.server = s.context
	finish(s, failed, ended)
	w.conn.SetTrace(w.server.TraceID().String(), "")
}

// accept adds what there is to tell of a TLS handshake with the client.
func (l *list) accept(s *lifecycle.Step) {
	l.tls(s.TLS)
	l.failure(s.Reason())
}
