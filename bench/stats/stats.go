// Package stats condenses measurements: medians over rounds with their spread, percentiles of one run.
// It knows nothing of what was measured.
package stats

import (
	"math"
	"slices"
)

// Spread is what several rounds gave. The zero value is of no rounds.
type Spread struct {
	Median, Min, Max float64
	Rounds           int
}

// Of condenses one value per round; values that are not a number are left out.
func Of(values ...float64) Spread {
	v := slices.DeleteFunc(slices.Clone(values), math.IsNaN)
	if len(v) == 0 {
		return Spread{}
	}
	slices.Sort(v)
	return Spread{Median: median(v), Min: v[0], Max: v[len(v)-1], Rounds: len(v)}
}

// Ratios condenses numerator over denominator, round by round: what both had in common in a round, such
// as a slow machine, cancels out. Rounds that one of them lacks are left out.
func Ratios(numerator, denominator map[int]float64) Spread {
	var all []float64
	for round, n := range numerator {
		if d := denominator[round]; d > 0 {
			all = append(all, n/d)
		}
	}
	return Of(all...)
}

// Percentile is the value below which share p of the samples lie, by nearest rank; sorted must be in
// rising order. It is NaN without samples.
func Percentile(sorted []float64, p float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	rank := int(math.Ceil(p * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

func median(sorted []float64) float64 {
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}
