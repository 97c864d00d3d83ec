package memnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// journal writes down what httptrace's hooks tell, with the time since it was made.
type journal struct {
	mu    sync.Mutex
	begun time.Time
	lines []string
}

func (j *journal) note(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf("%s "+format, append([]any{time.Since(j.begun)}, args...)...))
}

func (j *journal) trace(ctx context.Context) context.Context {
	j.begun = time.Now()
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		DNSStart:     func(i httptrace.DNSStartInfo) { j.note("dns %s", i.Host) },
		DNSDone:      func(i httptrace.DNSDoneInfo) { j.note("dns done %v %v", i.Addrs, i.Err) },
		ConnectStart: func(network, addr string) { j.note("connect %s %s", network, addr) },
		ConnectDone:  func(network, addr string, err error) { j.note("connect done %s %s %v", network, addr, err) },
	})
}

func TestDial(t *testing.T) {
	cases := map[string]struct {
		setup   func(*Network)
		network string
		address string
		dialler Dialer
		timeout time.Duration
		want    []string // the journal
		wantErr error
	}{
		"address": {
			address: "10.0.0.1:80",
			want:    []string{"0s connect tcp 10.0.0.1:80", "0s connect done tcp 10.0.0.1:80 <nil>"},
		},
		"name, slow lookup, slow way": {
			setup: func(n *Network) {
				n.SetHost("up.test", Host{Addresses: []string{"10.0.0.1"}, Delay: 30 * time.Millisecond})
				n.SetPath("10.0.0.1:80", Path{Latency: 20 * time.Millisecond})
			},
			address: "up.test:80",
			want: []string{"0s dns up.test", "30ms dns done [{10.0.0.1 }] <nil>",
				"30ms connect tcp 10.0.0.1:80", "50ms connect done tcp 10.0.0.1:80 <nil>"},
		},
		"no such name": {
			address: "nobody.test:80",
			want:    []string{"0s dns nobody.test", "0s dns done [] lookup nobody.test: no such host"},
			wantErr: &net.DNSError{},
		},
		"lookup never answered": {
			setup:   func(n *Network) { n.SetHost("up.test", Host{Delay: time.Hour}) },
			address: "up.test:80", timeout: time.Second,
			want:    []string{"0s dns up.test", "1s dns done [] lookup up.test: context deadline exceeded"},
			wantErr: context.DeadlineExceeded,
		},
		"refused": {
			address: "10.0.0.9:80",
			want: []string{"0s connect tcp 10.0.0.9:80",
				"0s connect done tcp 10.0.0.9:80 dial tcp 10.0.0.9:80: connect: connection refused"},
			wantErr: syscall.ECONNREFUSED,
		},
		"unreachable after a while": {
			setup: func(n *Network) {
				n.SetPath("10.0.0.1", Path{Latency: time.Second, Err: syscall.EHOSTUNREACH})
			},
			address: "10.0.0.1:80",
			want: []string{"0s connect tcp 10.0.0.1:80",
				"1s connect done tcp 10.0.0.1:80 dial tcp 10.0.0.1:80: connect: no route to host"},
			wantErr: syscall.EHOSTUNREACH,
		},
		"black hole": {
			setup:   func(n *Network) { n.SetPath("10.0.0.1:80", Path{BlackHole: true}) },
			address: "10.0.0.1:80", timeout: 3 * time.Second,
			want: []string{"0s connect tcp 10.0.0.1:80",
				"3s connect done tcp 10.0.0.1:80 dial tcp 10.0.0.1:80: context deadline exceeded"},
			wantErr: context.DeadlineExceeded,
		},
		"black hole, then one that answers": {
			setup: func(n *Network) {
				n.SetHost("up.test", Host{Addresses: []string{"10.0.0.2", "10.0.0.1"}})
				n.SetPath("10.0.0.2", Path{BlackHole: true})
			},
			address: "up.test:80", timeout: 10 * time.Second,
			want: []string{"0s dns up.test", "0s dns done [{10.0.0.2 } {10.0.0.1 }] <nil>",
				"0s connect tcp 10.0.0.2:80", "5s connect done tcp 10.0.0.2:80 dial tcp 10.0.0.2:80: context deadline exceeded",
				"5s connect tcp 10.0.0.1:80", "5s connect done tcp 10.0.0.1:80 <nil>"},
		},
		"families race": {
			setup: func(n *Network) {
				n.SetHost("up.test", Host{Addresses: []string{"fd00::1", "10.0.0.1"}})
				n.SetPath("fd00::1", Path{BlackHole: true})
			},
			address: "up.test:80",
			want: []string{"0s dns up.test", "0s dns done [{fd00::1 } {10.0.0.1 }] <nil>",
				"0s connect tcp [fd00::1]:80", "300ms connect tcp 10.0.0.1:80", "300ms connect done tcp 10.0.0.1:80 <nil>",
				"300ms connect done tcp [fd00::1]:80 dial tcp [fd00::1]:80: context canceled"},
		},
		"first family refuses, no wait for the second": {
			setup: func(n *Network) {
				n.SetHost("up.test", Host{Addresses: []string{"fd00::1", "10.0.0.1"}})
			},
			address: "up.test:80",
			want: []string{"0s dns up.test", "0s dns done [{fd00::1 } {10.0.0.1 }] <nil>",
				"0s connect tcp [fd00::1]:80", "0s connect done tcp [fd00::1]:80 dial tcp [fd00::1]:80: connect: connection refused",
				"0s connect tcp 10.0.0.1:80", "0s connect done tcp 10.0.0.1:80 <nil>"},
		},
		"both families fail: the first one's error": {
			setup: func(n *Network) {
				n.SetHost("up.test", Host{Addresses: []string{"fd00::1", "10.0.0.9"}})
				n.SetPath("fd00::1", Path{Err: syscall.ENETUNREACH})
			},
			address: "up.test:80",
			want: []string{"0s dns up.test", "0s dns done [{fd00::1 } {10.0.0.9 }] <nil>",
				"0s connect tcp [fd00::1]:80", "0s connect done tcp [fd00::1]:80 dial tcp [fd00::1]:80: connect: network is unreachable",
				"0s connect tcp 10.0.0.9:80", "0s connect done tcp 10.0.0.9:80 dial tcp 10.0.0.9:80: connect: connection refused"},
			wantErr: syscall.ENETUNREACH,
		},
		"only one family asked for": {
			setup: func(n *Network) {
				n.SetHost("up.test", Host{Addresses: []string{"fd00::1", "10.0.0.1"}})
			},
			network: "tcp4", address: "up.test:80",
			want: []string{"0s dns up.test", "0s dns done [{fd00::1 } {10.0.0.1 }] <nil>",
				"0s connect tcp4 10.0.0.1:80", "0s connect done tcp4 10.0.0.1:80 <nil>"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var n Network
				l, err := n.Listen("10.0.0.1:80")
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				if tc.setup != nil {
					tc.setup(&n)
				}
				var j journal
				ctx := t.Context()
				if tc.timeout > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tc.timeout)
					defer cancel()
				}
				tc.dialler.Network = &n
				network := tc.network
				if network == "" {
					network = "tcp"
				}
				c, err := tc.dialler.DialContext(j.trace(ctx), network, tc.address)
				synctest.Wait() // the loser of a race reports later
				checkDial(t, c, err, tc.wantErr)
				if !slices.Equal(j.lines, tc.want) {
					t.Errorf("got  %s\nwant %s", strings.Join(j.lines, "\n     "), strings.Join(tc.want, "\n     "))
				}
			})
		})
	}
}

