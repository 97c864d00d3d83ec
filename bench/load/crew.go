//go:build linux

package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// crew is the goroutines of a workload. The first that fails ends the measurement.
type crew struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	all    sync.WaitGroup
}

// errOver ends a crew whose work is done.
var errOver = errors.New("over")

func newCrew(ctx context.Context) *crew {
	c := &crew{}
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	return c
}

func (c *crew) start(work func() error) {
	c.all.Go(func() {
		if err := work(); err != nil {
			c.cancel(err)
		}
	})
}

// dismiss ends all and waits for them. It returns why the measurement failed, if it did.
func (c *crew) dismiss() error {
	c.cancel(errOver)
	c.all.Wait()
	if err := context.Cause(c.ctx); !errors.Is(err, errOver) {
		return err
	}
	return nil
}

// wait waits for a time, or for the crew to fail.
func (c *crew) wait(d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	}
}

// watch measures a window in which units counts the work done so far.
func (c *crew) watch(e *Env, units func(Reading) float64) (Result, error) {
	if err := c.wait(e.Warm); err != nil {
		return nil, err
	}
	before, err := e.Gauge.CPU()
	if err != nil {
		return nil, err
	}
	begun, done := time.Now(), units(before)
	if err := c.wait(e.Window); err != nil {
		return nil, err
	}
	after, err := e.Gauge.CPU()
	if err != nil {
		return nil, err
	}
	return costs(before, after, units(after)-done, time.Since(begun)), nil
}

// handshakes is how many connections are set up at a time.
const handshakes = 16

// open opens n connections. They are cut when ctx ends.
func (t *Target) open(ctx context.Context, n int, path string, stamps bool) ([]*conn, error) {
	conns := make([]*conn, n)
	var next atomic.Int64
	c := newCrew(ctx)
	for range min(n, handshakes) {
		c.start(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= n || c.ctx.Err() != nil {
					return nil
				}
				conn, err := t.dial(ctx, path, stamps)
				if err != nil {
					return fmt.Errorf("connection %d of %d: %w", i+1, n, err)
				}
				conns[i] = conn
			}
		})
	}
	c.all.Wait()
	if err := c.dismiss(); err != nil {
		closeAll(conns)
		return nil, err
	}
	return conns, nil
}

func closeAll(conns []*conn) {
	for _, c := range conns {
		if c != nil {
			c.Close()
		}
	}
}
