package telemetry

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"wsproxy/lifecycle"
)

const (
	incomingTrace = "0af7651916cd43dd8448eb211c80319c"
	incoming      = "00-" + incomingTrace + "-b7ad6b7169203331-01"
)

// timelines are the kinds of connection whose spans are golden text.
var timelines = []struct {
	name     string
	settings Settings
	play     func(*script)
}{
	{"direct", Settings{}, func(s *script) {
		s.head()
		s.dial()
		s.upgrade()
		s.relay(10*time.Second, cleanClose)
	}},
	{"wss_through_connect", Settings{}, throughConnect},
	{"socks5", Settings{}, throughSOCKS},
	{"linked", Settings{Linked: true}, func(s *script) {
		s.head()
		s.dial()
		s.upgrade()
		s.relay(40*time.Second, cleanClose)
	}},
	{"segments_off", Settings{Segments: Segments{Off: true}}, func(s *script) {
		s.head()
		s.dial()
		s.upgrade()
		s.relay(3*time.Hour, cleanClose)
	}},
	{"untrusted_parent", Settings{}, func(s *script) { withIncoming(s, false) }},
	{"trusted_parent", Settings{}, func(s *script) { withIncoming(s, true) }},
	{"retry", Settings{}, retried},
	{"happy_eyeballs", Settings{}, happyEyeballs},
	{"failed_tls_accept", Settings{}, func(s *script) {
		s.step(lifecycle.Step{Phase: lifecycle.PhaseTLSAccept}, time.Millisecond, lifecycle.Fail(lifecycle.ReasonTLSNoCertificate, nil), nil)
		s.c.Failed(&lifecycle.Failure{Phase: lifecycle.PhaseTLSAccept, Reason: lifecycle.ReasonTLSNoCertificate}, 0)
	}},
	{"incomplete_head", Settings{}, func(s *script) {
		s.step(lifecycle.Step{Phase: lifecycle.PhaseTLSAccept}, time.Millisecond, nil, tlsDone)
		fail(s, lifecycle.Step{Phase: lifecycle.PhaseRequest}, lifecycle.ReasonRequestTimeout, 408)
	}},
	{"rejected", Settings{}, func(s *script) {
		s.step(lifecycle.Step{Phase: lifecycle.PhaseRequest}, time.Millisecond, nil, nil)
		s.c.Update(facts)
		s.c.Update(route)
		fail(s, lifecycle.Step{Phase: lifecycle.PhaseRoute}, lifecycle.ReasonOriginDenied, 403)
	}},
	{"failed_dns", Settings{}, func(s *script) {
		s.head()
		fail(s, lifecycle.Step{Phase: lifecycle.PhaseDNS, Host: "backend"}, lifecycle.ReasonDNSNotFound, 502)
	}},
	{"failed_connect", Settings{}, func(s *script) {
		s.head()
		ctx, p := s.c.Begin(s.ctx, &lifecycle.Step{Phase: lifecycle.PhaseConnect})
		time.Sleep(time.Millisecond)
		p.Tries = []lifecycle.Try{
			{Address: "10.0.0.5:9000", Begun: p.Begun, Ended: time.Now(), Err: syscall.ECONNREFUSED},
			{Address: "10.0.0.6:9000", Begun: time.Now()},
		}
		time.Sleep(time.Second)
		s.failed(p.End(ctx, lifecycle.Fail(lifecycle.ReasonConnectTimeout, nil)), 504)
	}},
	{"failed_proxy", Settings{}, func(s *script) {
		s.head()
		s.dial()
		fail(s, lifecycle.Step{Phase: lifecycle.PhaseProxy, Host: "backend:9000", EgressType: "http", EgressName: "corp", Status: 407}, lifecycle.ReasonProxyAuthRequired, 502)
	}},
	{"failed_tls", Settings{}, func(s *script) {
		s.head()
		s.dial()
		fail(s, lifecycle.Step{Phase: lifecycle.PhaseTLS, Host: "backend"}, lifecycle.ReasonTLSUnknownAuthority, 502)
	}},
	{"failed_upgrade", Settings{}, func(s *script) {
		s.head()
		s.dial()
		fail(s, lifecycle.Step{Phase: lifecycle.PhaseUpgrade, Host: "backend:9000", Status: 404}, lifecycle.ReasonUpgradeRejected, 404)
	}},
	{"client_left", Settings{}, func(s *script) {
		s.head()
		s.dial()
		fail(s, lifecycle.Step{Phase: lifecycle.PhaseUpgrade, Host: "backend:9000"}, lifecycle.ReasonClientGone, 0)
	}},
	{"reset", Settings{}, func(s *script) {
		s.head()
		s.dial()
		s.upgrade()
		s.relay(time.Second, lifecycle.Close{Cause: lifecycle.CauseUpstreamReset, Initiator: lifecycle.InitiatorUpstream, Code: lifecycle.NoCode, FrameTruncated: true})
	}},
	{"tunnel", Settings{}, opaqueTunnel("CONNECT")},
	{"tunnel_socks5", Settings{}, opaqueTunnel(lifecycle.MethodSOCKS5)},
	{"tunnel_websocket", Settings{}, webSocketTunnel},
	{"tunnel_refused", Settings{}, refusedInTunnel},
	{"tunnel_intercepted", Settings{}, interceptedWebSocket(cleanClose)},
	{"tunnel_intercepted_other", Settings{}, interceptedOther},
	{"tunnel_distrusted", Settings{}, distrustful},
	{"tunnel_denied", Settings{}, deniedSOCKS},
	{"unused", Settings{}, func(s *script) {
		s.step(lifecycle.Step{Phase: lifecycle.PhaseRequest}, time.Second, errors.New("EOF"), nil)
		s.c.Unused()
	}},
	{"dismissed", Settings{}, func(s *script) {
		s.step(lifecycle.Step{Phase: lifecycle.PhaseRequest}, time.Millisecond, nil, nil)
		s.c.Dismiss()
	}},
}

