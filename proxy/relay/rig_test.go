package relay

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"wsproxy/internal/memnet"
	"wsproxy/internal/selfca"
	"wsproxy/lifecycle"
	"wsproxy/proxy/frame"
)

// patience is for what should come at once but on a busy machine does not.
const patience = 20 * time.Second

// wires are the four ends of a proxied connection: the endpoints' own, and our legs.
type wires struct {
	client, clientLeg     net.Conn
	upstreamLeg, upstream net.Conn
}

// network makes wires.
type network func(t testing.TB) wires

// inMemory is for testing/synctest.
func inMemory(testing.TB) wires {
	c, cl := memnet.Pipe()
	ul, u := memnet.Pipe()
	return wires{client: c, clientLeg: NewConn(cl), upstreamLeg: NewConn(ul), upstream: u}
}

func onLoopback(t testing.TB) wires {
	c, cl := dialled(t, "tcp", "127.0.0.1:0")
	ul, u := dialled(t, "tcp", "127.0.0.1:0")
	return wires{client: c, clientLeg: NewConn(cl), upstreamLeg: NewConn(ul), upstream: u}
}

func dialled(t testing.TB, network, address string) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial(network, l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return client, server
}

// secured puts TLS on both legs.
func secured(n network) network {
	return func(t testing.TB) wires {
		w := n(t)
		server, client := tlsConfigs(t)
		w.client, w.clientLeg = handshaken(t, tls.Client(w.client, client), tls.Server(w.clientLeg, server))
		w.upstreamLeg, w.upstream = handshaken(t, tls.Client(w.upstreamLeg, client), tls.Server(w.upstream, server))
		return w
	}
}

func tlsConfigs(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	ca, err := selfca.New("test")
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := ca.Issue(selfca.Leaf{Names: []string{"localhost"}})
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{leaf.TLS()}}, &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost"}
}

func handshaken(t testing.TB, client, server *tls.Conn) (net.Conn, net.Conn) {
	t.Helper()
	var both sync.WaitGroup
	both.Go(func() {
		if err := client.Handshake(); err != nil {
			t.Error(err)
		}
	})
	if err := server.Handshake(); err != nil {
		t.Error(err)
	}
	both.Wait()
	return client, server
}

// rig is a connection that an engine relays, with an endpoint on either side.
type rig struct {
	t                testing.TB
	client, upstream *peer
	record           *lifecycle.Connection
	registry         *lifecycle.Registry
	steps            *recorder
	ended            chan lifecycle.Close
}

// start has the engine relay a new connection. The pair may be changed before.
func start(t testing.TB, e Engine, n network, p Policy, change ...func(*Pair)) *rig {
	t.Helper()
	w := n(t)
	r := &rig{t: t, steps: &recorder{}, ended: make(chan lifecycle.Close, 1)}
	r.registry = &lifecycle.Registry{Observers: []lifecycle.Observer{r.steps}}
	r.record = opened(t, r.registry)
	r.client = &peer{t: t, name: "client", conn: w.client, frames: fromClient}
	r.upstream = &peer{t: t, name: "upstream", conn: w.upstream, frames: fromUpstream, masked: true}
	pair := &Pair{Conn: r.record, Client: w.clientLeg, Upstream: w.upstreamLeg, Policy: &p, Done: func(c lifecycle.Close) { r.ended <- c }}
	for _, f := range change {
		f(pair)
	}
	e.Start(pair)
	return r
}

// finish returns how the connection ended, closes the endpoints and checks what must be so at every end.
func (r *rig) finish() lifecycle.Close {
	r.t.Helper()
	select {
	case c := <-r.ended:
		r.client.conn.Close()
		r.upstream.conn.Close()
		r.check(c)
		return c
	case <-time.After(patience):
		r.t.Fatalf("got a connection that is still open: closing %+v", r.record.Closing())
		panic("unreachable")
	}
}

func (r *rig) check(c lifecycle.Close) {
	r.t.Helper()
	if r.registry.Get(r.record.ID) != nil {
		r.t.Error("got a live record, want none when Done is called")
	}
	if got, want := r.steps.all(), "transfer begins, transfer ends, close begins, close ends, done"; got != want {
		r.t.Errorf("steps: got %q, want %q", got, want)
	}
	if got := r.steps.outcome; got.Kind != lifecycle.OutcomeClosed || got.Close != c {
		r.t.Errorf("outcome: got %s %+v, want closed %+v", got.Kind, got.Close, c)
	}
}

