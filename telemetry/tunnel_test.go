package telemetry

import (
	"testing"
	"testing/synctest"
	"time"

	"wsproxy/lifecycle"
)

// asked plays the head of a request for a tunnel, up to the grant.
func (s *script) asked(method string) {
	s.step(lifecycle.Step{Phase: lifecycle.PhaseRequest}, 2*time.Millisecond, nil, nil)
	s.c.Update(func(f *lifecycle.Facts) {
		f.Mode, f.Route, f.Method, f.Client, f.Host, f.Target = lifecycle.ModeForward, "forward", method, "203.0.113.7:51000", "backend:9000", "backend:9000"
		f.Protocol, f.UserAgent = "1.1", "test/1.0"
		if method == lifecycle.MethodSOCKS5 {
			f.Protocol, f.UserAgent = "5", ""
		}
	})
	s.ctx = s.step(lifecycle.Step{Phase: lifecycle.PhaseRoute}, time.Millisecond, nil, nil)
}

// granted plays the rest up to what is seen in the tunnel, after a second in which nobody says anything.
func (s *script) granted(what lifecycle.Tunnel) (at time.Time) {
	s.dial()
	at = time.Now()
	time.Sleep(time.Second)
	s.c.Update(func(f *lifecycle.Facts) {
		f.Granted, f.Tunnel, f.Target = at, what, "backend:9000"
		if what == lifecycle.TunnelTLS {
			f.ServerName, f.ALPN = "chat.example.com", "h2,http/1.1"
		}
	})
	return at
}

func opaqueTunnel(method string) func(*script) {
	return func(s *script) {
		s.asked(method)
		at := s.granted(lifecycle.TunnelTLS)
		s.c.Flow(lifecycle.Upstream).Bytes.Add(517)
		s.step(lifecycle.Step{Phase: lifecycle.PhaseTransfer, Begun: at}, 40*time.Second, nil, nil)
		s.step(lifecycle.Step{Phase: lifecycle.PhaseClose}, 6*time.Millisecond, nil, nil)
		s.c.Closed(lifecycle.Close{Cause: lifecycle.CauseTunnelEnd, Initiator: lifecycle.InitiatorClient, Code: lifecycle.NoCode, Clean: true, TLSTruncated: true})
	}
}

func webSocketTunnel(s *script) {
	s.asked("CONNECT")
	s.granted(lifecycle.TunnelWebSocket)
	s.c.Update(func(f *lifecycle.Facts) { f.Path = "/chat/7" })
	s.upgrade()
	s.relay(10*time.Second, cleanClose)
}

func refusedInTunnel(s *script) {
	s.asked("CONNECT")
	s.granted(lifecycle.TunnelWebSocket)
	fail(s, lifecycle.Step{Phase: lifecycle.PhaseUpgrade, Host: "backend:9000", Peer: "10.0.0.5:9000"}, lifecycle.ReasonBadUpgradeResponse, 502)
}

// intercepted plays a tunnel up to the ClientHello in it, and TLS on both sides.
func (s *script) intercepted() {
	s.asked("CONNECT")
	s.granted(lifecycle.TunnelTLS)
	s.c.Update(func(f *lifecycle.Facts) { f.Intercepted = true })
	s.step(lifecycle.Step{Phase: lifecycle.PhaseTLSAccept}, 2*time.Millisecond, nil, tlsDone)
	s.step(lifecycle.Step{Phase: lifecycle.PhaseTLS, Host: "chat.example.com", Peer: "10.0.0.5:9000"}, 3*time.Millisecond, nil, tlsDone)
}

func interceptedWebSocket(end lifecycle.Close) func(*script) {
	return func(s *script) {
		s.intercepted()
		s.c.Update(func(f *lifecycle.Facts) {
			f.Tunnel, f.Path, f.Target = lifecycle.TunnelWebSocket, "/chat/7", "wss://backend:9000"
		})
		s.upgrade()
		s.relay(10*time.Second, end)
	}
}

