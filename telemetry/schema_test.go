package telemetry

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"wsproxy/lifecycle"
)

// emitted collects what came out, by entry of the schema.
type emitted map[string]map[string]bool

func (e emitted) add(t *testing.T, table map[string][]string, entry string, attrs []attribute.KeyValue) {
	t.Helper()
	allowed, known := table[entry]
	if !known {
		t.Errorf("%s is not in the schema", entry)
	}
	if e[entry] == nil {
		e[entry] = make(map[string]bool)
	}
	for _, a := range attrs {
		key := string(a.Key)
		if !e[entry][key] && !slices.Contains(allowed, key) {
			t.Errorf("%s: attribute %s is not in the schema", entry, key)
		}
		e[entry][key] = true
		values := schemaValues[key]
		if v := a.Value.String(); len(values) > 0 && !slices.Contains(values, v) && v != other && key != string(keyErrorType) {
			t.Errorf("%s: %s=%s is not a value of the schema", entry, key, v)
		}
	}
}

// missing lists what the schema has and e has not.
func (e emitted) missing(table map[string][]string) []string {
	var list []string
	for entry, attrs := range table {
		for _, a := range attrs {
			if !e[entry][a] {
				list = append(list, entry+": "+a)
			}
		}
		if e[entry] == nil {
			list = append(list, entry)
		}
	}
	slices.Sort(list)
	return list
}

func spanEntry(name string, kind trace.SpanKind) string {
	switch {
	case strings.HasPrefix(name, "state "):
		return "state {wsproxy.system.state}"
	case kind == trace.SpanKindServer && name != spanRequest && name != spanConnect && name != spanSOCKS5:
		return "{http.request.method} {http.route}"
	}
	return name
}

// TestEmittedNamesAreTheSchemas holds everything that a mix of connections emits against the schema,
// both ways.
func TestEmittedNamesAreTheSchemas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var y lifecycle.System
		h := newHarness(t, Settings{Routes: chat, Hosts: []string{"backend"}, System: &y, ViolationKinds: []string{"", "mask_missing"},
			Certificates: func() []Certificate { return []Certificate{{"example.com", time.Now()}} },
			Limits:       func() map[string]int { return map[string]int{"": 1, "chat": 1} },
			Workers:      func() []lifecycle.Worker { return []lifecycle.Worker{{Connections: 1}} },
			Upstreams:    chatUpstream})
		y.Enter(lifecycle.StateCreated, "")
		y.Enter(lifecycle.StateDraining, "SIGTERM")
		mix(h)
		everyAttribute(h)
		everyTunnelAttribute(h)
		targetsTold(h)
		h.losses.add(signalTraces, lossQueueFull, 1)
		h.Reloaded(lifecycle.Reload{Cause: "SIGHUP", Generation: 2, Changed: []string{"chat"}})
		h.Reloaded(lifecycle.Reload{Cause: "SIGHUP", Generation: 2, Failure: lifecycle.ReloadInvalid, Err: errors.New("routes: missing")})
		h.Drain(Drain{Route: "chat", Upstream: "chat", Share: 0.5, Connections: 1})(0)
		h.Telemetry.system.leave(time.Now())

		spans, events, points := make(emitted), make(emitted), make(emitted)
		for _, s := range h.spans.GetSpans() {
			spans.add(t, schemaSpans, spanEntry(s.Name, s.SpanKind), s.Attributes)
		}
		for _, r := range h.records.records {
			var attrs []attribute.KeyValue
			r.WalkAttributes(func(kv attribute.KeyValue) bool { attrs = append(attrs, kv); return true })
			events.add(t, schemaEvents, r.EventName(), attrs)
		}
		for _, scope := range h.collect().ScopeMetrics {
			for _, m := range scope.Metrics {
				for set := range pointsOf(m) {
					points.add(t, schemaMetrics, m.Name, set.ToSlice())
				}
			}
		}
		h.close()
		missing := slices.Concat(spans.missing(schemaSpans), events.missing(schemaEvents), points.missing(schemaMetrics))
		if len(missing) > 0 {
			t.Errorf("in the schema and never emitted:\n%s", strings.Join(missing, "\n"))
		}
	})
}