func TestTimelines(t *testing.T) {
	for _, test := range timelines {
		for _, by := range []string{"recorded", "by the provider"} {
			t.Run(test.name+" "+by, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := newHarness(t, test.settings)
					if by != "recorded" {
						h.tracing.recording = nil
					}
					test.play(h.accept("203.0.113.7:51000"))
					spans := h.spans.GetSpans()
					h.close()
					golden(t, test.name+".timeline", timeline(spans))
					for _, s := range spans {
						noKeyTwice(t, s)
					}
				})
			})
		}
	}
}

// noKeyTwice is what the SDK would make sure of, with a map for each span.
func noKeyTwice(t *testing.T, s tracetest.SpanStub) {
	t.Helper()
	seen := make(map[attribute.Key]bool)
	for _, a := range s.Attributes {
		if seen[a.Key] {
			t.Errorf("%s: %s is there twice", s.Name, a.Key)
		}
		seen[a.Key] = true
	}
}

// failed takes the connection out with the failure that a step returned.
func (s *script) failed(err error, status int) {
	f, _ := errors.AsType[*lifecycle.Failure](err)
	s.c.Failed(f, status)
}

// fail plays a step that fails and ends the connection.
func fail(s *script, step lifecycle.Step, r lifecycle.Reason, status int) {
	ctx, p := s.c.Begin(s.ctx, &step)
	time.Sleep(7 * time.Millisecond)
	s.failed(p.End(ctx, lifecycle.Fail(r, nil)), status)
}

func tlsDone(p *lifecycle.Step) {
	p.TLS = &lifecycle.TLSInfo{Version: "1.3", Cipher: "TLS_AES_128_GCM_SHA256", Curve: "X25519", ALPN: "http/1.1", ServerName: "chat.example.com"}
}

