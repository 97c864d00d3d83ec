package relay

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"wsproxy/lifecycle"
)

// Loops is the engine for Linux sockets: a few event loops that own the descriptors of both legs. An
// idle connection costs no goroutine and no buffer. What a loop can't own goes to goroutines.
type Loops struct {
	workers  []*loop
	fallback Goroutines
	running  tally          // connections
	turning  sync.WaitGroup // loops
}

// NewLoops starts n event loops; 0 is one for each processor that the program may use. log gets what
// should never happen; nil is slog.Default.
func NewLoops(n int, log *slog.Logger) (*Loops, error) {
	if n <= 0 {
		n = runtime.GOMAXPROCS(0)
	}
	if log == nil {
		log = slog.Default()
	}
	e := &Loops{fallback: Goroutines{Log: log}}
	for i := range n {
		l, err := newLoop(i, log)
		if err != nil {
			e.Close()
			return nil, fmt.Errorf("event loop: %w", err)
		}
		l.pipes.most = pipesFor(n)
		e.workers = append(e.workers, l)
		e.turning.Go(l.run)
	}
	return e, nil
}

// Start implements Engine.
func (e *Loops) Start(p *Pair) {
	client, ok1 := takeable(p.Client)
	upstream, ok2 := takeable(p.Upstream)
	if !ok1 || !ok2 {
		e.fallback.Start(p)
		return
	}
	c, err := newCouple(p, client, upstream)
	if err != nil { // out of descriptors: the pair is whole, and goroutines need no more of them
		e.fallback.Start(p)
		return
	}
	e.running.add()
	c.ended = e.running.done
	l := e.least()
	l.connections.Add(1)
	c.loop = l
	p.Conn.SetWorker(l.id)
	l.do(func() { l.add(c) })
	p.Conn.OnStop(func(r lifecycle.StopRequest) {
		l.do(func() { l.update(c, func(s *session) { s.stop(r) }) })
	})
}

// least is the loop with the fewest connections.
func (e *Loops) least() *loop {
	best := e.workers[0]
	for _, l := range e.workers[1:] {
		if l.connections.Load() < best.connections.Load() {
			best = l
		}
	}
	return best
}

// Wait implements Engine.
func (e *Loops) Wait(ctx context.Context) error {
	if err := e.running.wait(ctx); err != nil {
		return err
	}
	return e.fallback.Wait(ctx)
}

// Workers implements Engine.
func (e *Loops) Workers() []lifecycle.Worker {
	var all []lifecycle.Worker
	for _, l := range e.workers {
		w := l.stats.worker(time.Now())
		w.ID, w.Connections = l.id, int(l.connections.Load())
		all = append(all, w)
	}
	return all
}

// Close implements Engine.
func (e *Loops) Close() {
	for _, l := range e.workers {
		l.close()
	}
	e.turning.Wait()
}

// takeable finds the socket under c, if a loop can have its descriptor.
func takeable(c any) (*Conn, bool) {
	switch c := c.(type) {
	case *Conn:
		return c, c.raw != nil
	case *tls.Conn:
		sock, ok := beneath(c.NetConn()).(*Conn)
		return sock, ok && sock.raw != nil
	}
	return nil, false
}

// dup makes a second descriptor of c's socket. Closing c then takes it from Go's poller only.
func dup(c *Conn) (fd int, err error) {
	controlErr := c.raw.Control(func(old uintptr) {
		fd, err = unix.FcntlInt(old, syscall.F_DUPFD_CLOEXEC, 0)
	})
	if controlErr != nil {
		return -1, controlErr
	}
	return fd, err
}