// visit plays a connection of a client that is known by its identity.
func (h *harness) visit(identity uint64) {
	s := h.visitor(identity)
	s.closing(cleanClose).End(s.ctx, nil)
	s.c.Closed(cleanClose)
}

// visitor is such a connection while it is open.
func (h *harness) visitor(identity uint64) *script {
	s := h.accept("203.0.113.7:51000")
	s.c.Update(func(f *lifecycle.Facts) { f.Visitor = identity })
	s.head()
	s.dial()
	s.upgrade()
	s.ctx, s.transfer = s.c.Begin(s.ctx, &lifecycle.Step{Phase: lifecycle.PhaseTransfer})
	return s
}

// closing begins the end of one.
func (s *script) closing(cl lifecycle.Close) *lifecycle.Step {
	s.transfer.End(s.ctx, nil)
	s.c.SetClose(cl)
	_, closing := s.c.Begin(s.ctx, &lifecycle.Step{Phase: lifecycle.PhaseClose})
	return closing
}

// everyAttribute plays what the mix of timelines leaves out.
func everyAttribute(h *harness) {
	h.visit(7)
	h.visit(7)
	tls := func(p *lifecycle.Step) { tlsDone(p); p.TLS.ClientSubject = "ab12" }
	s := h.accept("203.0.113.7:51000")
	s.step(lifecycle.Step{Phase: lifecycle.PhaseTLSAccept}, 0, nil, tls)
	s.step(lifecycle.Step{Phase: lifecycle.PhaseRequest}, 0, nil, nil)
	s.c.Update(facts)
	s.c.Update(route)
	s.c.Update(func(f *lifecycle.Facts) {
		f.Host, f.Egress, f.Extensions = "chat.example.com:8443", "corp", "permessage-deflate"
	})
	s.ctx = s.step(lifecycle.Step{Phase: lifecycle.PhaseRoute}, 0, nil, nil)
	s.dial()
	s.step(lifecycle.Step{Phase: lifecycle.PhaseTLS, Hop: lifecycle.HopTarget}, 0, nil, tlsDone)
	s.upgrade()
	s.c.Pinged(lifecycle.LegClient, time.Millisecond, true)
	s.c.Relayed(lifecycle.Upstream, time.Millisecond)
	s.c.Probed(lifecycle.LegUpstream, time.Millisecond, 1)
	s.c.Stalled(lifecycle.Downstream, time.Second)
	s.relay(0, lifecycle.Close{Cause: lifecycle.CauseTLSError, Initiator: lifecycle.InitiatorClient, Leg: lifecycle.LegClient, TLSTruncated: true, FrameTruncated: true})

	s = h.accept("203.0.113.7:51000")
	s.step(lifecycle.Step{Phase: lifecycle.PhaseTLSAccept}, 0, lifecycle.Fail(lifecycle.ReasonTLSProtocol, nil), tls)
	s.c.Failed(&lifecycle.Failure{Phase: lifecycle.PhaseTLSAccept, Reason: lifecycle.ReasonTLSProtocol}, 0)

	throughProxy := h.accept("203.0.113.7:51000")
	throughProxy.head()
	throughProxy.dial()
	throughProxy.c.Update(func(f *lifecycle.Facts) { f.Egress = "corp" })
	throughProxy.step(lifecycle.Step{Phase: lifecycle.PhaseProxy, Host: "backend:9000", EgressType: "http", EgressName: "corp", Peer: "10.1.1.1:3128"}, 0, nil, nil)
	fail(throughProxy, lifecycle.Step{Phase: lifecycle.PhaseTLS, Host: "backend", Peer: "10.1.1.1:3128", EgressName: "corp", EgressType: "http"}, lifecycle.ReasonTLSAlert, 502)
}

