package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wsproxy/lifecycle"
	"wsproxy/lifecycle/ledger"
	"wsproxy/tlsconf"
)

// scenario is how a connection comes to fail in a phase.
type scenario struct {
	phase  lifecycle.Phase
	reason lifecycle.Reason
	status int // that the client is answered, 0 for none
	happen func(w *world)
}

// sends is a client that sends raw bytes and stays.
func sends(raw string) func(*world) { return func(w *world) { w.send(raw) } }

// leaves is a client that sends raw bytes and goes.
func leaves(raw string) func(*world) { return func(w *world) { w.send(raw).conn.Close() } }

// answered is an upstream with a script.
func answered(script func(*peer)) func(*world) {
	return func(w *world) {
		w.targets[0].script = script
		w.send(request())
	}
}

// behindTLS has a client send raw bytes where TLS is expected.
func behindTLS(raw string, leave bool) func(*world) {
	return func(w *world) {
		if p := w.send(raw); leave {
			p.conn.Close()
		}
	}
}

var scenarios = []scenario{
	{lifecycle.PhaseTLSAccept, lifecycle.ReasonTLSProtocol, 0, behindTLS("garbage, garbage, garbage", false)},
	{lifecycle.PhaseTLSAccept, lifecycle.ReasonTLSTimeout, 0, behindTLS("\x16\x03\x01", false)},
	{lifecycle.PhaseTLSAccept, lifecycle.ReasonClientGone, 0, behindTLS("\x16\x03\x01", true)},
	{lifecycle.PhaseTLSAccept, lifecycle.ReasonCanceled, 0, func(w *world) {
		w.send("\x16\x03\x01")
		w.server.Close()
	}},

	{lifecycle.PhaseRequest, lifecycle.ReasonRequestTimeout, 408, sends("GET /")},
	{lifecycle.PhaseRequest, lifecycle.ReasonRequestInvalid, 400, sends("garbage\r\n\r\n")},
	{lifecycle.PhaseRequest, lifecycle.ReasonHeadersTooLarge, 431, sends(head("GET / HTTP/1.1", "X: "+strings.Repeat("x", 30<<10)))},
	{lifecycle.PhaseRequest, lifecycle.ReasonClientGone, 0, leaves("GET /")},
	{lifecycle.PhaseRequest, lifecycle.ReasonConnectionLimit, 503, func(w *world) {
		synctest.Wait()
		w.server.room.capacity.Pending = 1
		w.send("GET /")
		time.Sleep(pendingGrace)
		w.connect("").conn.Close()
	}},
	{lifecycle.PhaseRequest, lifecycle.ReasonCanceled, 503, func(w *world) {
		w.send("GET /")
		w.server.Close()
	}},

	{lifecycle.PhaseRoute, lifecycle.ReasonRequestInvalid, 400, sends(strings.Replace(request(), "GET", "PUT", 1))},
	{lifecycle.PhaseRoute, lifecycle.ReasonNoRoute, 404, func(w *world) {
		w.send(strings.Replace(request(), "Host: example.com", "Host: elsewhere.example", 1))
	}},
	{lifecycle.PhaseRoute, lifecycle.ReasonOriginDenied, 403, sends(request("Origin: https://evil.example"))},
	{lifecycle.PhaseRoute, lifecycle.ReasonDraining, 503, func(w *world) {
		w.server.Refuse(Drain{})
		w.send(request())
	}},
	{lifecycle.PhaseRoute, lifecycle.ReasonConnectionLimit, 503, func(w *world) {
		synctest.Wait()
		w.server.room.capacity.Descriptors = 1
		w.send(request())
	}},
	{lifecycle.PhaseRoute, lifecycle.ReasonRateLimit, 429, func(w *world) {
		w.route.Limiter = limiterFunc(func(handshake bool) *lifecycle.Failure {
			return lifecycle.Fail(lifecycle.ReasonRateLimit, nil)
		})
		w.send(request())
	}},
	{lifecycle.PhaseRoute, lifecycle.ReasonUnauthenticated, 401, func(w *world) {
		w.route.Auth = refusing(lifecycle.Fail(lifecycle.ReasonUnauthenticated, nil))
		w.send(request())
	}},
	{lifecycle.PhaseRoute, lifecycle.ReasonForbidden, 403, func(w *world) {
		w.route.Auth = refusing(lifecycle.Fail(lifecycle.ReasonForbidden, nil))
		w.send(request())
	}},
	{lifecycle.PhaseRoute, lifecycle.ReasonClientGone, 0, func(w *world) {
		w.route.Auth = waiting
		w.send(request()).conn.Close()
	}},
	{lifecycle.PhaseRoute, lifecycle.ReasonCanceled, 503, func(w *world) {
		w.route.Auth = waiting
		w.send(request())
		w.server.Close()
	}},
	{lifecycle.PhaseRoute, lifecycle.ReasonNoUpstream, 503, func(w *world) {
		w.targets = nil
		w.send(request())
	}},
	{lifecycle.PhaseRoute, lifecycle.ReasonInternal, 500, func(w *world) {
		w.route.Origin = func(string, string, string) bool { panic("origin") }
		w.send(request())
	}},

	{lifecycle.PhaseUpgrade, lifecycle.ReasonUpgradeTimeout, 504, answered(silent)},
	{lifecycle.PhaseUpgrade, lifecycle.ReasonUpgradeRejected, 401, answered(replying(head("HTTP/1.1 401 No", "Content-Length: 0")))},
	{lifecycle.PhaseUpgrade, lifecycle.ReasonBadUpgradeResponse, 502, answered(replying(strings.Replace(switching(), proof, "bm8=", 1)))},
	{lifecycle.PhaseUpgrade, lifecycle.ReasonUpstreamGone, 502, answered(replyingAndClosing("HTTP/1.1 101 Swi"))},
	{lifecycle.PhaseUpgrade, lifecycle.ReasonClientGone, 0, func(w *world) {
		w.targets[0].script = silent
		w.send(request()).conn.Close()
	}},
	{lifecycle.PhaseUpgrade, lifecycle.ReasonCanceled, 503, func(w *world) {
		w.targets[0].script = silent
		w.send(request())
		w.server.Close()
	}},
	{lifecycle.PhaseUpgrade, lifecycle.ReasonInternal, 0, func(w *world) {
		w.server.Registry.Fault = func(_ context.Context, s *lifecycle.Step, err error) error {
			if s.Phase == lifecycle.PhaseUpgrade && s.Failure == nil && err == nil {
				panic("fault")
			}
			return err
		}
		w.send(request())
	}},
}

