package main

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"wsproxy/lifecycle"
	"wsproxy/proxy"
	"wsproxy/telemetry"
)

// drain is the end of the process: new connections are refused, or go to the process that takes over if handed says
// so, and the open ones leave until drain.timeout or a further signal.
func (a *app) drain(cause string, handed bool, again <-chan os.Signal) {
	a.system.Enter(lifecycle.StateDraining, cause)
	if u := a.options.upgrader; u != nil {
		u.Stop() // a new process that is not ready yet is of no use
	}
	c := a.current().cfg.Drain
	d := proxy.Drain{Spread: time.Duration(c.Spread), Code: c.Code, Reason: c.Reason}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(c.Timeout))
	defer cancel()
	go func() {
		if awaitStop(ctx, again) {
			cancel()
		}
	}()
	ended := a.telemetry.Drain(telemetry.Drain{Connections: a.registry.Snapshot().Open()})
	if handed {
		a.proxy.LeaveAll()
		a.admin.Close() // whoever asks now is to be answered by the new process
	} else {
		a.notifyStopping(cause)
		a.proxy.Refuse(d)
	}
	a.proxy.Drain(ctx, d)
	ended(a.awaitGone(ctx, handed))
}

// awaitStop waits for a signal to stop, and reports whether one came before ctx ended.
func awaitStop(ctx context.Context, signals <-chan os.Signal) bool {
	for {
		select {
		case s := <-signals:
			if s == syscall.SIGTERM || s == os.Interrupt {
				return true
			}
		case <-ctx.Done():
			return false
		}
	}
}

// awaitGone waits until every connection has left, cuts off those that have not when ctx ends, and returns how
// many those were. With handed there may be clients that are not upgraded yet; they get that far.
func (a *app) awaitGone(ctx context.Context, handed bool) (cut int) {
	var err error
	if handed {
		err = a.proxy.AwaitLeft(ctx)
	}
	if errors.Join(err, a.engine.Wait(ctx)) == nil {
		return 0
	}
	cut = a.registry.Snapshot().Open()
	a.proxy.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if err := a.engine.Wait(ctx); err != nil {
		a.log.Error("connections are still open", "error", err)
	}
	return cut
}

// drainRequest is a drain that the process survives.
type drainRequest struct {
	route, upstream string  // limit it; empty: no
	before          int     // those of a generation before this one; 0: of any
	share           float64 // of the connections; 0: all
	spread          time.Duration
	cause           lifecycle.Cause
	code            int
	reason          string
}

// drains are those under way beside the process's own.
type drains struct {
	mu      sync.Mutex
	all     []*proxy.Departure
	running sync.WaitGroup
	ctx     context.Context // ends with stop
	cancel  context.CancelFunc
}

// begin notes a drain, and runs f with a ctx that ends when the process does.
func (s *drains) begin(d *proxy.Departure, f func(ctx context.Context)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx == nil {
		s.ctx, s.cancel = context.WithCancel(context.Background())
	}
	s.all = append(s.all, d)
	s.running.Go(func() {
		f(s.ctx)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.all = slices.DeleteFunc(s.all, func(o *proxy.Departure) bool { return o == d })
	})
}

// stop ends what is under way, without cutting anybody off.
func (s *drains) stop() {
	s.mu.Lock()
	if s.cancel == nil {
		s.ctx, s.cancel = context.WithCancel(context.Background())
	}
	s.cancel()
	s.mu.Unlock()
	s.running.Wait()
}

func (s *drains) remaining() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.all {
		n += d.Remaining()
	}
	return n
}

// drainSome asks open connections to leave, and returns how many. It goes on in the background until they have
// left or drain.timeout cuts them off.
func (a *app) drainSome(r drainRequest) int {
	d := a.proxy.Departure(proxy.Drain{
		Match: func(c *lifecycle.Connection) bool {
			f := c.Facts()
			return (r.route == "" || f.Route == r.route) && (r.upstream == "" || f.Upstream == r.upstream) &&
				(r.before == 0 || f.Generation < r.before)
		},
		Pending: r.before > 0, Share: r.share, Spread: r.spread, Cause: r.cause, Code: r.code, Reason: r.reason,
	})
	if d.Total() == 0 {
		return 0
	}
	timeout := max(time.Duration(a.current().cfg.Drain.Timeout), r.spread+stopTimeout)
	ended := a.telemetry.Drain(telemetry.Drain{Route: r.route, Upstream: r.upstream, Share: r.share, Connections: d.Total()})
	a.drains.begin(d, func(ctx context.Context) {
		limited, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		d.Ask(limited)
		cut := 0
		if d.Await(limited) != nil && ctx.Err() == nil {
			cut = d.Remaining()
			d.Cut()
		}
		ended(cut)
	})
	return d.Total()
}

// drainRemaining is how many connections drains still wait for.
func (a *app) drainRemaining() int {
	if a.system.State() == lifecycle.StateDraining {
		return a.registry.Snapshot().Open()
	}
	return a.drains.remaining()
}
