package relay

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"wsproxy/lifecycle"
)

// Goroutines is the engine for every system and every kind of connection: a goroutine per direction.
// The zero value is ready.
type Goroutines struct {
	// Log gets what should never happen. Nil: slog.Default.
	Log *slog.Logger

	running tally
	once    sync.Once
	buffers pool
	budget  budget
}

// turn is how many bytes a direction may relay before others get their turn. A bulk transfer never
// waits for its sockets, so without it small messages beside it would.
const turn = 256 << 10

// Start implements Engine.
func (g *Goroutines) Start(p *Pair) {
	g.once.Do(func() {
		if g.buffers == nil {
			g.buffers = newBuffers()
		}
	})
	r := newPumps(p, g.buffers, cmp.Or(g.Log, slog.Default()))
	r.budget = &g.budget
	g.running.add()
	go func() {
		defer g.running.done()
		r.run()
	}()
}

// Wait implements Engine.
func (g *Goroutines) Wait(ctx context.Context) error { return g.running.wait(ctx) }

// Workers implements Engine: goroutines are everybody's.
func (g *Goroutines) Workers() []lifecycle.Worker { return nil }

// Close implements Engine: there is nothing beside the connections.
func (g *Goroutines) Close() {}

// pumps relays one pair.
type pumps struct {
	log    *slog.Logger
	conn   *lifecycle.Connection
	done   func(lifecycle.Close)
	budget *budget
	legs   [2]*leg // by the direction that reads it

	mu      sync.Mutex // guards all below, and every call of the session
	session *session
	pumps   [2]pump
	timer   *time.Timer
	reset   [2]bool // legs that were cut for good
	crashed bool    // the session can't be trusted any more
	over    bool    // both sockets are closed
}

func newPumps(p *Pair, buffers pool, log *slog.Logger) *pumps {
	r := &pumps{log: log, conn: p.Conn, done: p.Done, session: newSession(p)}
	up, down := p.Conn.Flow(lifecycle.Upstream), p.Conn.Flow(lifecycle.Downstream)
	r.legs[lifecycle.Upstream] = newLeg(p.Client, r.session.policy.Write, &down.StallNanos, buffers)
	r.legs[lifecycle.Downstream] = newLeg(p.Upstream, r.session.policy.Write, &up.StallNanos, buffers)
	for d := range r.pumps {
		r.legs[d].early = p.Early[d]
		r.pumps[d] = pump{pumps: r, dir: lifecycle.Direction(d), in: r.legs[d], out: r.legs[1-d], changed: make(chan struct{}, 1)}
		r.legs[1-d].sock.onStall = r.pumps[d].stalled
	}
	return r
}

func (r *pumps) run() {
	r.mu.Lock()
	r.timer = time.AfterFunc(time.Hour, r.tick)
	r.settle()
	r.probe(time.Now())
	r.mu.Unlock()
	r.conn.OnStop(r.stop)

	var both sync.WaitGroup
	both.Go(r.pumps[lifecycle.Upstream].run)
	r.pumps[lifecycle.Downstream].run()
	both.Wait()

	end := r.finish()
	if r.done != nil {
		r.done(end)
	}
}

// finish closes both sockets and ends the connection.
func (r *pumps) finish() (end lifecycle.Close) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.probe(time.Now())
	r.over = true
	r.timer.Stop()
	for d, l := range r.legs {
		l.close()
		r.pumps[d].watch.stop()
	}
	defer func() {
		if v := recover(); v != nil { // of an observer, who has told nobody how the connection ended
			r.report(v)
			end = internalFault
			r.conn.Closed(end)
		}
	}()
	return r.session.done()
}

// update changes the session and carries out what follows from it. A fault of ours in there leaves a
// session that nobody can answer for: the connection is cut.
func (r *pumps) update(f func(*session)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over || r.crashed {
		return
	}
	defer func() {
		if v := recover(); v != nil {
			r.report(v)
			r.crash()
		}
	}()
	f(r.session)
	r.settle()
}

// settle wakes pumps for which there is something else to do now, resets legs that were cut, and sets
// the timer.
func (r *pumps) settle() {
	for d := range r.pumps {
		p := &r.pumps[d]
		if now := r.session.next(p.dir); now != p.doing {
			p.wake()
		}
	}
	for d := range r.legs {
		if r.session.legs[d].cut {
			r.cut(d)
		}
	}
	now := time.Now()
	if at := r.session.timer(now, r.stalled()); !at.IsZero() {
		r.timer.Reset(at.Sub(now))
	}
}

// cut resets a leg. Whoever waits for it or for the other one has to look again.
func (r *pumps) cut(d int) {
	if r.reset[d] {
		return
	}
	r.reset[d] = true
	r.legs[d].sock.reset()
	r.pumps[d].wake()
	r.pumps[1-d].wake()
}

// crash ends the connection without its session.
func (r *pumps) crash() {
	r.crashed = true
	r.session.over = true
	r.cut(0)
	r.cut(1)
}

func (r *pumps) report(v any) {
	r.log.Error("relay failed", "connection.id", r.conn.ID, "error", fmt.Sprint(v), "stack", string(debug.Stack()))
}

func (r *pumps) tick() {
	now := time.Now()
	r.update(func(s *session) { s.tick(now, r.stalled(), r) })
	r.mu.Lock()
	defer r.mu.Unlock()
	r.probe(now)
}

// probe asks the system about both legs, if it is this connection's turn.
func (r *pumps) probe(now time.Time) {
	if r.over || !r.budget.allows(now) {
		return
	}
	for d, l := range r.legs {
		leg := lifecycle.Direction(d).From()
		if now, ok := r.tcp(leg); ok {
			l.tcp.probed(r.conn, leg, now)
		}
	}
}

// tcp implements wire.
func (r *pumps) tcp(l lifecycle.Leg) (now tcpInfo, ok bool) {
	if raw := r.legs[reader(l)].sock.raw; raw != nil {
		raw.Control(func(fd uintptr) { now, ok = readTCP(int(fd)) })
	}
	return now, ok
}

func (r *pumps) stop(req lifecycle.StopRequest) {
	r.update(func(s *session) { s.stop(req) })
}

func (r *pumps) stalled() (w stalls) {
	for d := range w {
		w[d] = r.legs[1-d].sock.waiting.Load()
	}
	return w
}
