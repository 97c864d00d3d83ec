//go:build linux

package load

import (
	"context"
	"fmt"
	"time"

	"wsproxy/bench/server"
	"wsproxy/bench/wire"
)

// trickle is the time between the bytes of a peer that sends them one by one.
const trickle = 10 * time.Millisecond

// besides starts the peers that ask too much of a proxy: one that reads slowly, as does the server on its behalf, while both
// send all that they can; one that reads nothing of what it is sent; and one that sends a byte at a time of a large frame.
func besides(ctx context.Context, crew *crew, e *Env) ([]*conn, error) {
	path := fmt.Sprintf("%s?size=%d&down=%%d&slow=%%d", server.PathStream, bulkSize)
	var all []*conn
	for _, p := range []struct {
		down, slow int
		act        func(ctx context.Context, c *conn) error
	}{
		{1, 1, sips},
		{1, 0, deaf},
		{0, 0, trickles},
	} {
		c, err := e.Target.dial(ctx, fmt.Sprintf(path, p.down, p.slow), false)
		if err != nil {
			closeAll(all)
			return nil, err
		}
		all = append(all, c)
		crew.start(func() error { return p.act(crew.ctx, c) })
	}
	crew.start(func() error { return sends(crew.ctx, all[0], wire.Repeat(bulkFrame(), chunk)) })
	return all, nil
}

func bulkFrame() []byte { return wire.Frame(wire.Binary, make([]byte, bulkSize), true) }

// sips reads little, now and then.
func sips(ctx context.Context, c *conn) error {
	b := make([]byte, server.Sip)
	for ctx.Err() == nil {
		if _, err := c.Read(b); err != nil {
			return unexpected(err)
		}
		time.Sleep(server.SipPause)
	}
	return nil
}

// deaf has the server send, and reads nothing.
func deaf(ctx context.Context, c *conn) error {
	if _, err := c.Write(bulkFrame()); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// trickles sends frames a byte at a time.
func trickles(ctx context.Context, c *conn) error {
	frame := bulkFrame()
	for i := 0; ctx.Err() == nil; i++ {
		if _, err := c.Write(frame[i%len(frame):][:1]); err != nil {
			return err
		}
		time.Sleep(trickle)
	}
	return nil
}