func throughConnect(s *script) {
	s.step(lifecycle.Step{Phase: lifecycle.PhaseTLSAccept}, 8*time.Millisecond, nil, tlsDone)
	s.head()
	s.c.Update(func(f *lifecycle.Facts) { f.Target, f.Egress = "wss://backend:9443", "corp" })
	s.step(lifecycle.Step{Phase: lifecycle.PhaseDNS, Hop: lifecycle.HopEgress, Host: "proxy.corp"}, time.Millisecond, nil, nil)
	s.step(lifecycle.Step{Phase: lifecycle.PhaseConnect, Hop: lifecycle.HopEgress}, time.Millisecond, nil, func(p *lifecycle.Step) {
		p.Tries, p.Peer = won("10.1.1.1:3128", time.Millisecond), "10.1.1.1:3128"
	})
	s.step(lifecycle.Step{Phase: lifecycle.PhaseTLS, Hop: lifecycle.HopEgress, EgressType: "https", EgressName: "corp", Peer: "10.1.1.1:3128"}, 2*time.Millisecond, nil, tlsDone)
	s.step(lifecycle.Step{Phase: lifecycle.PhaseProxy, Host: "backend:9443", EgressType: "https", EgressName: "corp", Peer: "10.1.1.1:3128"}, 500*time.Millisecond, nil,
		func(p *lifecycle.Step) { p.Status = 200 })
	s.step(lifecycle.Step{Phase: lifecycle.PhaseTLS, Host: "backend", Peer: "10.1.1.1:3128"}, 3*time.Millisecond, nil, tlsDone)
	s.upgrade()
	s.relay(time.Second, cleanClose)
}

func throughSOCKS(s *script) {
	s.head()
	s.step(lifecycle.Step{Phase: lifecycle.PhaseConnect, Hop: lifecycle.HopEgress}, time.Millisecond, nil, func(p *lifecycle.Step) {
		p.Tries, p.Peer = won("10.1.1.2:1080", time.Millisecond), "10.1.1.2:1080"
	})
	fail(s, lifecycle.Step{Phase: lifecycle.PhaseProxy, Host: "backend:9000", EgressType: "socks5h", EgressName: "socks", Peer: "10.1.1.2:1080"}, lifecycle.ReasonSOCKSHostUnreachable, 502)
}

func retried(s *script) {
	s.head()
	ctx, p := s.c.Begin(s.ctx, &lifecycle.Step{Phase: lifecycle.PhaseConnect})
	time.Sleep(time.Millisecond)
	p.Tries = []lifecycle.Try{{Address: "10.0.0.9:9000", Begun: p.Begun, Ended: time.Now(), Err: syscall.ECONNREFUSED}}
	p.End(ctx, syscall.ECONNREFUSED)
	s.c.NextAttempt()
	s.dial()
	s.upgrade()
	s.relay(time.Second, cleanClose)
}

func happyEyeballs(s *script) {
	s.head()
	ctx, p := s.c.Begin(s.ctx, &lifecycle.Step{Phase: lifecycle.PhaseConnect})
	begun := p.Begun
	time.Sleep(300 * time.Millisecond)
	p.Peer = "10.0.0.5:9000"
	p.Tries = []lifecycle.Try{
		{Address: "[2001:db8::5]:9000", Begun: begun},
		{Address: "[2001:db8::6]:9000", Begun: begun, Ended: begun.Add(time.Millisecond), Err: syscall.ENETUNREACH},
		{Address: "10.0.0.5:9000", Begun: begun.Add(250 * time.Millisecond), Ended: time.Now(), Won: true},
	}
	p.End(ctx, nil)
	s.upgrade()
	s.relay(time.Second, cleanClose)
}

