//go:build linux

package load

import "context"

// idle opens connections on which nothing happens. A proxy's memory for each is by how much it grows with
// them, from a number that has filled pools and caches. What of that is garbage not yet collected is
// found last, for collecting would change the rest.
func (w Workload) idle(ctx context.Context, e *Env) (Result, error) {
	more := w.Connections - w.Base
	base, err := w.open(ctx, e, w.Base)
	if err != nil {
		return nil, err
	}
	defer closeAll(base)
	before, fewer, err := e.Gauge.Memory()
	if err != nil {
		return nil, err
	}
	rest, err := w.open(ctx, e, more)
	if err != nil {
		return nil, err
	}
	defer closeAll(rest)
	after, all, err := e.Gauge.Memory()
	if err != nil {
		return nil, err
	}
	live, err := e.Gauge.Live(ctx)
	if err != nil {
		return nil, err
	}
	if err := leave(rest); err != nil {
		return nil, err
	}
	if err := newCrew(ctx).wait(e.Settle); err != nil {
		return nil, err
	}
	without, err := e.Gauge.Live(ctx)
	n := float64(more)
	return Result{
		Memory:      float64(after-before) / n,
		Live:        (live - without) / n,
		Descriptors: float64(all-fewer) / n,
	}, err
}

// open opens connections and lets the proxy's memory settle.
func (w Workload) open(ctx context.Context, e *Env, n int) ([]*conn, error) {
	conns, err := e.Target.open(ctx, n, w.echoPath(), false)
	if err != nil {
		return nil, err
	}
	return conns, newCrew(ctx).wait(e.Settle)
}

// leave closes connections properly.
func leave(conns []*conn) error {
	for _, c := range conns {
		if err := c.closed(); err != nil {
			return err
		}
	}
	return nil
}
