//go:build linux

package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"wsproxy/internal/otlpsink"
	"wsproxy/lifecycle"
)

// stage is where a fault is played: an app with a collector, between a client and an upstream that do as the fault
// says.
type stage struct {
	*rig
	t       *testing.T
	sink    *otlpsink.Sink
	console lockedBuffer
	zone    zone
	over    chan ended // the connections that are over, in their order

	raw      net.Conn        // of the client; nil once there is a WebSocket
	in       *bufio.Reader   // from raw
	there    net.Conn        // the other end of a tunnel from raw; nil without one
	client   *websocket.Conn // nil unless it was upgraded
	upstream *websocket.Conn
	accepted chan *websocket.Conn // by the upstream of open
	asked    chan struct{}        // by an authentication check

	flooding *websocket.Conn // sends until it can't, which is when
	flooded  chan struct{}   // is closed and there is
	floodErr error           //

	spite atomic.Bool // has whoever measures round trips panic
}

// ended is a connection that is over.
type ended struct {
	*lifecycle.Connection
	lifecycle.Outcome
}

// newStage has one route, chat, whose upstream is what open needs.
func newStage(t *testing.T, f fault) *stage {
	s := &stage{t: t, sink: otlpsink.Start(), over: make(chan ended, 16), accepted: make(chan *websocket.Conn, 1), asked: make(chan struct{}, 1)}
	t.Cleanup(s.sink.Close)
	s.zone.answers, s.zone.codes = make(map[string][][]string), make(map[string]int)
	o := options{resolver: s.zone.resolver(t), console: &s.console, observers: []lifecycle.Observer{s}}
	s.rig = newRigWith(t, o, func(cfg object) {
		cfg["routes"] = []object{route("chat", "retries", 0)}
		cfg["upstreams"] = []object{{"name": "echo", "targets": []string{s.accepting()}}}
		cfg["log"] = object{"level": "info", "format": "json"}
		cfg["telemetry"] = object{"otlp": object{"endpoint": s.sink.URL, "protocol": "http/protobuf"}}
		if f.change != nil {
			f.change(s, cfg)
		}
	})
	if f.hook != nil {
		s.registry.Fault = func(_ context.Context, step *lifecycle.Step, err error) error {
			if forced := f.hook(step); forced != nil {
				return forced
			}
			return err
		}
	}
	return s
}

// Watch implements lifecycle.Observer.
func (s *stage) Watch(c *lifecycle.Connection) lifecycle.Watcher { return endWatcher{s, c} }

type endWatcher struct {
	stage *stage
	conn  *lifecycle.Connection
}

func (w endWatcher) Begin(ctx context.Context, _ *lifecycle.Step) context.Context { return ctx }
func (w endWatcher) End(context.Context, *lifecycle.Step)                         {}
func (w endWatcher) Relayed(lifecycle.Direction, time.Duration)                   {}
func (w endWatcher) Probed(lifecycle.Leg, time.Duration, int)                     {}
func (w endWatcher) Stalled(lifecycle.Direction, time.Duration)                   {}
func (w endWatcher) Pinged(lifecycle.Leg, time.Duration) {
	if w.stage.spite.Load() {
		panic("spite")
	}
}

func (w endWatcher) Done(o lifecycle.Outcome) {
	if o.Kind != lifecycle.OutcomeUnused && o.Kind != lifecycle.OutcomeDismissed {
		w.stage.over <- ended{w.conn, o}
	}
}

// accepting is an upstream that leaves its connections to the stage.
func (s *stage) accepting() (target string) {
	server := httptest.NewServer(http.HandlerFunc(s.accept))
	s.t.Cleanup(server.Close)
	return "ws" + strings.TrimPrefix(server.URL, "http")
}

func (s *stage) accept(w http.ResponseWriter, r *http.Request) {
	up := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	if c, err := up.Upgrade(w, r, nil); err == nil {
		s.accepted <- c
	}
}

// setRoute changes the route.
func setRoute(cfg object, with ...any) {
	for i := 0; i+1 < len(with); i += 2 {
		cfg["routes"].([]object)[0][with[i].(string)] = with[i+1]
	}
}

// setUpstream changes the upstream.
func setUpstream(cfg object, with ...any) {
	for i := 0; i+1 < len(with); i += 2 {
		cfg["upstreams"].([]object)[0][with[i].(string)] = with[i+1]
	}
}