// withIncoming plays a request that has a trace context, and checks what goes upstream.
func withIncoming(s *script, trusted bool) {
	h := http.Header{"Traceparent": {incoming}, "Tracestate": {"vendor=1"}, "Baggage": {"tenant=7,user=8"}, "B3": {"0"}, "X-Other": {"stays"}}
	s.step(lifecycle.Step{Phase: lifecycle.PhaseRequest}, time.Millisecond, nil, nil)
	s.c.Update(facts)
	s.c.Update(route)
	s.c.Update(func(f *lifecycle.Facts) { f.Trusted = trusted })
	s.ctx = lifecycle.AllowBaggage(s.Propagator().Extract(s.ctx, h), []string{"tenant", "other"})
	s.ctx = s.step(lifecycle.Step{Phase: lifecycle.PhaseRoute}, time.Millisecond, nil, nil)
	s.dial()
	ctx := s.upgrade()
	s.Propagator().Inject(ctx, h)
	s.relay(time.Second, cleanClose)

	sent := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), propagation.HeaderCarrier(h)))
	var upgrade, server trace.SpanContext
	for _, p := range s.spans.GetSpans() {
		switch {
		case p.Name == spanWebsocketUpgrade:
			upgrade = p.SpanContext
		case p.SpanKind == trace.SpanKindServer:
			server = p.SpanContext
		}
	}
	if sent.SpanID() != upgrade.SpanID() || sent.TraceID() != server.TraceID() {
		s.t.Errorf("sent upstream: got %s/%s, want the upgrade span's %s/%s", sent.TraceID(), sent.SpanID(), server.TraceID(), upgrade.SpanID())
	}
	if got := s.c.TraceID(); got != server.TraceID().String() {
		s.t.Errorf("trace id of the connection: got %s, want %s", got, server.TraceID())
	}
	if continued := server.TraceID().String() == incomingTrace; continued != trusted {
		s.t.Errorf("continues the incoming trace: got %t, want %t", continued, trusted)
	}
	if got, want := h.Get("Baggage"), map[bool]string{true: "tenant=7"}[trusted]; got != want {
		s.t.Errorf("baggage that goes upstream: got %q, want %q", got, want)
	}
	if h.Get("B3") != "" || h.Get("X-Other") != "stays" {
		s.t.Errorf("headers: got %v, want no b3 and X-Other", h)
	}
}

func TestSegmentsDoubleUpToAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Settings{})
		s := h.accept("203.0.113.7:51000")
		s.head()
		s.dial()
		s.upgrade()
		ctx, p := s.c.Begin(s.ctx, &lifecycle.Step{Phase: lifecycle.PhaseTransfer})
		for range 3 * 60 { // 3 h
			s.message(lifecycle.Upstream, 100)
			time.Sleep(time.Minute)
		}
		synctest.Wait()
		p.End(ctx, nil)
		s.step(lifecycle.Step{Phase: lifecycle.PhaseClose}, 6*time.Millisecond, nil, nil)
		s.c.Closed(cleanClose)
		got := timeline(h.spans.GetSpans())
		h.close()
		golden(t, "segments.timeline", got)
	})
}

// TestSegmentsOfAWeek are few, all linked, and all exported while the connection is open.
func TestSegmentsOfAWeek(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Settings{})
		s := h.accept("203.0.113.7:51000")
		s.head()
		s.dial()
		s.upgrade()
		ctx, p := s.c.Begin(s.ctx, &lifecycle.Step{Phase: lifecycle.PhaseTransfer})
		const week = 7 * 24 * time.Hour
		time.Sleep(week)
		synctest.Wait()
		var segments tracetest.SpanStubs
		for _, x := range h.spans.GetSpans() {
			if x.Name == spanWebsocketTransfer {
				segments = append(segments, x)
			}
		}
		if n := len(segments); n > 174 || n < 168 {
			t.Errorf("got %d segments in a week, want 168 to 174", n)
		}
		for i, x := range segments[1:] {
			if len(x.Links) != 1 || !x.Links[0].SpanContext.Equal(segments[i].SpanContext) || !x.StartTime.Equal(segments[i].EndTime) {
				t.Errorf("segment %d begins %v with links %v, want it to go on where the one before ended", i+1, x.StartTime, x.Links)
			}
		}
		if left := time.Since(segments[len(segments)-1].EndTime); left > time.Hour {
			t.Errorf("the last exported segment ended %v ago, want an hour at most", left)
		}
		p.End(ctx, nil)
		s.c.Closed(cleanClose)
		h.close()
	})
}

