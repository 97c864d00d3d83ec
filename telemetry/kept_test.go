package telemetry

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"wsproxy/lifecycle"
)

// upstreamReset is an abnormal close.
var upstreamReset = lifecycle.Close{Cause: lifecycle.CauseUpstreamReset, Initiator: lifecycle.InitiatorUpstream, Code: lifecycle.NoCode}

var everything = Keep{Failed: true, Abnormal: true, Slow: time.Second}

// opens plays a connection up to its end, after a dial that takes so long.
func opens(wait time.Duration, end lifecycle.Close) func(*script) {
	return func(s *script) {
		s.head()
		s.step(lifecycle.Step{Phase: lifecycle.PhaseDNS, Host: "backend"}, wait, nil, nil)
		s.reach()
		s.upgrade()
		s.relay(3*time.Hour, end)
	}
}

// reach is dial's connect.
func (s *script) reach() {
	s.c.Update(func(f *lifecycle.Facts) { f.Target = "ws://backend:9000" })
	s.step(lifecycle.Step{Phase: lifecycle.PhaseConnect}, 4*time.Millisecond, nil, func(p *lifecycle.Step) {
		p.Tries, p.Peer = won("10.0.0.5:9000", 4*time.Millisecond), "10.0.0.5:9000"
	})
}

// TestDroppedConnectionsAreKept has the sampler drop everything.
func TestDroppedConnectionsAreKept(t *testing.T) {
	whole := []string{"websocket transfer", "websocket close"}
	for _, test := range []struct {
		name string
		keep Keep
		play func(*script)
		want bool
		last []string // names of the last spans
	}{
		{"fine", everything, opens(0, cleanClose), false, nil},
		{"slow", everything, opens(time.Second, cleanClose), true, whole},
		{"slow, and that is no reason", Keep{Failed: true, Abnormal: true}, opens(time.Hour, cleanClose), false, nil},
		{"abnormal", everything, opens(0, upstreamReset), true, whole},
		{"abnormal, and that is no reason", Keep{Failed: true, Slow: time.Second}, opens(0, upstreamReset), false, nil},
		{"slow and abnormal", everything, opens(time.Second, upstreamReset), true, whole},
		{"failed", everything, failsToDial, true, []string{"DNS lookup"}},
		{"failed, and that is no reason", Keep{Abnormal: true, Slow: 1}, failsToDial, false, nil},
		{"refused", everything, func(s *script) {
			s.step(lifecycle.Step{Phase: lifecycle.PhaseRequest}, 0, nil, nil)
			s.c.Update(facts)
			s.c.Update(route)
			fail(s, lifecycle.Step{Phase: lifecycle.PhaseRoute}, lifecycle.ReasonOriginDenied, 403)
		}, false, nil},
		{"failed TLS", everything, func(s *script) {
			s.step(lifecycle.Step{Phase: lifecycle.PhaseTLSAccept}, 0, lifecycle.Fail(lifecycle.ReasonTLSProtocol, nil), nil)
			s.c.Failed(&lifecycle.Failure{Phase: lifecycle.PhaseTLSAccept, Reason: lifecycle.ReasonTLSProtocol}, 0)
		}, true, []string{"TLS server handshake"}},
		{"through an egress", everything, throughConnectReset, true, whole},
		{"intercepted", Keep{Abnormal: true}, interceptedWebSocket(upstreamReset), true, whole},
		{"intercepted and distrusted", everything, distrustful, true, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t, Settings{Routes: chat, Ratio: new(0.0), Keep: test.keep})
				s := h.accept("203.0.113.7:51000")
				test.play(s)
				h.tellings.flush()
				spans := h.spans.GetSpans()
				h.close()
				if (len(spans) > 0) != test.want {
					t.Fatalf("got %d spans, want any: %t", len(spans), test.want)
				}
				if !test.want {
					return
				}
				var names []string
				for _, span := range spans {
					names = append(names, span.Name)
					if got := span.SpanContext.TraceID().String(); got != s.c.TraceID() {
						t.Errorf("%s: got trace %s, want the connection's, %s", span.Name, got, s.c.TraceID())
					}
				}
				if at := len(names) - len(test.last); len(names) > 2 && test.last != nil && test.last[0] == whole[0] && !slices.Equal(names[at:], test.last) {
					t.Errorf("got %q, want %q at the end, once", names, test.last)
				}
				golden(t, "kept_"+strings.NewReplacer(" ", "_", ",", "").Replace(test.name)+".timeline", timeline(spans))
			})
		})
	}
}

