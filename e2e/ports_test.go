//go:build e2e

package e2e

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// ports picks free ports for servers that can't be told to take one themselves. They lie below the
// range from which systems take the ports of outgoing connections, so none is taken in between.
type ports struct {
	mu    sync.Mutex
	taken map[int]bool
}

const lowestPort, highestPort = 12000, 32000

// address is 127.0.0.1 with a port that nobody listens on and that was not given out before.
func (p *ports) address(t testing.TB) string {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for range 1000 {
		port := lowestPort + rand.IntN(highestPort-lowestPort)
		address := fmt.Sprintf("127.0.0.1:%d", port)
		if p.taken[port] {
			continue
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		l.Close()
		p.taken[port] = true
		return address
	}
	t.Fatal("no free port")
	return ""
}
