package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"

	"wsproxy/lifecycle"
	"wsproxy/proxy/relay"
)

// pairing is who talks to whom through us, and how.
type pairing struct {
	client, upstream   maker
	wssIn, wssOut      bool
	deflate            bool
	upstreamClosesThis bool
}

func (p pairing) String() string {
	s := p.client.name
	if p.wssIn {
		s += ", wss"
	}
	s += ", to " + p.upstream.name
	if p.wssOut {
		s += ", wss"
	}
	if p.deflate {
		s += ", deflate"
	}
	return s
}

func pairings() (all []pairing) {
	for _, client := range makers() {
		for _, upstream := range makers() {
			for i := range 8 {
				all = append(all, pairing{client, upstream, i&1 != 0, i&2 != 0, i&4 != 0, (len(all)+i)%2 == 0})
			}
		}
	}
	return all
}

// sizes are of the messages that everyone sends.
var sizes = []int{0, 1, 125, 126, 1000, 65_535, 65_536, 300_000}

func TestMakers(t *testing.T) {
	for name, engine := range engines(t) {
		for _, p := range pairings() {
			t.Run(fmt.Sprintf("%s, %s", name, p), func(t *testing.T) { p.run(t, engine()) })
		}
	}
}

func (p pairing) run(t *testing.T, e relay.Engine) {
	dial, ended, end := upstreamOf(t, p.upstream, p.wssOut, p.deflate)
	defer end()
	o := newOnSockets(t, e, dial, p.wssIn)
	defer o.end(t)
	c, err := p.client.dial(t.Context(), o.url, o.client, p.deflate)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.subprotocol(); got != "chat" {
		t.Errorf("subprotocol: got %q, want chat", got)
	}
	for i, size := range sizes {
		if err := c.echo(i%2 == 0, bytes.Repeat([]byte("word "), size/5+1)[:size]); err != nil {
			t.Fatalf("message of %d bytes: %v", size, err)
		}
	}
	var record *lifecycle.Connection
	for record = range o.server.Registry.All() {
		break
	}
	p.check(t, record)
	if p.upstreamClosesThis {
		p.upstreamCloses(t, c)
	} else if err := c.close(4001, "done"); err != nil {
		t.Errorf("close: %v", err)
	}
	err = <-ended
	if got := closeCode(err); !p.upstreamClosesThis && got != 4001 {
		t.Errorf("upstream: got %v, want Close 4001", err)
	}
	o.end(t)
	want := lifecycle.Close{Cause: lifecycle.CauseClientClose, Initiator: lifecycle.InitiatorClient, Code: 4001, Clean: true}
	if p.upstreamClosesThis {
		want = lifecycle.Close{Cause: lifecycle.CauseUpstreamClose, Initiator: lifecycle.InitiatorUpstream, Code: 4002, Clean: true}
	}
	got := o.journal.outcomes[0].Close
	got.TLSTruncated = false
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func (p pairing) upstreamCloses(t *testing.T, c endpoint) {
	t.Helper()
	if err := c.echo(true, []byte("bye")); closeCode(err) != 4002 {
		t.Errorf("client: got %v, want Close 4002", err)
	}
	c.closed()
}

func closeCode(err error) int {
	if ce, ok := errors.AsType[*gorilla.CloseError](err); ok {
		return ce.Code
	}
	return int(coder.CloseStatus(err))
}

// check compares what was counted with what was sent.
func (p pairing) check(t *testing.T, c *lifecycle.Connection) {
	t.Helper()
	facts := c.Facts()
	if facts.Subprotocol != "chat" || facts.Compressed != p.deflate {
		t.Errorf("got subprotocol %q, compressed %t, want chat, %t", facts.Subprotocol, facts.Compressed, p.deflate)
	}
	for _, d := range []lifecycle.Direction{lifecycle.Upstream, lifecycle.Downstream} {
		got := c.Flow(d).Counts()
		if got.Messages() != uint64(len(sizes)) || got.Text != uint64(len(sizes)+1)/2 {
			t.Errorf("%s: got %d messages, %d of text, want %d, %d", d, got.Messages(), got.Text, len(sizes), (len(sizes)+1)/2)
		}
		if (got.Compressed > 0) != p.deflate {
			t.Errorf("%s: got %d compressed messages with deflate %t", d, got.Compressed, p.deflate)
		}
		if !p.deflate && got.MessageBytes != 300_000+65_536+65_535+1000+126+125+1 {
			t.Errorf("%s: got %d bytes of messages, want those that were sent", d, got.MessageBytes)
		}
		if p.deflate && got.MessageBytes > 100_000 {
			t.Errorf("%s: got %d bytes of messages, want fewer: they were compressed", d, got.MessageBytes)
		}
	}
}

func TestPing(t *testing.T) {
	for name, engine := range engines(t) {
		for _, m := range makers() {
			t.Run(name+", "+m.name, func(t *testing.T) {
				dial, _, end := upstreamOf(t, m, false, false)
				defer end()
				o := newOnSockets(t, engine(), dial, false)
				defer o.end(t)
				c, err := m.dial(t.Context(), o.url, nil, false)
				if err != nil {
					t.Fatal(err)
				}
				if err := c.ping(); err != nil {
					t.Error(err)
				}
				for record := range o.server.Registry.All() {
					up, down := record.Flow(lifecycle.Upstream).Counts(), record.Flow(lifecycle.Downstream).Counts()
					if up.Ping != 1 || down.Pong != 1 {
						t.Errorf("got %d pings up, %d pongs down, want one each", up.Ping, down.Pong)
					}
				}
				o.server.Stop()
				c.closed()
			})
		}
	}
}

func TestUnixTarget(t *testing.T) {
	for name, engine := range engines(t) {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "up.sock")
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Skip(err)
			}
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { serveGorilla(w, r, false) }))
			s.Listener.Close()
			s.Listener = l
			s.Start()
			defer s.Close()
			o := newOnSockets(t, engine(), dialing("unix", path, nil), false)
			defer o.end(t)
			c, err := dialGorilla(t.Context(), o.url, nil, false)
			if err != nil {
				t.Fatal(err)
			}
			for _, size := range sizes {
				if err := c.echo(false, make([]byte, size)); err != nil {
					t.Fatalf("message of %d bytes: %v", size, err)
				}
			}
			if err := c.close(1000, ""); err != nil {
				t.Error(err)
			}
		})
	}
}

// A client at a Unix socket has no address to pass on.
func TestUnixListener(t *testing.T) {
	l := &listener{}
	r := httptest.NewRequest(http.MethodGet, "/chat", nil)
	r.RemoteAddr = "@"
	h := http.Header{}
	l.origin(r).forward(h, r)
	if got := h.Get("Forwarded"); got != `for=unknown;host="example.com";proto=http` {
		t.Errorf("Forwarded: got %q, want an unknown client", got)
	}
}
