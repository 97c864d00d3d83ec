package relay

import (
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"wsproxy/lifecycle"
)

// descriptors is how many this process has open, -1 where the system does not tell.
func descriptors() int {
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1
	}
	return len(all)
}

// eventually waits for something that other goroutines bring about.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for begun := time.Now(); !f(); runtime.Gosched() {
		if time.Since(begun) > patience {
			t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// ending is one of the ways in which a connection of the storm ends.
func ending(dice *rand.Rand, r *rig) {
	either := []*peer{r.client, r.upstream}[dice.IntN(2)]
	switch dice.IntN(7) {
	case 0:
		either.conn.Write(either.frames(closing(1000, "bye")))
	case 1:
		either.socket().(interface{ CloseWrite() error }).CloseWrite()
	case 2:
		either.reset()
	case 3:
		either.socket().Close()
	case 4:
		r.record.Stop(lifecycle.StopRequest{Cause: lifecycle.CauseDrain})
	case 5:
		r.record.Stop(lifecycle.StopRequest{Cause: lifecycle.CauseForcedStop})
	case 6:
		either.conn.Write([]byte{0x83, 0, 0, 0, 0, 0})
	}
}

// endure sends until it can't and reads until the end, answering a Close.
func endure(p *peer, dice *rand.Rand) {
	var both sync.WaitGroup
	both.Go(func() {
		for range dice.IntN(50) {
			if _, err := p.conn.Write(p.frames(binaryOf(dice.IntN(20_000)))); err != nil {
				return
			}
		}
	})
	for {
		switch got := p.next(); {
		case got == p.end:
			both.Wait()
			p.conn.Close()
			return
		case len(got) >= 5 && got[:5] == "close":
			both.Wait()
			p.conn.Write(p.frames(closing(1000, "")))
		}
	}
}

func TestRandomAborts(t *testing.T) {
	for _, s := range realStages(t) {
		t.Run(s.name, func(t *testing.T) {
			connections := 200
			if s.tls {
				connections = 60
			}
			before := descriptors()
			s.run(t, func(t *testing.T, e Engine) {
				var all sync.WaitGroup
				room := make(chan struct{}, 40)
				for seed := range uint64(connections) {
					room <- struct{}{}
					all.Go(func() {
						defer func() { <-room }()
						storm(t, e, s.network, seed)
					})
				}
				all.Wait()
			})
			eventually(t, "descriptors are closed", func() bool { return descriptors() <= before })
		})
	}
}

func storm(t *testing.T, e Engine, n network, seed uint64) {
	dice := rand.New(rand.NewPCG(seed, 3))
	r := start(t, e, n, Policy{
		Close: 100 * time.Millisecond, HalfClose: 200 * time.Millisecond, Write: time.Second,
		Keepalive: Keepalive{Client: time.Millisecond, Upstream: 2 * time.Millisecond, Timeout: patience},
	})
	var both sync.WaitGroup
	both.Go(func() { endure(r.client, rand.New(rand.NewPCG(seed, 1))) })
	both.Go(func() { endure(r.upstream, rand.New(rand.NewPCG(seed, 2))) })
	for range dice.IntN(100) {
		runtime.Gosched()
	}
	ending(dice, r)
	c := r.finish()
	both.Wait()
	if c.Cause == lifecycle.CauseNone || c.Cause == lifecycle.CauseInternal {
		t.Errorf("seed %d: got %+v, want a cause that is not our fault", seed, c)
	}
}
