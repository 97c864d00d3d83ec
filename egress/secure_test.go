package egress

import (
	"crypto/tls"
	"errors"
	"testing"

	"wsproxy/lifecycle"
)

// TLS that comes after the dial is with the target, behind the egress that was used, and the certificate is
// held against the name that was asked for.
func TestSecure(t *testing.T) {
	direct := func(*fixture, Target) *Proxy { return nil }
	second := func(f *fixture, target Target) *Proxy {
		down := &Proxy{Name: "down", Address: "127.0.0.1:" + f.closed("down")}
		down.Fallback = as(f.proxy(TypeSOCKS5H, f.socksProxy(target)), "alice", secret)
		return down
	}
	for name, c := range map[string]struct {
		proxy      func(*fixture, Target) *Proxy
		serverName string
		reason     lifecycle.Reason
		egress     string
	}{
		"direct": {direct, "chat.test", lifecycle.ReasonNone, "/"},
		"by a CONNECT proxy": {func(f *fixture, target Target) *Proxy {
			return as(f.proxy(TypeHTTP, f.httpProxy(target)), "alice", secret)
		}, "chat.test", lifecycle.ReasonNone, "http/corp"},
		"by the fallback":         {second, "chat.test", lifecycle.ReasonNone, "socks5h/corp"},
		"by nobody's certificate": {direct, "other.test", lifecycle.ReasonTLSHostnameMismatch, "/"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			target := f.secureEcho("chat.test", "chat.test")
			plain := Target{Address: target.Address}
			d := f.dialer(c.proxy(f, target))
			ctx, r := record(t.Context())
			conn, err := d.Dial(ctx, plain)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			plain.TLS = func() *tls.Config {
				config := f.ca.client().Clone()
				config.ServerName, config.NextProtos = c.serverName, []string{"http/1.1"}
				return config
			}
			secured, err := d.Secure(ctx, conn, plain)
			step := r.step(t, lifecycle.PhaseTLS)
			if got := step.EgressType + "/" + step.EgressName; got != c.egress || step.Hop != lifecycle.HopTarget || step.Host != c.serverName {
				t.Errorf("got a phase with %s of %s through %s, want the target, %s and %s", step.Hop, step.Host, got, c.serverName, c.egress)
			}
			if c.reason != lifecycle.ReasonNone {
				if failure, ok := errors.AsType[*lifecycle.Failure](err); !ok || failure.Reason != c.reason || f.openSockets() != 0 {
					t.Errorf("got %v and %d open sockets, want %s and none", err, f.openSockets(), c.reason)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			roundTrip(t, secured, "hello")
		})
	}
}
