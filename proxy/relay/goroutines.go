package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"wsproxy/lifecycle"
)

// Goroutines is the engine for every system and every kind of connection: a goroutine per direction.
type Goroutines struct {
	// Log gets what should never happen. Nil: slog.Default.
	Log *slog.Logger

	running sync.WaitGroup
}

// turn is how many bytes a direction may relay before others get their turn. A bulk transfer never
// waits for its sockets, so without it small messages beside it would.
const turn = 256 << 10

// Start implements Engine.
func (g *Goroutines) Start(p *Pair) {
	log := g.Log
	if log == nil {
		log = slog.Default()
	}
	r := &pumps{session: newSession(p), log: log}
	up, down := p.Conn.Flow(lifecycle.Upstream), p.Conn.Flow(lifecycle.Downstream)
	r.legs[lifecycle.Upstream] = newLeg(p.Client, p.Policy.Write, &down.StallNanos)
	r.legs[lifecycle.Downstream] = newLeg(p.Upstream, p.Policy.Write, &up.StallNanos)
	for d := range r.pumps {
		r.pumps[d] = pump{pumps: r, dir: lifecycle.Direction(d), in: r.legs[d], out: r.legs[1-d], early: p.Early[d], changed: make(chan struct{}, 1)}
	}
	p.Early = [2][]byte{}
	g.running.Go(func() { r.run(p) })
}

// Wait implements Engine.
func (g *Goroutines) Wait(ctx context.Context) error {
	all := make(chan struct{})
	go func() { g.running.Wait(); close(all) }()
	select {
	case <-all:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pumps relays one pair.
type pumps struct {
	log  *slog.Logger
	legs [2]*leg // by the direction that reads it

	mu      sync.Mutex // guards all below, and every call of the session
	session *session
	pumps   [2]pump
	timer   *time.Timer
	reset   [2]bool // legs that were cut for good
}

// pump moves bytes in one direction. It alone reads in and writes to out.
type pump struct {
	pumps   *pumps
	dir     lifecycle.Direction
	in, out *leg
	early   []byte
	moved   int           // since others had their turn
	doing   action        // guarded by pumps.mu
	changed chan struct{} // wakes a pump that has nothing to do
}

func (r *pumps) run(p *Pair) {
	r.mu.Lock()
	r.timer = time.AfterFunc(time.Hour, r.tick)
	r.settle()
	r.mu.Unlock()
	p.Conn.OnStop(r.stop)

	var both sync.WaitGroup
	both.Go(r.pumps[lifecycle.Upstream].run)
	r.pumps[lifecycle.Downstream].run()
	both.Wait()

	r.mu.Lock()
	defer r.mu.Unlock()
	r.timer.Stop()
	for _, l := range r.legs {
		l.close()
	}
	end := r.session.done()
	if p.Done != nil {
		p.Done(end)
	}
}

// update changes the session and carries out what follows from it.
func (r *pumps) update(f func(*session)) {
	r.mu.Lock()
	defer r.mu.Unlock()
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
	for d, l := range r.legs {
		if r.session.legs[d].cut && !r.reset[d] {
			r.reset[d] = true
			l.sock.reset()
			r.pumps[d].wake()
			r.pumps[1-d].wake()
		}
	}
	now := time.Now()
	if at := r.session.timer(now, r.stalled()); !at.IsZero() {
		r.timer.Reset(at.Sub(now))
	}
}

func (r *pumps) tick() {
	r.update(func(s *session) { s.tick(time.Now(), r.stalled()) })
}

func (r *pumps) stop(req lifecycle.StopRequest) {
	r.update(func(s *session) { s.stop(req) })
}

func (r *pumps) stalled() bool { return r.legs[0].sock.waiting.Load() || r.legs[1].sock.waiting.Load() }

// wake has the pump ask again what to do. One that writes asks when it has written.
func (p *pump) wake() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
	p.in.sock.wake()
}

// run relays until the direction is over. A fault of ours ends this connection alone, and the first one
// in good order.
func (p *pump) run() {
	p.relayEarly()
	for faults := 0; !p.loop(); faults++ {
		p.pumps.update(func(s *session) {
			s.stop(lifecycle.StopRequest{Cause: lifecycle.CauseInternal})
			if faults > 0 {
				s.expire()
			}
		})
	}
}

// loop does what the session says. It returns false if it panicked.
func (p *pump) loop() (done bool) {
	defer func() {
		if v := recover(); v != nil {
			p.pumps.log.Error("relay failed", "connection.id", p.pumps.session.conn.ID, "error", fmt.Sprint(v), "stack", string(debug.Stack()))
		}
	}()
	for {
		switch p.next() {
		case actRead:
			p.relay()
		case actInject:
			p.inject()
		case actFIN:
			p.fin()
		case actWait:
			<-p.changed
		case actStop:
			return true
		}
	}
}

func (p *pump) next() action {
	r := p.pumps
	r.mu.Lock()
	defer r.mu.Unlock()
	changes := r.session.changes
	p.doing = r.session.next(p.dir)
	if r.session.changes != changes {
		r.settle()
	}
	return p.doing
}

// relay passes on what one read brings.
func (p *pump) relay() {
	b, err := p.in.read()
	if fresh := len(b) - len(p.in.held); fresh > 0 {
		p.moved += fresh
		p.pass(b)
	} else {
		p.in.release(len(b))
	}
	switch {
	case err == nil:
	case errors.Is(err, os.ErrDeadlineExceeded):
		p.in.sock.woken()
	default:
		p.over(err)
	}
	if p.moved >= turn {
		p.moved = 0
		runtime.Gosched()
	}
}

// pass writes what the session lets through of b, which is in the leg's buffer.
func (p *pump) pass(b []byte) {
	r := p.pumps
	r.mu.Lock()
	changes := r.session.changes
	pass, held := r.session.sift(p.dir, b)
	if r.session.changes != changes {
		r.settle()
	}
	r.mu.Unlock()
	if pass > 0 {
		p.write(b[:pass])
	}
	p.in.release(held)
}

// relayEarly passes on what came with the handshake, as if it had been read now.
func (p *pump) relayEarly() {
	for early := p.early; len(early) > 0 && p.next() == actRead; {
		p.in.take()
		n := copy(p.in.buf[p.in.n:], early)
		p.in.n += n
		early = early[n:]
		p.pass(p.in.buf[:p.in.n])
	}
	p.early = nil
}

func (p *pump) write(b []byte) {
	if err := p.out.write(b); err != nil {
		p.pumps.update(func(s *session) { s.notWritten(p.dir.To(), err) })
	}
}

func (p *pump) inject() {
	p.pumps.mu.Lock()
	f := p.pumps.session.flows[p.dir].inject
	p.pumps.mu.Unlock()
	if f == nil { // muted in the meantime
		return
	}
	p.write(f)
	p.pumps.update(func(s *session) { s.injected(p.dir) })
}

func (p *pump) fin() {
	if err := p.out.closeWrite(); err != nil {
		p.pumps.update(func(s *session) { s.notWritten(p.dir.To(), err) })
	}
	p.pumps.update(func(s *session) { s.finished(p.dir) })
}

// over reports that nothing more can be read.
func (p *pump) over(err error) {
	p.pumps.update(func(s *session) {
		if errors.Is(err, io.EOF) {
			s.ended(p.dir, p.in.truncated())
		} else {
			s.failed(p.dir.From(), err)
		}
	})
}
