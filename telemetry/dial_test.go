package telemetry

import (
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/codes"

	"wsproxy/lifecycle"
)

// A connect that failed is a span in error, also where its address did nothing wrong: the client has left meanwhile, or
// what came behind the handshake of TCP failed.
func TestConnectThatFailsWithoutAnErrorOfItsAddress(t *testing.T) {
	for name, ended := range map[string]bool{"given up": false, "called off": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t, Settings{Routes: chat})
				s := h.accept("203.0.113.7:51000")
				s.head()
				ctx, p := s.c.Begin(s.ctx, &lifecycle.Step{Phase: lifecycle.PhaseConnect})
				try := lifecycle.Try{Address: "10.0.0.5:9000", Begun: time.Now()}
				time.Sleep(time.Millisecond)
				if ended {
					try.Ended = time.Now()
				}
				p.Tries = []lifecycle.Try{try}
				s.failed(p.End(ctx, lifecycle.Fail(lifecycle.ReasonClientGone, nil)), 0)
				found := false
				for _, x := range h.spans.GetSpans() {
					if x.Name != spanTCPConnect {
						continue
					}
					found = true
					if x.Status.Code != codes.Error || x.Status.Description != "client_gone" {
						t.Errorf("got %v, want an error, client_gone", x.Status)
					}
				}
				if !found {
					t.Error("got no span of the connect")
				}
				h.close()
			})
		})
	}
}
