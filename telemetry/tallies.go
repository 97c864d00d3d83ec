package telemetry

import (
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// tallies is a counter by attribute set. It is observed at collection, so that its sums go on when the
// meter provider is replaced; and adding costs a look-up and an atomic addition.
type tallies[K comparable] struct {
	attrs func(K) list
	rest  tally // of what setsKept left no room for

	mu   sync.RWMutex
	made map[K]*tally
}

type tally struct {
	n     atomic.Int64
	under []metric.ObserveOption
}

func newTally(l list) *tally {
	return &tally{under: []metric.ObserveOption{metric.WithAttributeSet(attribute.NewSet(l...))}}
}

func newTallies[K comparable](attrs func(K) list) *tallies[K] {
	return &tallies[K]{attrs: attrs, made: make(map[K]*tally)}
}

// add adds n, which may be 0: then the series is there.
func (t *tallies[K]) add(k K, n int64) {
	t.mu.RLock()
	have := t.made[k]
	t.mu.RUnlock()
	if have == nil {
		have = t.make(k)
	}
	have.n.Add(n)
}

func (t *tallies[K]) make(k K) *tally {
	t.mu.Lock()
	defer t.mu.Unlock()
	if have := t.made[k]; have != nil {
		return have
	}
	if len(t.made) >= setsKept {
		return &t.rest
	}
	made := newTally(t.attrs(k))
	t.made[k] = made
	return made
}

func (t *tallies[K]) observe(o metric.Observer, i metric.Int64Observable) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, y := range t.made {
		o.ObserveInt64(i, y.n.Load(), y.under...)
	}
	if n := t.rest.n.Load(); n > 0 {
		o.ObserveInt64(i, n, metric.WithAttributes(attribute.Bool("otel.metric.overflow", true)))
	}
}
