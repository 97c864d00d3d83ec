package relay

import (
	"math/rand/v2"
	"sync"
	"testing"
)

// TestCrowdIsIdentical has an engine relay thousands of connections, all begun at once, each with random traffic both ways. For each, bytes are those
// that were sent, counters tell them, and the end is clean; afterwards no descriptor is left.
func TestCrowdIsIdentical(t *testing.T) {
	for _, s := range realStages(t) {
		t.Run(s.name, func(t *testing.T) {
			crowd := 2000
			if s.tls {
				crowd = 500
			}
			before := descriptors()
			s.run(t, func(t *testing.T, e Engine) {
				var all sync.WaitGroup
				for seed := range uint64(crowd) {
					all.Go(func() { randomExchange(seed).run(t, e, s.network, seed) })
				}
				all.Wait()
			})
			eventually(t, "descriptors are closed", func() bool { return descriptors() <= before })
		})
	}
}

// randomExchange is of a few messages of most sizes, fragmented anyhow, with readers and writers of any speed.
func randomExchange(seed uint64) exchange {
	dice := rand.New(rand.NewPCG(seed, 4))
	sizes := func() (sizes []int) {
		for range dice.IntN(6) {
			sizes = append(sizes, dice.IntN(1<<dice.IntN(17)))
		}
		return sizes
	}
	return exchange{
		up: newTraffic(dice, fromClient, sizes()...), down: newTraffic(dice, fromUpstream, sizes()...),
		upReader: 1 << (6 + dice.IntN(10)), downReader: 1 << (6 + dice.IntN(10)), pieces: 1 << (7 + dice.IntN(10)),
	}
}