func checkDial(t *testing.T, c net.Conn, err, want error) {
	t.Helper()
	if want == nil {
		if err != nil {
			t.Errorf("got %v, want a connection", err)
			return
		}
		c.Close()
		return
	}
	if _, ok := errors.AsType[*net.OpError](err); !ok || c != nil {
		t.Errorf("got %v, %#v, want nil and a *net.OpError", c, err)
	}
	if _, dns := want.(*net.DNSError); dns {
		if e, ok := errors.AsType[*net.DNSError](err); !ok || !e.IsNotFound {
			t.Errorf("got %v, want a DNS error", err)
		}
	} else if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}

// TestHooksAreThoseOfNetDialer dials the kernel's loopback and this network alike.
func TestHooksAreThoseOfNetDialer(t *testing.T) {
	var n Network
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	m, err := n.Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	dial := func(d func(context.Context, string, string) (net.Conn, error)) []string {
		var j journal
		c, err := d(j.trace(t.Context()), "tcp", address)
		if err == nil {
			c.Close()
		}
		for i := range j.lines {
			_, j.lines[i], _ = strings.Cut(j.lines[i], " ")
		}
		return append(j.lines, fmt.Sprint(err))
	}
	for _, state := range []string{"open", "closed"} {
		got, want := dial(n.DialContext), dial(new(net.Dialer).DialContext)
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", state, got, want)
		}
		l.Close()
		m.Close()
	}
}

func TestListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n Network
		l, err := n.Listen("localhost:0")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.Listen(l.Addr().String()); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("got %v, want EADDRINUSE", err)
		}
		waiting, err := (&Dialer{Network: &n, Address: "203.0.113.7"}).DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if got, want := waiting.LocalAddr().(*net.TCPAddr).IP.String(), "203.0.113.7"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if _, err := waiting.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("got %v, want a reset for whoever was not accepted", err)
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v, want net.ErrClosed", err)
		}
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("second close: got %v, want net.ErrClosed", err)
		}
		if _, err := n.Dial(t.Context(), l.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("got %v, want ECONNREFUSED", err)
		}
	})
}

func TestBacklogIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n Network
		l, err := n.Listen(":80")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		for range backlog {
			if _, err := n.Dial(t.Context(), "10.1.2.3:80"); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := n.Dial(ctx, "10.1.2.3:80"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want a timeout", err)
		}
	})
}

// TestHTTP shows that net/http's server and client run over it, in a bubble.
func TestHTTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n Network
		l, err := n.Listen("localhost:80")
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Hour)
			io.WriteString(w, r.RemoteAddr)
		})}
		go server.Serve(l)
		defer server.Close()
		client := &http.Client{Transport: &http.Transport{DialContext: n.DialContext}}
		defer client.CloseIdleConnections()
		answer, err := client.Get("http://localhost/")
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		if got, err := io.ReadAll(answer.Body); !strings.HasPrefix(string(got), "127.0.0.1:") || err != nil {
			t.Errorf("got %q, %v, want the client's address", got, err)
		}
	})
}
