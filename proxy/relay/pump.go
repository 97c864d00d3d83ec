package relay

import (
	"errors"
	"io"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"wsproxy/lifecycle"
)

// pump moves bytes in one direction. It alone reads in and writes to out.
type pump struct {
	pumps     *pumps
	dir       lifecycle.Direction
	in, out   *leg
	moved     int           // since others had their turn
	dirty     bool          // what was sifted is not yet written
	waited    bool          // out kept a write waiting
	throttled atomic.Bool   // in is not read, by our own decision
	looks     atomic.Int32  // while out kept the same write waiting
	doing     action        // guarded by pumps.mu
	changed   chan struct{} // wakes a pump that has nothing to do
	watch     watch
}

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
	for faults := 0; !p.loop(); faults++ {
		p.in.drop()
		p.pumps.update(func(s *session) {
			s.fault(p.dir, p.dirty)
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
			p.pumps.report(v)
		}
	}()
	for {
		switch p.next() {
		case actRead:
			p.relay()
		case actInject:
			p.inject()
		case actPing:
			p.ping()
		case actFIN:
			p.fin()
		case actWait:
			p.wait()
		case actStop:
			return true
		}
	}
}

// wait is for there being something to do. A throttled leg is not read, but its reset is looked out for.
func (p *pump) wait() {
	if p.throttled.Load() {
		p.watch.start(p.look)
	}
	<-p.changed
	p.throttled.Store(false)
}

func (p *pump) next() action {
	r := p.pumps
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.crashed {
		return actStop
	}
	if p.waited {
		p.waited = false
		r.session.taken(p.dir, time.Now())
	}
	changes := r.session.changes
	p.doing = r.session.next(p.dir)
	if p.doing == actWait {
		p.throttled.Store(r.session.throttled(p.dir))
	}
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
	p.dirty = true
	var begun time.Time
	if sampled() {
		begun = time.Now()
	}
	pass, held := p.sift(b)
	if pass > 0 {
		p.write(b[:pass])
		if !begun.IsZero() && !p.waited {
			p.pumps.conn.Relayed(p.dir, time.Since(begun))
		}
	}
	p.dirty = false
	p.in.release(held)
}

func (p *pump) sift(b []byte) (pass, held int) {
	r := p.pumps
	r.mu.Lock()
	defer r.mu.Unlock()
	changes := r.session.changes
	pass, held = r.session.sift(p.dir, b)
	if r.session.changes != changes {
		r.settle()
	}
	return pass, held
}

func (p *pump) write(b []byte) {
	before := p.out.sock.stall.Load()
	err := p.out.write(b)
	p.waited = p.out.sock.stall.Load() != before
	if err != nil {
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
	p.dirty = true
	p.write(f)
	p.dirty = false
	p.pumps.update(func(s *session) { s.injected(p.dir) })
}

// ping writes a ping of ours, if it is still wanted.
func (p *pump) ping() {
	var b []byte
	p.pumps.update(func(s *session) { b = s.ping(p.dir, p.pumps) })
	if len(b) > 0 {
		p.dirty = true
		p.write(b)
		p.dirty = false
	}
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
		if isEnd(err) {
			s.ended(p.dir, p.in.truncated())
		} else {
			s.failed(p.dir.From(), err)
		}
	})
}

// stalled is called when a write begins to wait for out: in is not read meanwhile, and a reset of it
// would go unnoticed.
func (p *pump) stalled() {
	p.looks.Store(0)
	p.watch.start(p.look)
}

// look gives up a leg that was reset while the other is too slow to take what it sent.
func (p *pump) look() {
	waiting := p.out.sock.waiting.Load()
	if !waiting && !p.throttled.Load() {
		return
	}
	if waiting && p.looks.Add(1) == int32(stalledAfter/lookout) {
		p.pumps.conn.Stalled(p.dir, stalledAfter)
	}
	if err := p.in.sock.failure(); err != nil {
		p.pumps.update(func(s *session) { s.notWritten(p.dir.From(), err) })
		return
	}
	p.watch.start(p.look)
}

// lookout is how long a write waits before the leg that is not read is looked at, and between two looks.
const lookout = time.Second

// watch is a timer that is made when it is first needed.
type watch struct {
	mu      sync.Mutex
	timer   *time.Timer
	stopped bool
}

func (w *watch) start(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.stopped:
	case w.timer == nil:
		w.timer = time.AfterFunc(lookout, f)
	default:
		w.timer.Reset(lookout)
	}
}

// stop is for good.
func (w *watch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	if w.timer != nil {
		w.timer.Stop()
	}
}

// isEnd reports a FIN: at the end of a TLS record, or inside one.
func isEnd(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }
