package egress

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http/httptrace"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wsproxy/lifecycle"
)

// simulation is a DialContext in memory that fires the hooks as net.Dialer does.
type simulation struct {
	lookup, connect time.Duration
	peer            func(net.Conn) // has the other end; nil: nobody
	wg              *sync.WaitGroup
}

func (s simulation) dial(ctx context.Context, network, address string) (net.Conn, error) {
	trace := httptrace.ContextClientTrace(ctx)
	host, port, _ := net.SplitHostPort(address)
	if !isAddress(host) {
		trace.DNSStart(httptrace.DNSStartInfo{Host: host})
		err := wait(ctx, s.lookup)
		if err != nil {
			err = &net.DNSError{Err: "gave up", Name: host, IsTimeout: errors.Is(err, os.ErrDeadlineExceeded)}
			trace.DNSDone(httptrace.DNSDoneInfo{Err: err})
			return nil, err
		}
		trace.DNSDone(httptrace.DNSDoneInfo{Addrs: []net.IPAddr{{IP: net.IPv4(192, 0, 2, 1)}}})
		address = net.JoinHostPort("192.0.2.1", port)
	}
	trace.ConnectStart(network, address)
	err := wait(ctx, s.connect)
	trace.ConnectDone(network, address, err)
	if err != nil {
		return nil, err
	}
	here, there := net.Pipe()
	s.wg.Go(func() {
		defer there.Close()
		s.peer(there)
	})
	return here, nil
}

// wait takes d, unless ctx ends before.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return os.ErrDeadlineExceeded
		}
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// after does what do does, a while later.
func after(d time.Duration, do func(net.Conn)) func(net.Conn) {
	return func(c net.Conn) {
		time.Sleep(d) // in the bubble
		do(c)
	}
}

const hour = time.Hour