func TestSegmentIsExportedWhileTheSocketIsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Settings{})
		s := h.accept("203.0.113.7:51000")
		s.head()
		s.dial()
		s.upgrade()
		if got := names(h); strings.Contains(got, "GET /chat/{room}") {
			t.Errorf("before the 101: got %s, want no SERVER span yet", got)
		}
		ctx, p := s.c.Begin(s.ctx, &lifecycle.Step{Phase: lifecycle.PhaseTransfer})
		h.tellings.flush()
		if got := names(h); !strings.Contains(got, "GET /chat/{room}") {
			t.Errorf("at the 101: got %s, want the SERVER span among them", got)
		}
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if got := strings.Count(names(h), spanWebsocketTransfer); got != 1 {
			t.Errorf("after 31 s: got %d segments, want 1", got)
		}
		p.End(ctx, nil)
		s.c.Closed(cleanClose)
		h.close()
	})
}

func names(h *harness) string {
	var b strings.Builder
	for _, s := range h.spans.GetSpans() {
		b.WriteString(s.Name + ";")
	}
	return b.String()
}

func TestUnsampledConnectionMakesNoSpanAndPropagatesItsDecision(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Settings{Ratio: new(0.0)})
		s := h.accept("203.0.113.7:51000")
		s.head()
		s.dial()
		ctx := s.upgrade()
		header := http.Header{}
		h.Propagator().Inject(ctx, header)
		s.relay(time.Hour, cleanClose)
		if got := timeline(h.spans.GetSpans()); got != "no spans\n" {
			t.Errorf("got %s, want none", got)
		}
		if got := header.Get("Traceparent"); !strings.HasSuffix(got, "-00") || !strings.Contains(got, s.c.TraceID()) {
			t.Errorf("traceparent: got %q, want the connection's trace %s, not sampled", got, s.c.TraceID())
		}
		if got, want := s.c.TraceResponse(), "00-"+s.c.TraceID()+"-"; !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "-00") {
			t.Errorf("traceresponse: got %q, want %s…, not sampled", got, want)
		}
		h.close()
	})
}

func TestLinkedRootsFollowTheConnectionsDecision(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Settings{Linked: true, Ratio: new(0.3)})
		for range 200 {
			s := h.accept("203.0.113.7:51000")
			s.head()
			s.dial()
			s.upgrade()
			s.relay(time.Second, cleanClose)
		}
		servers, closes := 0, 0
		for _, p := range h.spans.GetSpans() {
			switch p.Name {
			case "GET /chat/{room}":
				servers++
			case spanWebsocketClose:
				closes++
			}
		}
		if servers == 0 || servers == 200 || servers != closes {
			t.Errorf("got %d SERVER and %d close spans, want as many of each, and not all or none", servers, closes)
		}
		h.close()
	})
}

func TestSystemStatesAreATrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var y lifecycle.System
		y.Enter(lifecycle.StateCreated, "")
		time.Sleep(time.Millisecond)
		y.Enter(lifecycle.StateInitialized, "")
		h := newHarness(t, Settings{System: &y})
		for _, s := range []lifecycle.State{lifecycle.StateInterfacesReady, lifecycle.StateTimeValid, lifecycle.StatePolicyValid,
			lifecycle.StateUpstreamsChecked, lifecycle.StateOperational} {
			time.Sleep(time.Millisecond)
			y.Enter(s, "")
		}
		time.Sleep(24 * time.Hour)
		y.Enter(lifecycle.StateDraining, "SIGTERM")
		time.Sleep(time.Second)
		h.Telemetry.system.leave(time.Now())
		got := timeline(h.spans.GetSpans())
		h.close()
		golden(t, "system.timeline", got)
	})
}