func TestSchemaValuesAreLifecycles(t *testing.T) {
	text := func(list any) []string {
		var names []string
		switch l := list.(type) {
		case []lifecycle.Phase:
			for _, v := range l {
				names = append(names, v.String())
			}
		case []lifecycle.Cause:
			for _, v := range l {
				names = append(names, v.String())
			}
		case []lifecycle.TargetState:
			for _, v := range l {
				names = append(names, v.String())
			}
		case []lifecycle.State:
			for _, v := range l {
				names = append(names, v.String())
			}
		}
		return names
	}
	reasons := make(map[string]bool)
	for _, p := range lifecycle.Phases() {
		for _, r := range lifecycle.Reasons(p) {
			reasons[r.String()] = true
		}
	}
	for key, want := range map[attribute.Key][]string{
		keyPhaseName: text(lifecycle.Phases()), keyCloseCause: text(lifecycle.Causes()), keySystemState: text(lifecycle.States()),
		keyUpstreamState: text(lifecycle.TargetStates()), keyUpstreamPreviousState: text(lifecycle.TargetStates()),
		keyErrorType:      slices.Collect(maps.Keys(reasons)),
		keyDirection:      {lifecycle.Upstream.String(), lifecycle.Downstream.String()},
		keyCloseLeg:       {lifecycle.LegClient.String(), lifecycle.LegUpstream.String()},
		keyCloseInitiator: {lifecycle.InitiatorClient.String(), lifecycle.InitiatorUpstream.String(), lifecycle.InitiatorProxy.String()},
		keyMode:           {lifecycle.ModeReverse.String(), lifecycle.ModeForward.String()},
		keyDialHop:        {lifecycle.HopTarget.String(), lifecycle.HopEgress.String()},
	} {
		got := slices.Sorted(slices.Values(schemaValues[string(key)]))
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", key, got, want)
		}
	}
}

func TestSchemaNamesAreTheConventions(t *testing.T) {
	for got, want := range map[attribute.Key]attribute.Key{
		keyClientAddress: semconv.ClientAddressKey, keyClientPort: semconv.ClientPortKey, keyCPUMode: semconv.CPUModeKey,
		keyDNSAnswers: semconv.DNSAnswersKey, keyDNSQuestionName: semconv.DNSQuestionNameKey, keyErrorType: semconv.ErrorTypeKey,
		keyHTTPRequestMethod: semconv.HTTPRequestMethodKey, keyHTTPResponseStatusCode: semconv.HTTPResponseStatusCodeKey, keyHTTPRoute: semconv.HTTPRouteKey,
		keyNetworkPeerAddress: semconv.NetworkPeerAddressKey, keyNetworkPeerPort: semconv.NetworkPeerPortKey,
		keyNetworkProtocolName: semconv.NetworkProtocolNameKey, keyNetworkProtocolVersion: semconv.NetworkProtocolVersionKey,
		keyServerAddress: semconv.ServerAddressKey, keyServerPort: semconv.ServerPortKey, keyTLSCipher: semconv.TLSCipherKey, keyTLSCurve: semconv.TLSCurveKey,
		keyTLSEstablished: semconv.TLSEstablishedKey, keyTLSNextProtocol: semconv.TLSNextProtocolKey, keyTLSProtocolVersion: semconv.TLSProtocolVersionKey,
		keyTLSResumed: semconv.TLSResumedKey, keyURLPath: semconv.URLPathKey, keyURLScheme: semconv.URLSchemeKey, keyUserAgentOriginal: semconv.UserAgentOriginalKey,
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if schemaURL != semconv.SchemaURL {
		t.Errorf("schema URL: got %s, want %s", schemaURL, semconv.SchemaURL)
	}
	if got, want := fmt.Sprint(messageSizeBounds), fmt.Sprint(lifecycle.MessageSizeBounds()); got != want {
		t.Errorf("message sizes: got buckets %s, want %s", got, want)
	}
}