// peer is an endpoint.
type peer struct {
	t      testing.TB
	name   string
	conn   net.Conn
	frames func(...message) []byte
	masked bool   // what it gets is
	buf    []byte // read and not yet told
	end    string
}

func (p *peer) send(all ...message) { p.write(p.frames(all...)) }

func (p *peer) write(b []byte) {
	p.t.Helper()
	p.conn.SetWriteDeadline(time.Now().Add(patience))
	if _, err := p.conn.Write(b); err != nil {
		p.t.Errorf("%s writes: %v", p.name, err)
	}
}

// fin ends the sending side.
func (p *peer) fin() {
	p.t.Helper()
	if c, ok := p.conn.(*tls.Conn); ok {
		if err := c.CloseWrite(); err != nil {
			p.t.Errorf("%s sends close_notify: %v", p.name, err)
		}
	}
	p.finTCP()
}

// finTCP is fin without close_notify.
func (p *peer) finTCP() {
	p.t.Helper()
	if err := p.socket().(interface{ CloseWrite() error }).CloseWrite(); err != nil && !errors.Is(err, syscall.ENOTCONN) {
		p.t.Errorf("%s sends FIN: %v", p.name, err)
	}
}

func (p *peer) reset() {
	s := p.socket()
	s.(interface{ SetLinger(int) error }).SetLinger(0)
	s.Close()
}

func (p *peer) socket() net.Conn {
	if c, ok := p.conn.(*tls.Conn); ok {
		return c.NetConn()
	}
	return p.conn
}

// next is what comes next: a frame as describe tells it, FIN or RST.
func (p *peer) next() string {
	p.t.Helper()
	for {
		if len(p.buf) > 1 {
			if op, size, _, ok := parse(p.buf, p.masked); ok || size < 0 {
				n := len(p.buf)
				if ok {
					n = header(p.buf) + size
				}
				got := describe(p.buf[:n], p.masked)
				p.buf = p.buf[n:]
				return got
			} else if p.end != "" {
				got := describe(p.buf, p.masked)
				p.buf = nil
				return op.String() + got[len(op.String()):]
			}
		}
		if p.end != "" {
			return p.end
		}
		p.read()
	}
}

func (p *peer) read() {
	b := make([]byte, 64<<10)
	p.conn.SetReadDeadline(time.Now().Add(patience))
	n, err := p.conn.Read(b)
	p.buf = append(p.buf, b[:n]...)
	switch {
	case err == nil:
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		p.end = "FIN"
	case errors.Is(err, os.ErrDeadlineExceeded):
		p.end = "NOTHING"
	default:
		p.end = "RST"
	}
}

// fill reads until n bytes are there, or the end.
func (p *peer) fill(n int) {
	for len(p.buf) < n && p.end == "" {
		p.read()
	}
}

// expect reads what comes next and compares.
func (p *peer) expect(want ...string) {
	p.t.Helper()
	for _, w := range want {
		if got := p.next(); got != w {
			p.t.Errorf("%s: got %q, want %q", p.name, got, w)
		}
	}
}

// recorder notes the steps of one connection from transfer on.
type recorder struct {
	mu      sync.Mutex
	steps   []string
	outcome lifecycle.Outcome
	meters  meters
}

func (r *recorder) Watch(*lifecycle.Connection) lifecycle.Watcher { return r }

func (r *recorder) Begin(ctx context.Context, s *lifecycle.Step) context.Context {
	r.note(s.Phase, " begins")
	return ctx
}

func (r *recorder) End(_ context.Context, s *lifecycle.Step) { r.note(s.Phase, " ends") }

func (r *recorder) note(p lifecycle.Phase, what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p >= lifecycle.PhaseTransfer {
		r.steps = append(r.steps, p.String()+what)
	}
}

func (r *recorder) Done(o lifecycle.Outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.steps = append(r.steps, "done")
	r.outcome = o
}

func (r *recorder) all() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b bytes.Buffer
	for i, s := range r.steps {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(s)
	}
	return b.String()
}

func framing(m frame.Mode) func(*Pair) { return func(p *Pair) { p.Framing = m } }
