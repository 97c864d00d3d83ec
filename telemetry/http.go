package telemetry

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// HTTP gives plain requests their SERVER span and their point in http.server.request.duration. pattern
// returns the path part of the route's pattern, empty for none; trusted says whether the incoming trace
// context, which the request's context holds already, may be the parent (nil: never).
func (t *Telemetry) HTTP(next http.Handler, pattern func(*http.Request) string, trusted func(*http.Request) bool) http.Handler {
	if t.tracer == nil && t.metrics == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := time.Now()
		route := pattern(r)
		ctx, span := t.beginRequest(r, route, begun, trusted != nil && trusted(r))
		answer := &answer{ResponseWriter: w}
		defer func() {
			// A panic of next ends the connection (net/http); it is told as a 500 and goes on.
			t.endRequest(ctx, span, r, route, time.Since(begun), answer.status)
		}()
		answer.panicked = true
		next.ServeHTTP(answer, r.WithContext(ctx))
		answer.panicked = false
	})
}

func (t *Telemetry) beginRequest(r *http.Request, route string, at time.Time, trusted bool) (context.Context, trace.Span) {
	if t.tracer == nil {
		return r.Context(), nil
	}
	l := make(list, 0, 12)
	l.string(keyHTTPRequestMethod, method(r.Method))
	l.string(keyHTTPRoute, route)
	l.string(keyURLScheme, requestScheme(r))
	l.text(keyURLPath, r.URL.Path)
	l.server(r.Host)
	l.peer(r.RemoteAddr)
	l.client(r.RemoteAddr)
	l.text(keyUserAgentOriginal, r.UserAgent())
	l.string(keyNetworkProtocolName, "http")
	l.string(keyNetworkProtocolVersion, requestProtocol(r))
	return startServer(r.Context(), t.tracer, serverName(r.Method, route), at, trusted, l)
}

func (t *Telemetry) endRequest(ctx context.Context, span trace.Span, r *http.Request, route string, took time.Duration, status func() int) {
	code := status()
	k := exchange{method: method(r.Method), scheme: requestScheme(r), route: route, protocol: requestProtocol(r), status: code}
	if code >= 500 {
		k.failed = strconv.Itoa(code)
	}
	t.metrics.request(ctx, took, k)
	if span == nil {
		return
	}
	var l list
	l.int(keyHTTPResponseStatusCode, code)
	l.string(keyErrorType, k.failed)
	span.SetAttributes(l...)
	if k.failed != "" {
		span.SetStatus(codes.Error, "")
	}
	span.End()
}

// answer notes the status of a response.
type answer struct {
	http.ResponseWriter
	code     int
	panicked bool
}

func (a *answer) WriteHeader(code int) {
	if a.code == 0 && (code >= 200 || code == statusSwitching) {
		a.code = code
	}
	a.ResponseWriter.WriteHeader(code)
}

func (a *answer) Write(p []byte) (int, error) {
	if a.code == 0 {
		a.code = http.StatusOK
	}
	return a.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach what the server can do.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *answer) status() int {
	switch {
	case a.code != 0:
		return a.code
	case a.panicked:
		return http.StatusInternalServerError
	}
	return http.StatusOK // what net/http writes for a handler that wrote nothing
}

func requestScheme(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

func requestProtocol(r *http.Request) string {
	switch r.ProtoMajor {
	case 1:
		return protocolVersion("1." + strconv.Itoa(r.ProtoMinor))
	default:
		return protocolVersion(strconv.Itoa(r.ProtoMajor))
	}
}