func interceptedOther(s *script) {
	s.intercepted()
	s.c.Update(func(f *lifecycle.Facts) { f.Tunnel = lifecycle.TunnelOther })
	s.step(lifecycle.Step{Phase: lifecycle.PhaseTransfer}, 10*time.Second, nil, nil)
	s.step(lifecycle.Step{Phase: lifecycle.PhaseClose}, 6*time.Millisecond, nil, nil)
	s.c.Closed(lifecycle.Close{Cause: lifecycle.CauseTunnelEnd, Initiator: lifecycle.InitiatorClient, Code: lifecycle.NoCode, Clean: true})
}

// distrustful is a client that does not trust the CA.
func distrustful(s *script) {
	s.asked("CONNECT")
	s.granted(lifecycle.TunnelTLS)
	s.c.Update(func(f *lifecycle.Facts) { f.Intercepted = true })
	fail(s, lifecycle.Step{Phase: lifecycle.PhaseTLSAccept}, lifecycle.ReasonTLSProtocol, 0)
}

func deniedSOCKS(s *script) {
	s.step(lifecycle.Step{Phase: lifecycle.PhaseRequest}, 2*time.Millisecond, nil, nil)
	s.c.Update(func(f *lifecycle.Facts) {
		f.Mode, f.Route, f.Method = lifecycle.ModeForward, "forward", lifecycle.MethodSOCKS5
	})
	fail(s, lifecycle.Step{Phase: lifecycle.PhaseRoute}, lifecycle.ReasonForbidden, 0)
}

var forwarded = []Route{{Name: "forward", Mode: lifecycle.ModeForward}}

// everyTunnelAttribute plays what the timelines of tunnels leave out.
func everyTunnelAttribute(h *harness) {
	for _, method := range []string{"CONNECT", lifecycle.MethodSOCKS5} {
		s := h.accept("203.0.113.7:51000")
		s.asked(method)
		s.granted(lifecycle.TunnelWebSocket)
		s.c.Update(func(f *lifecycle.Facts) {
			f.Path, f.Egress, f.Extensions, f.Intercepted = "/chat/7", "corp", "permessage-deflate", true
		})
		s.upgrade()
		s.relay(0, cleanClose)
	}
	s := h.accept("203.0.113.7:51000")
	s.asked("CONNECT")
	at := s.granted(lifecycle.TunnelTLS)
	s.c.Update(func(f *lifecycle.Facts) { f.Intercepted = true })
	s.step(lifecycle.Step{Phase: lifecycle.PhaseTransfer, Begun: at}, 0, nil, nil)
	s.c.Stalled(lifecycle.Downstream, time.Second)
	s.c.Closed(lifecycle.Close{Cause: lifecycle.CauseSlowPeer, Initiator: lifecycle.InitiatorProxy, Leg: lifecycle.LegClient})
	s = h.accept("203.0.113.7:51000")
	s.asked("CONNECT")
	s.c.Update(func(f *lifecycle.Facts) {
		f.Granted, f.Tunnel, f.ServerName, f.Intercepted = time.Now(), lifecycle.TunnelTLS, "chat.example.com", true
	})
	fail(s, lifecycle.Step{Phase: lifecycle.PhaseConnect}, lifecycle.ReasonConnectionRefused, 502)
}

func TestTunnelMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Settings{Routes: forwarded})
		tunnel := h.accept("203.0.113.7:51000")
		tunnel.asked("CONNECT")
		ctx, transfer := tunnel.c.Begin(tunnel.ctx, &lifecycle.Step{Phase: lifecycle.PhaseTransfer, Begun: tunnel.granted(lifecycle.TunnelOther)})
		if got := total(h, "wsproxy.tunnel.active"); got != 1 {
			t.Errorf("active: got %d, want 1", got)
		}
		transfer.End(ctx, nil)
		tunnel.step(lifecycle.Step{Phase: lifecycle.PhaseClose}, 0, nil, nil)
		tunnel.c.Closed(lifecycle.Close{Cause: lifecycle.CauseTunnelEnd, Initiator: lifecycle.InitiatorClient})
		webSocketTunnel(h.accept("203.0.113.7:51000"))
		opaqueTunnel(lifecycle.MethodSOCKS5)(h.accept("203.0.113.7:51000"))
		refusedInTunnel(h.accept("203.0.113.7:51000"))
		if got := total(h, "wsproxy.tunnel.active"); got != 0 {
			t.Errorf("active in the end: got %d, want 0", got)
		}
		golden(t, "tunnels.metrics", nonzero(points(h.collect())))
		h.close()
	})
}
