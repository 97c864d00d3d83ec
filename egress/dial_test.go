package egress

import (
	"context"
	"errors"
	"strings"
	"testing"

	"wsproxy/lifecycle"
)

// Without a connection to report to, as for plain HTTP, a dial works and fails the same.
func TestDialUnrecorded(t *testing.T) {
	f := newFixture(t)
	target := f.secureEcho("chat.test", "chat.test")
	d := f.dialer(as(f.proxy(TypeHTTP, f.httpProxy(target)), "alice", secret))
	conn, err := d.Dial(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	roundTrip(t, conn, "hello")
	conn.Close()

	_, err = f.dialer(nil).Dial(t.Context(), Target{Address: "nowhere.test:80"})
	if got := failureIn(t, err); got.Reason != lifecycle.ReasonDNSNotFound {
		t.Errorf("got %s, want dns_not_found", got.Reason)
	}
}

// A target that cannot be dialled at all is our own fault, and begins no phase.
func TestDialInvalidTarget(t *testing.T) {
	tests := []struct {
		name   string
		target Target
	}{
		{"no port", Target{Address: "chat.test"}},
		{"empty port", Target{Address: "chat.test:"}},
		{"no host", Target{Address: ":80"}},
		{"a line break", Target{Address: "chat.test\r\nX: y:80"}},
		{"a space", Target{Address: "chat test:80"}},
		{"another network", Target{Network: "udp", Address: "chat.test:80"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx, r := record(t.Context())
			_, err := (&Dialer{Proxy: &Proxy{Address: "127.0.0.1:1"}}).Dial(ctx, tt.target)
			if got := failureIn(t, err); got.Reason != lifecycle.ReasonInternal {
				t.Errorf("got %s, want internal", got.Reason)
			}
			if got := r.text(); got != "" {
				t.Errorf("got phases %q, want none", got)
			}
		})
	}
}

// A retry is another attempt, through the same phases in a legal order.
func TestDialAgain(t *testing.T) {
	f := newFixture(t)
	target := f.secureEcho("chat.test", "chat.test")
	good := as(f.proxy(TypeHTTPS, overTLS(f.ca.server("proxy.test"), f.httpProxy(target))), "alice", secret)
	refusing := as(f.proxy(TypeHTTPS, overTLS(f.ca.server("proxy.test"), f.httpProxy(target))), "alice", "wrong")
	ctx, r := record(t.Context())
	for _, p := range []*Proxy{{Address: "nowhere.test:80"}, {Address: "proxy.test:" + f.closed("x")}, refusing} {
		if _, err := f.dialer(p).Dial(ctx, target); err == nil {
			t.Fatal("got no error, want one")
		}
		lifecycle.FromContext(ctx).NextAttempt()
	}
	conn, err := f.dialer(good).Dial(ctx, target)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var got []string
	for _, m := range lifecycle.FromContext(ctx).Timeline() {
		if m.Attempt > 0 {
			got = append(got, strings.TrimSuffix(m.Phase.String()+string('0'+rune(m.Attempt))+" "+m.Reason.String(), " "))
		}
	}
	want := "dns1 dns_not_found, dns2, connect2 connection_refused, dns3, connect3, tls3, proxy3 proxy_auth_required, " +
		"dns4, connect4, tls4, proxy4, tls4"
	if got := strings.Join(got, ", "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := r.step(t, lifecycle.PhaseTLS).Attempt; got != 4 {
		t.Errorf("got attempt %d, want 4", got)
	}
}

// The connection knows the egress that its last dial went through.
func TestDialNotesTheEgress(t *testing.T) {
	f := newFixture(t)
	target := f.echo("chat.test")
	through := as(f.proxy(TypeHTTP, f.httpProxy(target)), "alice", secret)
	around := &Proxy{Name: through.Name, Address: through.Address}
	around.Bypass, _ = ParseBypass([]string{"chat.test"})
	ctx, _ := record(t.Context())
	for _, tt := range []struct {
		proxy *Proxy
		want  string
	}{{nil, ""}, {through, "corp"}, {around, ""}} {
		conn, err := f.dialer(tt.proxy).Dial(ctx, target)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		if got := lifecycle.FromContext(ctx).Facts().Egress; got != tt.want {
			t.Errorf("got egress %q, want %q", got, tt.want)
		}
		lifecycle.FromContext(ctx).NextAttempt()
	}
}

// A fault at the end of any phase ends the dial there and leaves no socket.
func TestFaultInEachPhase(t *testing.T) {
	fault := lifecycle.Failf(lifecycle.ReasonInternal, "put in")
	for _, tt := range []struct {
		phase lifecycle.Phase
		hop   lifecycle.Hop
	}{
		{lifecycle.PhaseDNS, lifecycle.HopEgress},
		{lifecycle.PhaseConnect, lifecycle.HopEgress},
		{lifecycle.PhaseTLS, lifecycle.HopEgress},
		{lifecycle.PhaseProxy, lifecycle.HopTarget},
		{lifecycle.PhaseTLS, lifecycle.HopTarget},
	} {
		t.Run(tt.phase.String()+" "+tt.hop.String(), func(t *testing.T) {
			f := newFixture(t)
			target := f.secureEcho("chat.test", "chat.test")
			d := f.dialer(as(f.proxy(TypeHTTPS, overTLS(f.ca.server("proxy.test"), f.httpProxy(target))), "alice", secret))
			hit := false
			registry := &lifecycle.Registry{Fault: func(_ context.Context, s *lifecycle.Step, err error) error {
				if s.Phase == tt.phase && s.Hop == tt.hop {
					hit = true
					return fault
				}
				return err
			}}
			ctx := onRegistry(t.Context(), registry)
			conn, err := d.Dial(ctx, target)
			if conn != nil || !hit {
				t.Fatalf("got a connection, want the fault")
			}
			if got := failureIn(t, err); got.Phase != tt.phase {
				t.Errorf("got a failure in %s, want %s", got.Phase, tt.phase)
			}
			if n := f.openSockets(); n != 0 {
				t.Errorf("got %d sockets left open, want 0", n)
			}
			marks := lifecycle.FromContext(ctx).Timeline()
			if last := marks[len(marks)-1]; last.Phase != tt.phase || last.Duration < 0 {
				t.Errorf("got %s as the last phase, want %s, ended", last.Phase, tt.phase)
			}
		})
	}
}

// A fault that hides an error does not make a connection.
func TestFaultThatHidesAnError(t *testing.T) {
	registry := &lifecycle.Registry{Fault: func(context.Context, *lifecycle.Step, error) error { return nil }}
	f := newFixture(t)
	for _, address := range []string{"nowhere.test:80", "127.0.0.1:" + f.closed("x")} {
		if conn, err := f.dialer(nil).Dial(onRegistry(t.Context(), registry), Target{Address: address}); conn != nil || err == nil {
			t.Errorf("%s: got %v, %v, want an error", address, conn, err)
		}
	}
}

func TestType(t *testing.T) {
	for _, want := range []Type{TypeHTTP, TypeHTTPS, TypeSOCKS5, TypeSOCKS5H} {
		if got, err := ParseType(want.String()); got != want || err != nil {
			t.Errorf("got %v, %v, want %v", got, err, want)
		}
	}
	if _, err := ParseType("socks4"); err == nil {
		t.Error("got no error for socks4, want one")
	}
	if got := typeCount.String(); got != "invalid" {
		t.Errorf("got %q, want invalid", got)
	}
}

func TestErrorIsWrappedOnce(t *testing.T) {
	f := newFixture(t)
	_, err := f.dialer(as(f.proxy(TypeHTTP, saying("HTTP/1.1 403 No\r\n\r\n")), "alice", secret)).Dial(t.Context(), Target{Address: "chat.test:80"})
	want := "dial chat.test:80: proxy_refused: proxy 127.0.0.1:proxy answered CONNECT with 403 Forbidden"
	if got := f.golden(err.Error()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if _, ok := errors.AsType[*lifecycle.Failure](err); !ok {
		t.Error("got no failure in it, want one")
	}
}