func failsToDial(s *script) {
	s.head()
	fail(s, lifecycle.Step{Phase: lifecycle.PhaseDNS, Host: "backend"}, lifecycle.ReasonDNSNotFound, 502)
}

func throughConnectReset(s *script) {
	s.step(lifecycle.Step{Phase: lifecycle.PhaseTLSAccept}, 8*time.Millisecond, nil, tlsDone)
	s.head()
	s.c.Update(func(f *lifecycle.Facts) { f.Egress = "corp" })
	s.step(lifecycle.Step{Phase: lifecycle.PhaseConnect, Hop: lifecycle.HopEgress, EgressName: "corp", EgressType: "http"}, time.Second/2, lifecycle.Fail(lifecycle.ReasonConnectTimeout, nil), nil)
	s.c.NextAttempt()
	s.dial()
	s.step(lifecycle.Step{Phase: lifecycle.PhaseProxy, Host: "backend:9000", EgressType: "http", EgressName: "corp", Peer: "10.1.1.1:3128"}, 5*time.Millisecond, nil, nil)
	s.step(lifecycle.Step{Phase: lifecycle.PhaseTLS, Hop: lifecycle.HopTarget, Host: "backend"}, time.Millisecond, nil, tlsDone)
	s.upgrade()
	s.relay(time.Minute, upstreamReset)
}

// TestKeptSpansHaveThePropagatedIDs: what went upstream and to the client, with flag 0, names the spans.
func TestKeptSpansHaveThePropagatedIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Settings{Routes: chat, Ratio: new(0.0), Keep: everything})
		s := h.accept("203.0.113.7:51000")
		s.step(lifecycle.Step{Phase: lifecycle.PhaseRequest}, 0, nil, nil)
		s.c.Update(facts)
		s.c.Update(func(f *lifecycle.Facts) { f.Trusted = true })
		header := http.Header{"Traceparent": {strings.TrimSuffix(incoming, "01") + "00"}}
		s.ctx = h.Propagator().Extract(s.ctx, header)
		s.ctx = s.step(lifecycle.Step{Phase: lifecycle.PhaseRoute}, 0, nil, func(*lifecycle.Step) { s.c.Update(route) })
		s.dial()
		ctx := s.upgrade()
		h.Propagator().Inject(ctx, header)
		s.relay(time.Minute, upstreamReset)
		h.tellings.flush()
		defer h.close()
		i := slices.IndexFunc(h.spans.GetSpans(), func(x tracetest.SpanStub) bool { return x.SpanKind == trace.SpanKindServer })
		server := h.spans.GetSpans()[i]
		id := server.SpanContext
		want := "00-" + incomingTrace + "-" + id.SpanID().String() + "-00"
		if got := header.Get("Traceparent"); got != want || s.c.TraceResponse() != want {
			t.Errorf("got %s upstream and %s to the client, want %s", got, s.c.TraceResponse(), want)
		}
		if got := server.Parent.SpanID().String(); !strings.Contains(incoming, got) || !server.Parent.IsRemote() {
			t.Errorf("got parent %s, want the client's", got)
		}
		for _, x := range h.spans.GetSpans() {
			if x.SpanKind != trace.SpanKindServer && x.Parent.SpanID() != id.SpanID() {
				t.Errorf("%s: got parent %s, want the SERVER span %s", x.Name, x.Parent.SpanID(), id.SpanID())
			}
		}
	})
}
