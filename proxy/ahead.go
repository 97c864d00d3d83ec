package proxy

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"wsproxy/lifecycle"
)

// ahead reads what a client says before it is answered, to see whether it is still there.
type ahead struct {
	conn net.Conn
	b    []byte
	n    int
	done sync.WaitGroup
}

// readAhead reads until stop. gone is called when the client leaves.
func readAhead(c net.Conn, gone context.CancelCauseFunc) *ahead {
	a := &ahead{conn: c, b: make([]byte, greetingBytes)}
	a.done.Go(func() {
		for a.n < len(a.b) {
			n, err := c.Read(a.b[a.n:])
			a.n += n
			if err != nil {
				if ne, ok := errors.AsType[net.Error](err); !ok || !ne.Timeout() {
					gone(lifecycle.Fail(lifecycle.ReasonClientGone, err))
				}
				return
			}
		}
	})
	return a
}

// stop returns what was read.
func (a *ahead) stop() []byte {
	a.conn.SetReadDeadline(past)
	a.done.Wait()
	a.conn.SetReadDeadline(time.Time{})
	return a.b[:a.n]
}
