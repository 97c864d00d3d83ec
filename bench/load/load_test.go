//go:build linux

package load

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"wsproxy/bench/server"
	"wsproxy/bench/wire"
)

// serve starts a server that is gone when the test is over.
func serve(t *testing.T) *Target {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server.Server{Counters: &server.Counters{}}
	var serving sync.WaitGroup
	serving.Go(func() { s.Serve(l) })
	t.Cleanup(func() {
		l.Close()
		serving.Wait()
	})
	return &Target{Address: l.Addr().String()}
}

// relay is a proxy that passes each direction's bytes through a function.
func relay(t *testing.T, to *Target, change [2]func([]byte)) *Target {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			upstream, err := net.Dial("tcp", to.Address)
			if err != nil {
				client.Close()
				return
			}
			all.Go(func() { pass(upstream, client, change[0]) })
			all.Go(func() { pass(client, upstream, change[1]) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		all.Wait()
	})
	return &Target{Address: l.Addr().String()}
}

func pass(to, from net.Conn, change func([]byte)) {
	defer to.(*net.TCPConn).CloseWrite()
	b := make([]byte, 16<<10)
	for {
		n, err := from.Read(b)
		if change != nil {
			change(b[:n])
		}
		if _, failed := to.Write(b[:n]); failed != nil || err != nil {
			return
		}
	}
}

// flip changes one bit of the byte at an offset.
func flip(offset int) func([]byte) {
	at := 0
	return func(b []byte) {
		if i := offset - at; i >= 0 && i < len(b) {
			b[i] ^= 1
		}
		at += len(b)
	}
}

func TestVerify(t *testing.T) {
	const deep = 500_000 // bytes into a direction, far behind the handshake
	cases := map[string]struct {
		change [2]func([]byte)
		want   string // in the error
	}{
		"nothing is changed":   {},
		"a bit of upstream":    {[2]func([]byte){flip(deep), nil}, "upstream: closed with 4000"},
		"a bit of downstream":  {[2]func([]byte){nil, flip(deep)}, "downstream: byte"},
		"the first of upgrade": {[2]func([]byte){nil, flip(0)}, "want 101"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			err := relay(t, serve(t), tc.change).Verify(ctx, 3, wire.Limits{Messages: 40, Largest: 2 << 20})
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error with %q", err, tc.want)
			}
		})
	}
}

func TestSocketKnowsWhenBytesCame(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := serve(t).dial(ctx, server.PathEcho+"?size=5", true)
	if err != nil {
		t.Fatal(err)
	}
	sent := time.Now()
	if _, err := c.Write(wire.Frame(wire.Binary, []byte("hello"), true)); err != nil {
		t.Fatal(err)
	}
	var b [7]byte
	if _, err := io.ReadFull(c, b[:]); err != nil {
		t.Fatal(err)
	}
	// The kernel's clock and ours are the same, read at most a few microseconds apart.
	if at, read := c.socket.at, time.Now(); at.Before(sent.Add(-time.Millisecond)) || at.After(read.Add(time.Millisecond)) {
		t.Errorf("came at %v, want between %v and %v", at, sent, read)
	}
	if err := c.closed(); err != nil {
		t.Error(err)
	}
}

func TestCheckClose(t *testing.T) {
	cases := map[string]struct {
		got  []byte
		fail bool
	}{
		"1000":          {wire.Frame(wire.Close, []byte{3, 232}, false), false},
		"1011":          {wire.Frame(wire.Close, []byte{3, 243}, false), true},
		"no code":       {wire.Frame(wire.Close, nil, false), true},
		"nothing":       {nil, true},
		"another frame": {wire.Frame(wire.Binary, []byte("abc"), false), true},
	}
	for name, tc := range cases {
		if err := checkClose(tc.got); (err != nil) != tc.fail {
			t.Errorf("%s: got %v, want an error: %t", name, err, tc.fail)
		}
	}
}

func TestClock(t *testing.T) {
	begin := time.Now()
	c := newClock(Workload{PerSecond: 10_000}, begin, time.Second, 2*time.Second)
	if got, want := c.due(25), begin.Add(2500*time.Microsecond); !got.Equal(want) {
		t.Errorf("due: got %v, want %v", got, want)
	}
	if got, want := c.to.Sub(c.from), 2*time.Second; got != want {
		t.Errorf("window: got %v, want %v", got, want)
	}
}

func TestFailureEndsTheMeasurement(t *testing.T) {
	target := serve(t)
	e := &Env{Target: target, Server: target, Gauge: still{}, Window: time.Hour}
	w := Workload{Name: "broken", Kind: KindEcho, Connections: 1, Size: 10}
	l := relay(t, target, [2]func([]byte){flip(1 << 10), nil}) // a frame becomes another, which has no answer
	e.Target = &Target{Address: l.Address}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if r, err := w.Run(ctx, e); err == nil {
		t.Errorf("got %v, want an error", r)
	}
	if _, err := (Workload{Name: "x", Kind: "y"}).Run(t.Context(), e); err == nil {
		t.Error("a kind that is none: no error")
	}
	gone := Workload{Name: "gone", Kind: KindEcho, Connections: 3, Size: 10}
	e.Target = &Target{Address: "127.0.0.1:1"}
	if _, err := gone.Run(t.Context(), e); err == nil || !strings.Contains(err.Error(), "of 3") {
		t.Errorf("nobody listens: got %v", err)
	}
}

// still is a gauge that never moves.
type still struct{}

func (still) CPU() (Reading, error)                 { return Reading{}, nil }
func (still) Memory() (int64, int, error)           { return 0, 0, nil }
func (still) Live(context.Context) (float64, error) { return 0, fmt.Errorf("not here") }
