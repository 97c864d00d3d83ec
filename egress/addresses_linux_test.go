package egress

import (
	"net"
	"strings"
	"testing"
	"time"

	"wsproxy/internal/blackhole"
	"wsproxy/lifecycle"
)

// TestPhasesOfSeveralAddresses needs all of 127.0.0.0/8, and sockets whose backlog can be filled.
func TestPhasesOfSeveralAddresses(t *testing.T) {
	runScenarios(t, "addresses.golden", []scenario{
		{"refused by both addresses", func(f *fixture) (*Dialer, Target) {
			return f.dialer(nil), Target{Address: "two.test:" + f.closed("target")}
		}},
		{"second address answers", func(f *fixture) (*Dialer, Target) {
			_, port, _ := net.SplitHostPort(serve(f.t, listen(f.t, "tcp", "127.0.0.2:0"), echo))
			f.ports[port] = "target"
			return f.dialer(nil), Target{Address: "two.test:" + port}
		}},
		{"no answer", func(f *fixture) (*Dialer, Target) {
			d := f.dialer(nil)
			d.Timeouts.Connect = 500 * time.Millisecond
			return d, Target{Address: "chat.test:" + f.blackHole("127.0.0.1")}
		}},
		{"no answer from the first, refused by the second", func(f *fixture) (*Dialer, Target) {
			d := f.dialer(nil)
			d.Timeouts.Connect = 4 * time.Second // net.Dialer gives each address half, at least 2 s
			return d, Target{Address: "two.test:" + f.blackHole("127.0.0.1")}
		}},
		{"no answer from the proxy", func(f *fixture) (*Dialer, Target) {
			d := f.dialer(&Proxy{Name: "corp", Type: TypeSOCKS5H, Address: "proxy.test:" + f.blackHole("127.0.0.1")})
			d.Timeouts.Connect = 500 * time.Millisecond
			return d, Target{Address: "chat.test:80"}
		}},
	})
}

// The IPv6 address is tried first and leads nowhere; 300 ms later IPv4 wins.
func TestHappyEyeballs(t *testing.T) {
	if l, err := net.Listen("tcp6", "[::1]:0"); err != nil {
		t.Skip("left out, for want of IPv6 on loopback:", err)
	} else {
		l.Close()
	}
	f := newFixture(t)
	var port string
	for range 20 { // until both families have the same free port
		port = f.blackHole("::1")
		l, err := net.Listen("tcp4", "127.0.0.1:"+port)
		if err == nil {
			serve(t, l, echo)
			break
		}
	}
	ctx, r := record(t.Context())
	conn, err := f.dialer(nil).Dial(ctx, Target{Address: "both.test:" + port})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	want := "dns     target host=both.test answers=127.0.0.1,::1\n" +
		"connect target try=[::1]:target(lost) try=127.0.0.1:target(won) peer=127.0.0.1:target"
	// Whether the loser is told to stop before the dial returns or after is a matter of scheduling.
	if got := strings.Replace(f.golden(r.text()), "lost, under way", "lost", 1); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	tries := r.step(t, lifecycle.PhaseConnect).Tries
	if len(tries) != 2 {
		t.Fatalf("got %d tries, want 2", len(tries))
	}
	if delay := tries[1].Begun.Sub(tries[0].Begun); delay < 300*time.Millisecond {
		t.Errorf("got the second try after %s, want at least 300ms", delay)
	}
	if got := tries[0].Reason(); got != lifecycle.ReasonNone {
		t.Errorf("got reason %q of the try that lost, want none", got)
	}
}

// blackHole is a port of host whose SYNs are not answered.
func (f *fixture) blackHole(host string) (port string) {
	f.t.Helper()
	_, port, _ = net.SplitHostPort(blackhole.Listen(f.t, host))
	f.ports[port] = "target"
	return port
}
