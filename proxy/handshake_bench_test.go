package proxy

import (
	"context"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"wsproxy/egress"
	"wsproxy/lifecycle"
	"wsproxy/proxy/relay"
)

// lane is a Server on loopback with a client and an upstream that cost next to nothing themselves.
type lane struct {
	tb     testing.TB
	front  string
	closed chan struct{} // something ended in the registry
	buf    [4 << 10]byte
}

func (l *lane) Watch(*lifecycle.Connection) lifecycle.Watcher                { return l }
func (l *lane) Begin(ctx context.Context, _ *lifecycle.Step) context.Context { return ctx }
func (l *lane) End(context.Context, *lifecycle.Step)                         {}
func (l *lane) Done(lifecycle.Outcome)                                       { l.closed <- struct{}{} }

var (
	closing  = []byte{0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8}
	closeOwn = []byte{0x88, 0x02, 0x03, 0xe8}
)

func newLane(tb testing.TB) *lane {
	l := &lane{tb: tb, closed: make(chan struct{}, 1)}
	engine, err := relay.NewLoops(1, nil)
	if err != nil {
		tb.Skip(err)
	}
	up, err := (&net.ListenConfig{KeepAlive: -1}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() { upstream(up) })
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	l.front = socket.Addr().String()
	dialer := &egress.Dialer{
		Timeouts: egress.Timeouts{Connect: 3 * time.Second},
		Socket:   func(c net.Conn) net.Conn { return relay.NewConn(c) },
	}
	address := up.Addr().String()
	target := Target{Name: "ws://" + address, Address: address, Dial: func(ctx context.Context) (net.Conn, error) {
		return dialer.Dial(ctx, egress.Target{Address: address})
	}}
	s := &Server{
		Registry: &lifecycle.Registry{Observers: []lifecycle.Observer{l}}, Engine: engine, Log: slog.New(slog.DiscardHandler),
		Routes: []*Route{{Name: "all", Match: "/", Upstream: Upstream{Name: "up", Pick: func(Choice) (Target, Lease, bool) { return target, &pick{}, true }}}},
	}
	running.Go(func() { s.Serve(Listener{Listener: socket}) })
	tb.Cleanup(func() {
		s.Close()
		engine.Wait(context.Background())
		engine.Close()
		up.Close()
		running.Wait()
	})
	return l
}

// upstream takes one connection after the other, up to its close.
func upstream(l net.Listener) {
	answer := []byte(switching())
	var buf [4 << 10]byte
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		c.Read(buf[:])
		c.Write(answer)
		if n, _ := c.Read(buf[:]); n > 0 {
			c.Write(closeOwn)
		}
		c.Close()
	}
}

var upgradeRequest = []byte(request("User-Agent: bench", "Origin: http://example.com", "Sec-WebSocket-Extensions: permessage-deflate"))

// connect has a connection set up and closed.
func (l *lane) connect(d *net.Dialer) {
	c, err := d.Dial("tcp", l.front)
	if err != nil {
		l.tb.Fatal(err)
	}
	c.Write(upgradeRequest)
	if n, err := c.Read(l.buf[:]); err != nil || n < 12 || string(l.buf[:12]) != "HTTP/1.1 101" {
		l.tb.Fatalf("got %q, %v, want a 101", l.buf[:n], err)
	}
	c.Write(closing)
	for {
		if _, err := c.Read(l.buf[:]); err == io.EOF {
			break
		} else if err != nil {
			l.tb.Fatal(err)
		}
	}
	c.Close() // first from our side: the server's is done, and waits for it
	<-l.closed
}

// BenchmarkHandshake is a whole connection: accepted, dialled, upgraded, closed, over loopback and with
// both of its ends.
func BenchmarkHandshake(b *testing.B) {
	l := newLane(b)
	d := &net.Dialer{KeepAlive: -1}
	b.ReportAllocs()
	for b.Loop() {
		l.connect(d)
	}
}

// handshakeAllocations is about a tenth above what it was when this was written (227), the ends' own among
// them.
const handshakeAllocations = 250

func TestHandshakeAllocations(t *testing.T) {
	l := newLane(t)
	d := &net.Dialer{KeepAlive: -1}
	for range 20 { // pools fill
		l.connect(d)
	}
	if got := testing.AllocsPerRun(200, func() { l.connect(d) }); got > handshakeAllocations {
		t.Errorf("got %g allocations for a connection, want at most %d", got, handshakeAllocations)
	}
}
