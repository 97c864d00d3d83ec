package relay

import (
	"hash/maphash"
	"time"
)

// pings are those of an endpoint that the other one has not answered yet, the last of them: whoever
// answers one need not answer those before it.
type pings struct {
	seed maphash.Seed
	sent [4]sentPing // the first n, in their order
	n    int
}

type sentPing struct {
	payload uint64 // its hash
	at      time.Duration
	again   bool // one with the same payload was unanswered: which one a pong answers can't be told
}

func newPings() *pings { return &pings{seed: maphash.MakeSeed()} }

func (p *pings) add(payload []byte, at time.Duration) {
	next := sentPing{payload: maphash.Bytes(p.seed, payload), at: at}
	if i := p.find(next.payload); i >= 0 {
		next.again = true
		p.n = i + copy(p.sent[i:], p.sent[i+1:p.n])
	}
	if p.n == len(p.sent) {
		p.n = copy(p.sent[:], p.sent[1:])
	}
	p.sent[p.n] = next
	p.n++
}

// answered takes out the ping that a pong answers, and those before it. ok says whether sent is when that
// was sent.
func (p *pings) answered(payload []byte) (sent time.Duration, ok bool) {
	if p == nil || p.n == 0 {
		return 0, false
	}
	i := p.find(maphash.Bytes(p.seed, payload))
	if i < 0 {
		return 0, false
	}
	found := p.sent[i]
	p.n = copy(p.sent[:], p.sent[i+1:p.n])
	return found.at, !found.again
}

func (p *pings) find(payload uint64) int {
	for i := range p.sent[:p.n] {
		if p.sent[i].payload == payload {
			return i
		}
	}
	return -1
}

// last is when the last unanswered one was sent.
func (p *pings) last() (at time.Duration, ok bool) {
	if p == nil || p.n == 0 {
		return 0, false
	}
	return p.sent[p.n-1].at, true
}

func (p *pings) forget() {
	if p != nil {
		p.n = 0
	}
}
