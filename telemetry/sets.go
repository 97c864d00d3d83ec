package telemetry

import (
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// set is an attribute set in the forms that instruments take.
type set struct {
	record  []metric.RecordOption
	observe []metric.ObserveOption
}

// sets makes attribute sets once and remembers them by what they are made from. All that a key holds is
// of a closed set or of the configuration, so there are as many as the configuration has combinations;
// setsKept is a net below that.
type sets[K comparable] struct {
	attrs func(K) list

	mu   sync.RWMutex
	made map[K]*set
}

const setsKept = 100_000

func newSets[K comparable](attrs func(K) list) *sets[K] {
	return &sets[K]{attrs: attrs, made: make(map[K]*set)}
}

func (s *sets[K]) of(k K) *set {
	s.mu.RLock()
	have := s.made[k]
	s.mu.RUnlock()
	if have != nil {
		return have
	}
	o := metric.WithAttributeSet(attribute.NewSet(s.attrs(k)...))
	made := &set{record: []metric.RecordOption{o}, observe: []metric.ObserveOption{o}}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.made) < setsKept {
		s.made[k] = made
	}
	return made
}
