package proxy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"wsproxy/internal/memnet"
	"wsproxy/lifecycle"
	"wsproxy/proxy/relay"
)

const (
	front = "10.0.0.1:80" // where the Server listens
	key   = "dGhlIHNhbXBsZSBub25jZQ=="
	proof = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" // of key, RFC 6455 §1.3
)

// world is a Server between raw clients and scripted upstreams, in memory and in fake time. What is
// changed before start holds.
type world struct {
	t        *testing.T
	network  memnet.Network
	server   *Server
	listener Listener // its TLS and trust; start fills in the socket
	route    *Route   // the only one, unless server.Routes is set
	targets  []*target
	single   bool // Target.Single
	journal  journal
	clients  []*peer

	engine relay.Goroutines
}

// newWorld is to be called in a synctest bubble. Without names there is one target, a, that accepts.
func newWorld(t *testing.T, names ...string) *world {
	w := &world{t: t, route: &Route{Name: "all", Match: "/"}}
	if len(names) == 0 {
		names = []string{"a"}
	}
	for i, name := range names {
		w.targets = append(w.targets, &target{
			name: name, address: fmt.Sprintf("10.0.1.%d:9000", i+1), script: accepting(""),
		})
	}
	w.server = &Server{
		Registry: &lifecycle.Registry{Observers: []lifecycle.Observer{&w.journal}},
		Engine:   &w.engine,
		Log:      slog.New(slog.DiscardHandler),
	}
	return w
}

// start serves, and ends everything when the test does.
func (w *world) start() {
	w.t.Helper()
	w.route.Upstream = Upstream{Name: "up", Pick: w.pick}
	if w.server.Routes == nil {
		w.server.Routes = []*Route{w.route}
	}
	if err := w.server.Compile(); err != nil {
		w.t.Fatal(err)
	}
	for _, target := range w.targets {
		target.start(w)
	}
	l, err := w.network.Listen(front)
	if err != nil {
		w.t.Fatal(err)
	}
	w.listener.Listener = l
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := w.server.Serve(w.listener); err != nil {
			w.t.Errorf("Serve: got %v, want nil", err)
		}
	})
	w.t.Cleanup(func() {
		w.server.Close()
		serving.Wait()
		w.server.Stop()
		if err := w.engine.Wait(context.Background()); err != nil {
			w.t.Error(err)
		}
	})
}

// pick takes the first target that was not tried.
func (w *world) pick(c Choice) (Target, Lease, bool) {
	for _, target := range w.targets {
		if slices.Contains(c.Tried, target.name) {
			continue
		}
		picked := &pick{}
		target.mu.Lock()
		target.picks = append(target.picks, picked)
		target.mu.Unlock()
		dial := func(ctx context.Context) (net.Conn, error) { return target.dial(ctx, &w.network) }
		return Target{Name: target.name, Address: target.address, Host: target.name + ".internal", Dial: dial, Cookie: target.cookie, Single: w.single}, picked, true
	}
	return Target{}, nil, false
}

// connect is a raw client's connection from the given address; empty is 127.0.0.1.
func (w *world) connect(from string) *peer {
	w.t.Helper()
	d := memnet.Dialer{Network: &w.network, Address: from}
	c, err := d.DialContext(w.t.Context(), "tcp", front)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	p := newPeer(c.(*memnet.Conn))
	w.clients = append(w.clients, p)
	return p
}

// send is what a client at loopback does that sends raw bytes and then waits until nothing moves.
func (w *world) send(raw string) *peer {
	w.t.Helper()
	p := w.connect("")
	p.write(w.t, raw)
	synctest.Wait()
	return p
}

// handshaken is an upgraded client.
func (w *world) handshaken() *peer {
	w.t.Helper()
	p := w.send(request())
	if got := p.String(); !strings.HasPrefix(got, "HTTP/1.1 101 ") {
		w.t.Fatalf("got %q, want a 101", got)
	}
	return p
}

// received is what reached the upstreams, over all connections.
func (w *world) received() string {
	var all strings.Builder
	for _, target := range w.targets {
		for _, p := range target.accepted() {
			all.WriteString(p.String())
		}
	}
	return all.String()
}

// settled fails the test unless every lease has ended and no connection is left.
func (w *world) settled() {
	w.t.Helper()
	for _, target := range w.targets {
		target.mu.Lock()
		for i, p := range target.picks {
			if got := p.count(); got != 1 {
				w.t.Errorf("lease %d of %s has not ended", i, target.name)
			}
		}
		target.mu.Unlock()
	}
	for c := range w.server.Registry.All() {
		w.t.Errorf("connection %s is left in phase %s", c.ID, c.Phase())
	}
}

// request is a good upgrade with more header lines.
func request(lines ...string) string {
	return head("GET /chat HTTP/1.1", append([]string{
		"Host: example.com", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + key,
	}, lines...)...)
}

func head(start string, lines ...string) string {
	return strings.Join(append([]string{start}, lines...), "\r\n") + "\r\n\r\n"
}

// switching is a good 101 with more header lines.
func switching(lines ...string) string {
	return head("HTTP/1.1 101 Switching Protocols", append([]string{
		"Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Accept: " + proof,
	}, lines...)...)
}

// pick is one choice of a target: a lease that notes what it is told.
type pick struct {
	mu    sync.Mutex
	ended int    // 1 once it has
	told  string // "opened, upstream_reset before a message", "connection_refused"
}

func (p *pick) Opened() { p.note("opened", false) }

func (p *pick) Failed(f *lifecycle.Failure) {
	why := "nothing"
	if f != nil {
		why = f.Reason.String()
	}
	p.note(why, true)
}