// connect opens the client's connection.
func (s *stage) connect() net.Conn {
	s.t.Helper()
	c, err := net.Dial("tcp", s.first.String())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	s.raw, s.in = c, bufio.NewReader(c)
	return c
}

// send has the client connect and say something.
func (s *stage) send(raw string) {
	s.t.Helper()
	if _, err := io.WriteString(s.connect(), raw); err != nil {
		s.t.Fatal(err)
	}
}

// ask has the client ask for a WebSocket.
func (s *stage) ask(lines ...string) {
	s.t.Helper()
	s.send(upgradeOf("/chat", lines...))
}

// reached waits until a connection is in a phase.
func (s *stage) reached(phase string) {
	s.t.Helper()
	eventually(s.t, "a connection is in phase "+phase, func() bool {
		for p, n := range s.registry.Snapshot().Phases {
			if p.String() == phase && n > 0 {
				return true
			}
		}
		return false
	})
}

// open makes the client and the upstream each other's ends.
func (s *stage) open() {
	s.t.Helper()
	s.openBy(websocket.Dialer{}, "ws://"+s.first.String()+"/chat", nil)
}

func (s *stage) openBy(d websocket.Dialer, url string, h http.Header) {
	s.t.Helper()
	d.HandshakeTimeout = patience
	c, _, err := d.DialContext(s.t.Context(), url, h)
	if err != nil {
		s.t.Fatal(err)
	}
	s.client, s.raw = c, nil
	select {
	case s.upstream = <-s.accepted:
	case <-time.After(patience):
		s.t.Fatal("the upstream has accepted nobody")
	}
	s.reached("transfer")
	for _, end := range []*websocket.Conn{s.client, s.upstream} {
		s.t.Cleanup(func() { end.Close() })
		end.SetReadDeadline(time.Now().Add(patience))
		end.SetWriteDeadline(time.Now().Add(patience))
	}
}

// observe plays the fault, and returns its ending if all that see it agree on it and it is the one that is wanted.
func (f fault) observe(t *testing.T) *ending {
	s := newStage(t, f)
	f.play(s)
	saw := s.listen(f)
	var over ended
	select {
	case over = <-s.over:
	case <-time.After(2 * patience):
		t.Fatal("the connection does not end")
	}
	got := saw()
	want := f.want
	want.class = classOf(want.code)
	if want.phase != "" {
		want.class = ""
		if got.status != want.status || got.phase != "" && (got.phase != want.phase || got.reason != want.reason) {
			t.Errorf("the client was told %d %s %s, want %d %s %s", got.status, got.phase, got.reason, want.status, want.phase, want.reason)
		}
	} else if got.client != want.client || got.upstream != want.upstream {
		t.Errorf("the client saw %q and the upstream %q, want %q and %q", got.client, got.upstream, want.client, want.upstream)
	}
	found := want.told()
	for _, w := range witnesses {
		saw, sees := w.testimony(s, over), want.told()
		w.blind(&sees)
		if saw != sees {
			t.Errorf("%s: got\n%+v, want\n%+v", w.name, saw, sees)
		}
	}
	if t.Failed() {
		return nil
	}
	found.client, found.upstream = got.client, got.upstream
	return &found
}

// listen begins to read what the ends get, but for a deaf one, and returns what gives it once the connection is over.
func (s *stage) listen(f fault) (saw func() ending) {
	var reading sync.WaitGroup
	var e ending
	client := func() { e.client = s.heard(s.client) }
	upstream := func() { e.upstream = s.heard(s.upstream) }
	switch {
	case s.there != nil:
		client, upstream = func() { e.client = lastByte(s.raw) }, func() { e.upstream = lastByte(s.there) }
	case s.client == nil:
		return s.answer
	}
	for _, l := range []struct {
		leg  lifecycle.Leg
		read func()
	}{{lifecycle.LegClient, client}, {lifecycle.LegUpstream, upstream}} {
		if l.leg != f.deaf {
			reading.Go(l.read)
		}
	}
	return func() ending {
		switch {
		case f.deaf == lifecycle.LegClient && f.want.client != "": // of whom TCP has given up on nothing is heard
			client()
		case f.deaf == lifecycle.LegUpstream && f.want.upstream != "":
			upstream()
		}
		reading.Wait()
		return e
	}
}