// waiting never decides.
func waiting(ctx context.Context, _ AuthRequest) (*Admission, error) {
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

func (s scenario) run(t *testing.T) {
	w := newWorld(t)
	w.route.Match = "example.com/"
	w.route.Origin = func(origin, _, _ string) bool { return !strings.Contains(origin, "evil") }
	if s.phase == lifecycle.PhaseTLSAccept {
		w.listener.TLS = newAuthority(t).server(tlsconf.Server{}, nil)
	}
	var steps ledger.Ledger
	if s.phase != lifecycle.PhaseUpgrade || s.reason != lifecycle.ReasonInternal { // there a step is lost to the fault
		steps.Lenient = true
		w.server.Registry.Observers = append(w.server.Registry.Observers, &steps)
	}
	w.start()
	s.happen(w)
	time.Sleep(time.Minute)
	steps.Check(t)
	w.journal.mu.Lock()
	outcomes := slices.DeleteFunc(slices.Clone(w.journal.outcomes), func(o lifecycle.Outcome) bool { return o.Kind == lifecycle.OutcomeUnused })
	w.journal.mu.Unlock()
	if len(outcomes) != 1 || outcomes[0].Failure == nil {
		t.Fatalf("got %q, want one failure", w.journal.ends())
	}
	if o := outcomes[0]; o.Failure.Phase != s.phase || o.Failure.Reason != s.reason || o.Status != s.status {
		t.Errorf("got %s: %s, %d, want %s: %s, %d", o.Failure.Phase, o.Failure.Reason, o.Status, s.phase, s.reason, s.status)
	}
	told := func(p *peer) bool { return strings.HasPrefix(p.String(), fmt.Sprintf("HTTP/1.1 %d ", s.status)) }
	if s.status != 0 && !slices.ContainsFunc(w.clients, told) {
		t.Errorf("got no client that was told %d", s.status)
	}
	w.settled()
}

func TestReasons(t *testing.T) {
	for _, s := range scenarios {
		t.Run(s.phase.String()+" "+s.reason.String(), func(t *testing.T) {
			synctest.Test(t, s.run)
		})
	}
}

// Every reason of a phase of ours has its scenario here, or a test of its own.
func TestReasonsAreAllThere(t *testing.T) {
	elsewhere := map[lifecycle.Reason]string{
		lifecycle.ReasonTLSNoCertificate:     "TestTLSAcceptFails",
		lifecycle.ReasonTLSClientCertificate: "TestTLSAcceptFails",
	}
	instant := map[lifecycle.Phase][]lifecycle.Reason{ // nobody can leave during what takes no time
		lifecycle.PhaseTLSAccept: {lifecycle.ReasonInternal}, // no code of ours runs in there
		lifecycle.PhaseRequest:   {lifecycle.ReasonInternal},
	}
	for _, p := range []lifecycle.Phase{lifecycle.PhaseTLSAccept, lifecycle.PhaseRequest, lifecycle.PhaseRoute, lifecycle.PhaseUpgrade} {
		for _, r := range lifecycle.Reasons(p) {
			found := slices.ContainsFunc(scenarios, func(s scenario) bool { return s.phase == p && s.reason == r })
			if !found && elsewhere[r] == "" && !slices.Contains(instant[p], r) {
				t.Errorf("%s: %s: got no scenario", p, r)
			}
		}
	}
}

// A client that has its 101 when we fail is not left hanging.
func TestFaultBehindThe101(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.server.Registry.Fault = func(_ context.Context, s *lifecycle.Step, err error) error {
			if s.Phase == lifecycle.PhaseUpgrade {
				panic("fault")
			}
			return err
		}
		w.start()
		p := w.send(request())
		if got := p.String(); !strings.HasPrefix(got, "HTTP/1.1 101 ") || !p.ended() {
			t.Errorf("got %q, ended %t, want a 101 and the end", got, p.ended())
		}
		w.settled()
	})
}

// A target's dial that panics, or reports no phase, fails one connection.
func TestDialsThatMisbehave(t *testing.T) {
	for name, dial := range map[string]func(context.Context) (net.Conn, error){
		"panics":           func(context.Context) (net.Conn, error) { panic("dial") },
		"reports no phase": func(context.Context) (net.Conn, error) { return nil, errors.New("no") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				var lease pick
				w.server.Routes = []*Route{{Name: "r", Match: "/", Upstream: Upstream{Pick: func(c Choice) (Target, Lease, bool) {
					return Target{Name: "a", Dial: dial}, &lease, len(c.Tried) == 0
				}}}}
				w.start()
				p := w.send(request())
				p.awaitEnd()
				if got := problemIn(t, p.String()); got.Status != 500 || got.Reason != "internal" {
					t.Errorf("got %+v, want 500 internal", got)
				}
				if lease.count() != 1 {
					t.Error("the lease has not ended")
				}
				if got, want := w.journal.ends(), "failed 500 internal"; got != want {
					t.Errorf("got %q, want %q", got, want)
				}
				w.settled()
			})
		})
	}
}
