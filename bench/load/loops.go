//go:build linux

package load

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"wsproxy/bench/server"
	"wsproxy/bench/stats"
	"wsproxy/bench/wire"
)

// chunk is how many bytes are written or read at once.
const chunk = 64 << 10

// counter has a cache line of its own.
type counter struct {
	atomic.Int64
	_ [56]byte
}

func sum(all []counter) (n int64) {
	for i := range all {
		n += all[i].Load()
	}
	return n
}

func (w Workload) echoPath() string { return fmt.Sprintf("%s?size=%d", server.PathEcho, w.Size) }

func (w Workload) echo(ctx context.Context, e *Env) (Result, error) {
	conns, err := e.Target.open(ctx, w.Connections, w.echoPath(), false)
	if err != nil {
		return nil, err
	}
	defer closeAll(conns)
	frame := wire.Frame(wire.Binary, make([]byte, w.Size), true)
	answer := len(frame) - len(wire.Header{Key: new([4]byte)}.Key)
	done := make([]counter, len(conns))
	crew := newCrew(ctx)
	for i, c := range conns {
		crew.start(func() error { return echoes(crew.ctx, c, frame, make([]byte, answer), &done[i]) })
	}
	r, err := crew.watch(e, func(Reading) float64 { return float64(sum(done)) })
	crew.cancel(errOver)
	closeAll(conns)
	if failed := crew.dismiss(); failed != nil {
		return nil, failed
	}
	return r, err
}

func echoes(ctx context.Context, c *conn, frame, answer []byte, done *counter) error {
	for ctx.Err() == nil {
		if _, err := c.Write(frame); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, answer); err != nil {
			return unexpected(err)
		}
		done.Add(1)
	}
	return nil
}

// streams are connections with bulk data on them.
type streams struct {
	conns []*conn
	got   []counter // bytes received
}

func (w Workload) streams(ctx context.Context, crew *crew, e *Env, n int) (*streams, error) {
	down := 0
	if w.Down {
		down = 1
	}
	conns, err := e.Target.open(ctx, n, fmt.Sprintf("%s?size=%d&down=%d", server.PathStream, w.Size, down), false)
	if err != nil {
		return nil, err
	}
	s := &streams{conns: conns, got: make([]counter, n)}
	frame := wire.Frame(wire.Binary, make([]byte, w.Size), true)
	for i, c := range conns {
		if w.Up {
			frames := wire.Repeat(frame, chunk)
			crew.start(func() error { return sends(crew.ctx, c, frames) })
		} else {
			crew.start(func() error { _, err := c.Write(frame); return err }) // nobody speaks before its client
		}
		crew.start(func() error { return receives(crew.ctx, c, &s.got[i]) })
	}
	return s, nil
}

func sends(ctx context.Context, c *conn, frames []byte) error {
	for ctx.Err() == nil {
		if _, err := c.Write(frames); err != nil {
			return err
		}
	}
	return nil
}

func receives(ctx context.Context, c *conn, got *counter) error {
	b := make([]byte, chunk)
	for ctx.Err() == nil {
		n, err := c.Read(b)
		got.Add(int64(n))
		if err != nil {
			return unexpected(err)
		}
	}
	return nil
}

// megabytes is what the receivers of both directions have.
func (s *streams) megabytes(r Reading) float64 { return float64(sum(s.got)+r.Swallowed) / 1e6 }

func (w Workload) stream(ctx context.Context, e *Env) (Result, error) {
	crew := newCrew(ctx)
	s, err := w.streams(ctx, crew, e, w.Connections)
	if err != nil {
		return nil, err
	}
	r, err := crew.watch(e, s.megabytes)
	crew.cancel(errOver)
	closeAll(s.conns)
	if failed := crew.dismiss(); failed != nil {
		return nil, failed
	}
	return r, err
}

// setup opens and closes connections all the time, and tells how long opening takes.
func (w Workload) setup(ctx context.Context, e *Env) (Result, error) {
	done := make([]counter, w.Connections)
	var mu sync.Mutex
	var took []float64
	crew := newCrew(ctx)
	for i := range done {
		crew.start(func() error {
			var own []float64
			defer func() {
				mu.Lock()
				defer mu.Unlock()
				took = append(took, own...)
			}()
			for crew.ctx.Err() == nil {
				begun := time.Now()
				c, err := e.Target.dial(crew.ctx, w.echoPath(), false)
				if err != nil {
					return err
				}
				own = append(own, micros(time.Since(begun)))
				if err := c.closed(); err != nil {
					return err
				}
				done[i].Add(1)
			}
			return nil
		})
	}
	r, err := crew.watch(e, func(Reading) float64 { return float64(sum(done)) })
	if failed := crew.dismiss(); failed != nil {
		return nil, failed
	}
	if err != nil {
		return nil, err
	}
	r.latencies(took)
	return r, nil
}

// latencies adds percentiles; the samples are in microseconds.
func (r Result) latencies(samples []float64) {
	slices.Sort(samples)
	r[P50], r[P99], r[P999], r[Max] = stats.Percentile(samples, 0.5), stats.Percentile(samples, 0.99), stats.Percentile(samples, 0.999), stats.Percentile(samples, 1)
}
