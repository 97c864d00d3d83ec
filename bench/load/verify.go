//go:build linux

package load

import (
	"context"
	"fmt"

	"wsproxy/bench/server"
	"wsproxy/bench/wire"
)

// Verify sends a script through a connection while the server sends another, and compares every byte at
// both ends.
func (t *Target) Verify(ctx context.Context, seed uint64, limits wire.Limits) error {
	path := fmt.Sprintf("%s?seed=%d&messages=%d&largest=%d", server.PathVerify, seed, limits.Messages, limits.Largest)
	c, err := t.dial(ctx, path, false)
	if err != nil {
		return err
	}
	defer c.Close()
	crew := newCrew(ctx)
	both := func(work func() error) { // the end of one direction must not leave the other waiting
		crew.start(func() error {
			err := work()
			if err != nil {
				crew.cancel(err) // what follows from closing is not the reason
				c.Close()
			}
			return err
		})
	}
	both(func() error {
		_, err := wire.CopyInChunks(c, wire.NewScript(seed, true, limits), seed)
		return err
	})
	both(func() error { return wire.Compare(c, wire.NewScript(seed, false, limits)) }) // and takes no byte more
	crew.all.Wait()
	if err := crew.dismiss(); err != nil {
		return fmt.Errorf("seed %d: downstream: %w", seed, err)
	}
	if err := c.closed(); err != nil {
		return fmt.Errorf("seed %d: upstream: %w", seed, err)
	}
	return nil
}
