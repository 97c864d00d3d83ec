package relay

import (
	"context"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"wsproxy/lifecycle"
)

// trap is a connection that panics when it is armed.
type trap struct {
	net.Conn
	read, write atomic.Bool
}

func (c *trap) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.read.Load() && n > 0 {
		panic("trap: read")
	}
	return n, err
}

func (c *trap) Write(b []byte) (int, error) {
	if c.write.Load() {
		c.Conn.Write(b[:len(b)/2])
		panic("trap: write")
	}
	return c.Conn.Write(b)
}

func (c *trap) CloseWrite() error { return c.Conn.(interface{ CloseWrite() error }).CloseWrite() }

func (c *trap) SetLinger(s int) error { return c.Conn.(interface{ SetLinger(int) error }).SetLinger(s) }

// trapped puts traps under our legs.
func trapped(client, upstream *trap) network {
	return func(t testing.TB) wires {
		w := inMemory(t)
		client.Conn, upstream.Conn = w.clientLeg.(*Conn).Conn, w.upstreamLeg.(*Conn).Conn
		w.clientLeg, w.upstreamLeg = NewConn(client), NewConn(upstream)
		return w
	}
}

func quiet(testing.TB) Engine {
	return &Goroutines{Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
}

func TestFaultsOfOurs(t *testing.T) {
	internal := lifecycle.Close{Cause: lifecycle.CauseInternal, Initiator: lifecycle.InitiatorProxy, Code: 1011}
	truncated := internal
	truncated.FrameTruncated = true
	for _, c := range []struct {
		name   string
		script func(r *rig, client, upstream *trap)
		want   lifecycle.Close
	}{
		{
			name: "reading from the client",
			script: func(r *rig, client, upstream *trap) {
				client.read.Store(true)
				r.client.send(text(3))
				r.client.expect("close 1011 internal error")
				r.upstream.expect("close 1001 internal error")
				r.upstream.fin()
			},
			want: internal,
		},
		{
			name: "writing to the upstream",
			script: func(r *rig, client, upstream *trap) {
				upstream.write.Store(true)
				r.client.send(text(3))
				r.client.expect("close 1011 internal error")
				r.upstream.untilEnd("RST")
				r.client.fin()
			},
			want: truncated,
		},
		{
			name: "both at once",
			script: func(r *rig, client, upstream *trap) {
				client.read.Store(true)
				upstream.read.Store(true)
				r.client.send(text(3))
				r.upstream.send(text(3))
				r.client.expect("close 1011 internal error", "FIN")
				r.upstream.expect("close 1001 internal error", "FIN")
			},
			want: internal,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			stage{fake: true, engine: quiet}.run(t, func(t *testing.T, e Engine) {
				client, upstream := new(trap), new(trap)
				r := start(t, e, trapped(client, upstream), Policy{})
				c.script(r, client, upstream)
				if got := r.finish(); got != c.want {
					t.Errorf("got %+v, want %+v", got, c.want)
				}
			})
		})
	}
}

// spiteful is an observer that panics at the beginning of a phase, and never again.
type spiteful struct {
	recorder
	at   lifecycle.Phase
	done chan lifecycle.Outcome
}

func (s *spiteful) Watch(*lifecycle.Connection) lifecycle.Watcher { return s }

func (s *spiteful) Begin(ctx context.Context, step *lifecycle.Step) context.Context {
	if step.Phase == s.at {
		panic("spiteful")
	}
	return ctx
}

func (s *spiteful) Done(o lifecycle.Outcome) { s.done <- o }

// An observer that panics costs its connection, and nothing else.
func TestObserversPanic(t *testing.T) {
	for name, end := range map[string]func(*rig){
		"when a client closes": func(r *rig) { r.client.send(closing(1000, "")) },
		"when a client goes":   func(r *rig) { r.client.fin() },
		"when we decide":       func(r *rig) { r.record.Stop(lifecycle.StopRequest{Cause: lifecycle.CauseDrain}) },
	} {
		t.Run(name, func(t *testing.T) {
			stage{fake: true, engine: quiet}.run(t, func(t *testing.T, e Engine) {
				w := inMemory(t)
				observer := &spiteful{at: lifecycle.PhaseClose, done: make(chan lifecycle.Outcome, 1)}
				registry := &lifecycle.Registry{Observers: []lifecycle.Observer{observer}}
				pair := &Pair{Conn: opened(t, registry), Client: w.clientLeg, Upstream: w.upstreamLeg}
				r := &rig{t: t, record: pair.Conn}
				r.client = &peer{t: t, name: "client", conn: w.client, frames: fromClient}
				r.upstream = &peer{t: t, name: "upstream", conn: w.upstream, frames: fromUpstream, masked: true}
				e.Start(pair)
				end(r)
				select {
				case o := <-observer.done:
					if o.Kind != lifecycle.OutcomeClosed || o.Close.Clean {
						t.Errorf("got %+v, want an unclean close", o)
					}
				case <-time.After(time.Minute):
					t.Fatal("got no outcome, want one")
				}
				for _, p := range []*peer{r.client, r.upstream} {
					if p.fill(1 << 20); p.end == "NOTHING" {
						t.Errorf("%s: got an open connection, want an end", p.name)
					}
				}
				if registry.Get(pair.Conn.ID) != nil {
					t.Error("got a live record, want none")
				}
			})
		})
	}
}
