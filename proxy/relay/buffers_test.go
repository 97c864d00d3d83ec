package relay

import (
	"sync"
	"sync/atomic"
	"testing"

	"wsproxy/lifecycle"
)

// counted is a pool that knows how many buffers are out.
type counted struct {
	out, most atomic.Int64
	free      sync.Pool
}

func newCounted() *counted { return &counted{free: sync.Pool{New: func() any { return new(buffer) }}} }

func (p *counted) Get() any {
	if n := p.out.Add(1); n > p.most.Load() {
		p.most.Store(n)
	}
	return p.free.Get()
}

func (p *counted) Put(b any) {
	p.out.Add(-1)
	p.free.Put(b)
}

func TestIdleConnectionsHoldNoBuffer(t *testing.T) {
	for name, n := range map[string]network{"plain": onLoopback, "TLS": secured(onLoopback), "TLS in TLS": secured(secured(onLoopback))} {
		t.Run(name, func(t *testing.T) {
			pool := newCounted()
			e := &Goroutines{buffers: pool}
			var rigs []*rig
			for range 50 {
				r := start(t, e, n, Policy{})
				r.client.send(text(1000))
				r.upstream.expect("text 1000")
				r.upstream.write(fromUpstream(text(300), text(9))[:305]) // leaves the beginning of a header
				r.client.expect("text 300")
				rigs = append(rigs, r)
			}
			eventually(t, "buffers are given back", func() bool { return pool.out.Load() == 0 })
			for _, r := range rigs {
				r.upstream.write(fromUpstream(text(9))[1:])
				r.client.expect("text 9")
				r.record.Stop(lifecycle.StopRequest{Cause: lifecycle.CauseForcedStop})
				r.finish()
			}
			if err := e.Wait(t.Context()); err != nil {
				t.Error(err)
			}
			if got := pool.out.Load(); got != 0 {
				t.Errorf("got %d buffers out, want 0", got)
			}
			if got := pool.most.Load(); got == 0 {
				t.Error("got no buffer out at any time, want some: the test does not see them")
			}
		})
	}
}