// TestTimeouts looks at the bubble's clock: which phase ran out, after how long.
func TestTimeouts(t *testing.T) {
	limits := Timeouts{Connect: 3 * time.Second, Proxy: 5 * time.Second, TLS: 4 * time.Second}
	quiet := func(c net.Conn) { io.Copy(io.Discard, c) }
	tests := []struct {
		name     string
		dial     simulation
		proxy    *Proxy
		timeouts Timeouts
		deadline time.Duration // of the whole handshake, from its begin
		phase    lifecycle.Phase
		want     lifecycle.Reason
		took     time.Duration // of the dial
		phaseRan time.Duration
	}{
		{"lookup", simulation{lookup: hour}, nil, limits, hour,
			lifecycle.PhaseDNS, lifecycle.ReasonDNSTimeout, 3 * time.Second, 3 * time.Second},
		{"connect", simulation{connect: hour}, nil, limits, hour,
			lifecycle.PhaseConnect, lifecycle.ReasonConnectTimeout, 3 * time.Second, 3 * time.Second},
		{"lookup and connect share their time", simulation{lookup: 2 * time.Second, connect: hour}, nil, limits, hour,
			lifecycle.PhaseConnect, lifecycle.ReasonConnectTimeout, 3 * time.Second, time.Second},
		{"proxy", simulation{lookup: time.Second, connect: time.Second, peer: quiet}, &Proxy{Address: "proxy.test:3128"}, limits, hour,
			lifecycle.PhaseProxy, lifecycle.ReasonProxyTimeout, 7 * time.Second, 5 * time.Second},
		{"SOCKS5 proxy", simulation{peer: quiet}, &Proxy{Type: TypeSOCKS5H, Address: "proxy.test:1080"}, limits, hour,
			lifecycle.PhaseProxy, lifecycle.ReasonProxyTimeout, 5 * time.Second, 5 * time.Second},
		{"TLS with the proxy", simulation{peer: quiet}, &Proxy{Type: TypeHTTPS, Address: "proxy.test:3128"}, limits, hour,
			lifecycle.PhaseTLS, lifecycle.ReasonTLSTimeout, 4 * time.Second, 4 * time.Second},
		{"TLS with the target", simulation{connect: time.Second, peer: quiet}, nil, limits, hour,
			lifecycle.PhaseTLS, lifecycle.ReasonTLSTimeout, 5 * time.Second, 4 * time.Second},

		{"handshake in the lookup", simulation{lookup: hour}, nil, Timeouts{}, 10 * time.Second,
			lifecycle.PhaseDNS, lifecycle.ReasonDNSTimeout, 10 * time.Second, 10 * time.Second},
		{"handshake in the connect", simulation{lookup: 2 * time.Second, connect: hour}, nil, Timeouts{}, 10 * time.Second,
			lifecycle.PhaseConnect, lifecycle.ReasonConnectTimeout, 10 * time.Second, 8 * time.Second},
		{"handshake in the proxy", simulation{connect: 2 * time.Second, peer: quiet}, &Proxy{Address: "proxy.test:3128"}, limits, 3 * time.Second,
			lifecycle.PhaseProxy, lifecycle.ReasonProxyTimeout, 3 * time.Second, time.Second},
		{"handshake in TLS", simulation{connect: 2 * time.Second, peer: quiet}, nil, limits, 3 * time.Second,
			lifecycle.PhaseTLS, lifecycle.ReasonTLSTimeout, 3 * time.Second, time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var wg sync.WaitGroup
				defer wg.Wait()
				tt.dial.wg = &wg
				d := &Dialer{Proxy: tt.proxy, Timeouts: tt.timeouts, DialContext: tt.dial.dial}
				ctx, cancel := context.WithTimeout(t.Context(), tt.deadline)
				defer cancel()
				ctx, r := record(ctx)
				begun := time.Now()
				_, err := d.Dial(ctx, Target{Address: "chat.test:443", TLS: anyTLS})
				if got := time.Since(begun); got != tt.took {
					t.Errorf("got %s, want %s", got, tt.took)
				}
				if got := failureIn(t, err); got.Phase != tt.phase || got.Reason != tt.want {
					t.Errorf("got %s in %s, want %s in %s", got.Reason, got.Phase, tt.want, tt.phase)
				}
				if got := r.step(t, tt.phase).Duration(); got != tt.phaseRan {
					t.Errorf("got a phase of %s, want %s", got, tt.phaseRan)
				}
			})
		})
	}
}

// Phases are there while they run, take what they took, and leave no gap.
func TestPhaseTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var wg sync.WaitGroup
		defer wg.Wait()
		s := simulation{lookup: 3 * time.Second, connect: 20 * time.Second, wg: &wg,
			peer: after(500*time.Millisecond, func(c net.Conn) {
				go io.Copy(io.Discard, c)
				io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
			})}
		ctx, r := record(t.Context())
		begun := time.Now()
		wg.Go(func() {
			for _, moment := range []struct {
				at   time.Duration
				want string
			}{{time.Second, "dns"}, {4 * time.Second, "connect"}, {22 * time.Second, "connect"}, {23100 * time.Millisecond, "proxy"}, {24 * time.Second, ""}} {
				time.Sleep(time.Until(begun.Add(moment.at)))
				if got := r.phase(); got != moment.want {
					t.Errorf("after %s: got phase %q, want %q", moment.at, got, moment.want)
				}
			}
		})
		d := &Dialer{Proxy: &Proxy{Address: "proxy.test:3128"}, DialContext: s.dial}
		conn, err := d.Dial(ctx, Target{Address: "chat.test:80"})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		at := begun
		for _, want := range []struct {
			phase lifecycle.Phase
			took  time.Duration
		}{{lifecycle.PhaseDNS, s.lookup}, {lifecycle.PhaseConnect, s.connect}, {lifecycle.PhaseProxy, 500 * time.Millisecond}} {
			step := r.step(t, want.phase)
			if !step.Begun.Equal(at) || step.Duration() != want.took {
				t.Errorf("%s: got %s from %s on, want %s from %s on", want.phase, step.Duration(), step.Begun.Sub(begun), want.took, at.Sub(begun))
			}
			at = step.Ended
		}
	})
}
