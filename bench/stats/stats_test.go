package stats

import (
	"math"
	"testing"
)

func TestOf(t *testing.T) {
	cases := map[string]struct {
		values []float64
		want   Spread
	}{
		"none":          {nil, Spread{}},
		"one":           {[]float64{3}, Spread{3, 3, 3, 1}},
		"odd":           {[]float64{9, 1, 4}, Spread{4, 1, 9, 3}},
		"even":          {[]float64{4, 1, 9, 2}, Spread{3, 1, 9, 4}},
		"not a number":  {[]float64{math.NaN(), 2, 1}, Spread{1.5, 1, 2, 2}},
		"no number yet": {[]float64{math.NaN()}, Spread{}},
	}
	for name, tc := range cases {
		if got := Of(tc.values...); got != tc.want {
			t.Errorf("%s: got %+v, want %+v", name, got, tc.want)
		}
	}
}

func TestOfLeavesItsInputAlone(t *testing.T) {
	in := []float64{3, math.NaN(), 1}
	Of(in...)
	if in[0] != 3 || in[2] != 1 {
		t.Errorf("got %v", in)
	}
}

func TestRatiosAreTakenPerRound(t *testing.T) {
	// The machine was three times as slow in round 1; the ratio is 2 all the same.
	got := Ratios(map[int]float64{0: 2, 1: 6, 2: 9}, map[int]float64{0: 1, 1: 3, 3: 5})
	if want := (Spread{2, 2, 2, 2}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := Ratios(map[int]float64{0: 1}, map[int]float64{0: 0}); got.Rounds != 0 {
		t.Errorf("division by zero: got %+v", got)
	}
}

func TestPercentile(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(i + 1)
	}
	cases := map[string]struct {
		sorted  []float64
		p, want float64
	}{
		"median":           {hundred, 0.5, 50},
		"99th":             {hundred, 0.99, 99},
		"99.9th is last":   {hundred, 0.999, 100},
		"0 is the first":   {hundred, 0, 1},
		"1 is the last":    {hundred, 1, 100},
		"of one":           {[]float64{7}, 0.99, 7},
		"of two, the half": {[]float64{1, 2}, 0.5, 1},
	}
	for name, tc := range cases {
		if got := Percentile(tc.sorted, tc.p); got != tc.want {
			t.Errorf("%s: got %v, want %v", name, got, tc.want)
		}
	}
	if got := Percentile(nil, 0.5); !math.IsNaN(got) {
		t.Errorf("of nothing: got %v, want NaN", got)
	}
}
