package main

import (
	"fmt"
	"maps"
	"testing"

	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlpcommon "go.opentelemetry.io/proto/otlp/common/v1"
	otlptrace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"wsproxy/internal/otlpsink"
	"wsproxy/lifecycle"
	"wsproxy/lifecycle/ledger"
)

// spansIn are all that a sink got by now.
func spansIn(t *testing.T, sink *otlpsink.Sink) (all []*otlptrace.Span) {
	t.Helper()
	var found collectortrace.ExportTraceServiceRequest
	if err := proto.Unmarshal(sink.Got(otlpsink.Traces), &found); err != nil {
		t.Fatal(err)
	}
	for _, r := range found.ResourceSpans {
		for _, scope := range r.ScopeSpans {
			all = append(all, scope.Spans...)
		}
	}
	return all
}

// spanOf are the spans of a phase of dialling.
var spanOf = map[lifecycle.Phase]string{
	lifecycle.PhaseDNS: "DNS lookup", lifecycle.PhaseConnect: "TCP connect", lifecycle.PhaseProxy: "proxy CONNECT",
	lifecycle.PhaseTLS: "TLS client handshake", lifecycle.PhaseUpgrade: "websocket upgrade",
}

// spansAgree wants the exported spans to say what the ledger says: a span in error for each phase of dialling that
// failed, one for an attempt, and a close for each connection that was open. No span is without its parent.
func (s *storm) spansAgree(sums ledger.Sums) {
	s.t.Helper()
	want := map[string]int{"close": sums.Kinds[lifecycle.OutcomeClosed]}
	for f, n := range sums.Phases {
		if name := spanOf[f.Phase]; name != "" {
			want[failedSpan(name, f.Reason.String())] += n
		}
	}
	var spans []*otlptrace.Span
	var got map[string]int
	within(s.t, func() bool { // they are exported in batches
		spans = spansIn(s.t, s.sink)
		got = told(spans)
		return maps.Equal(got, want)
	})
	same(s.t, "spans", got, want)
	ids, attempts := make(map[string]bool), make(map[string]bool)
	for _, x := range spans {
		ids[string(x.SpanId)] = true
	}
	for _, x := range spans {
		if len(x.ParentSpanId) > 0 && !ids[string(x.ParentSpanId)] {
			s.t.Errorf("%s has a parent that was not exported", x.Name)
		}
		if x.EndTimeUnixNano < x.StartTimeUnixNano {
			s.t.Errorf("%s ends before it begins", x.Name)
		}
		if n := attemptInError(x); n > 0 {
			key := fmt.Sprintf("%x %d", x.TraceId, n)
			if attempts[key] {
				s.t.Errorf("a second span of an attempt, %s, is in error", x.Name)
			}
			attempts[key] = true
		}
	}
	s.t.Logf("%d spans, %d attempts in error", len(spans), len(attempts))
}

// told counts the spans of closes, and of phases of dialling that failed.
func told(spans []*otlptrace.Span) map[string]int {
	all := make(map[string]int)
	for _, x := range spans {
		switch {
		case x.Name == "websocket close" || x.Name == "tunnel close":
			all["close"]++
		case attemptInError(x) > 0:
			all[failedSpan(x.Name, attributeOf(x, "error.type").GetStringValue())]++
		}
	}
	return all
}

// failedSpan is how spans in error are counted. That of a connect is about an address, which may have refused just when
// its client left; the phase then says why it was given up.
func failedSpan(name, reason string) string {
	if name == spanOf[lifecycle.PhaseConnect] {
		return name
	}
	return name + " " + reason
}

// attemptInError is the attempt at dialling that a span is about and that failed there; 0 if it is about no such one.
func attemptInError(x *otlptrace.Span) int64 {
	if x.Status.GetCode() != otlptrace.Status_STATUS_CODE_ERROR {
		return 0
	}
	return attributeOf(x, "wsproxy.dial.attempt").GetIntValue()
}

func attributeOf(x *otlptrace.Span, key string) *otlpcommon.AnyValue {
	for _, a := range x.Attributes {
		if a.Key == key {
			return a.Value
		}
	}
	return nil
}