func (p *pick) Closed(c lifecycle.Close, spoke bool) {
	p.note(", "+c.Cause.String()+map[bool]string{false: " before a message"}[spoke], true)
}

func (p *pick) note(what string, end bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended > 0 {
		return
	}
	p.told += what
	if end {
		p.ended = 1
	}
}

func (p *pick) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ended
}

// tells is what the lease was told.
func (p *pick) tells() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.told
}

// target is a scripted upstream.
type target struct {
	name    string
	address string
	script  func(*peer) // what it does with a connection; afterwards it closes
	refuse  bool        // there is nobody at the address
	cookie  *http.Cookie

	dialling func(client, local netip.AddrPort) // for whom; may be nil

	mu    sync.Mutex
	peers []*peer
	picks []*pick
}

func (u *target) start(w *world) {
	w.t.Helper()
	if u.refuse {
		return
	}
	l, err := w.network.Listen(u.address)
	if err != nil {
		w.t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p := newPeer(c.(*memnet.Conn))
			u.mu.Lock()
			u.peers = append(u.peers, p)
			u.mu.Unlock()
			serving.Go(func() {
				defer p.conn.Close()
				u.script(p)
			})
		}
	})
	w.t.Cleanup(func() {
		l.Close()
		for _, p := range u.accepted() {
			p.conn.Close()
		}
		serving.Wait()
	})
}

func (u *target) accepted() []*peer {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.peers)
}

func (u *target) dial(ctx context.Context, n *memnet.Network) (net.Conn, error) {
	if u.dialling != nil {
		u.dialling(Ends(ctx))
	}
	ctx, step := lifecycle.FromContext(ctx).Begin(ctx, &lifecycle.Step{Phase: lifecycle.PhaseConnect})
	c, err := n.Dial(ctx, u.address)
	if err := step.End(ctx, err); err != nil {
		return nil, err
	}
	return relay.NewConn(c), nil
}

// accepting answers any head with a good 101 for key, followed by early, and then only reads.
func accepting(early string, lines ...string) func(*peer) {
	return replying(switching(lines...) + early)
}

// replying answers any head with raw bytes and then only reads.
func replying(raw string) func(*peer) {
	return func(p *peer) {
		p.awaitHead()
		p.conn.Write([]byte(raw))
		p.awaitEnd()
	}
}

// replyingAndClosing answers any head with raw bytes and closes.
func replyingAndClosing(raw string) func(*peer) {
	return func(p *peer) {
		p.awaitHead()
		p.conn.Write([]byte(raw))
	}
}

// silent only reads.
func silent(p *peer) { p.awaitEnd() }

// peer is an end of a connection that writes down all it receives.
type peer struct {
	conn *memnet.Conn

	mu      sync.Mutex
	changed *sync.Cond
	data    bytes.Buffer
	err     error // how receiving ended: io.EOF or another
}

func newPeer(c *memnet.Conn) *peer {
	p := &peer{conn: c}
	p.changed = sync.NewCond(&p.mu)
	go p.receive()
	return p
}

func (p *peer) receive() {
	b := make([]byte, 4<<10)
	for {
		n, err := p.conn.Read(b)
		p.mu.Lock()
		p.data.Write(b[:n])
		p.err = err
		p.changed.Broadcast()
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// await waits until what was received is enough, or until there will be no more.
func (p *peer) await(enough func([]byte) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.err == nil && !enough(p.data.Bytes()) {
		p.changed.Wait()
	}
}

func (p *peer) awaitHead() {
	p.await(func(b []byte) bool { return bytes.Contains(b, []byte("\r\n\r\n")) })
}

func (p *peer) awaitEnd() { p.await(func([]byte) bool { return false }) }

// String is what was received so far.
func (p *peer) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.data.String()
}

// ended says whether the other side has closed, in order or not.
func (p *peer) ended() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err != nil
}

func (p *peer) write(t *testing.T, s string) {
	t.Helper()
	if _, err := io.WriteString(p.conn, s); err != nil {
		t.Fatal(err)
	}
}

// journal is an observer that writes down how every phase before transfer ended, one line each:
// "upgrade 2: bad_upgrade_response (101)". The number is the attempt's where it is not the first.
type journal struct {
	mu       sync.Mutex
	lines    []string
	outcomes []lifecycle.Outcome

	traceResponse string // given to every connection
}

func (j *journal) Watch(c *lifecycle.Connection) lifecycle.Watcher {
	if j.traceResponse != "" {
		c.SetTrace("", j.traceResponse)
	}
	return j
}

func (j *journal) Begin(ctx context.Context, _ *lifecycle.Step) context.Context { return ctx }

func (j *journal) End(_ context.Context, s *lifecycle.Step) {
	line := s.Phase.String()
	if s.Attempt > 1 {
		line += fmt.Sprintf(" %d", s.Attempt)
	}
	line += ": " + s.Reason().String()
	if s.Failure == nil {
		line += "ok"
	}
	if s.Status != 0 {
		line += fmt.Sprintf(" (%d)", s.Status)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
}

func (j *journal) Done(o lifecycle.Outcome) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.outcomes = append(j.outcomes, o)
}

// String is the phases that ended, in one line.
func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.lines, ", ")
}

// ends is how connections left: "rejected 400 request_invalid", "closed 101 client_gone".
func (j *journal) ends() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var all []string
	for _, o := range j.outcomes {
		why := o.Close.Cause.String()
		if o.Failure != nil {
			why = o.Failure.Reason.String()
		}
		all = append(all, fmt.Sprintf("%s %d %s", o.Kind, o.Status, why))
	}
	return strings.Join(all, ", ")
}
