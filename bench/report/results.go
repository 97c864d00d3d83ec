//go:build linux

// Package report turns the measurements of a run into a document: medians with their spread, ratios
// round by round, and what has become of the goals. It measures nothing.
package report

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"time"

	"wsproxy/bench/load"
	"wsproxy/bench/stats"
)

// Results are everything that a run gave.
type Results struct {
	Began, Ended time.Time
	Machine      Machine
	Method       Method
	Peers        []Peer
	Workloads    []load.Workload
	Measurements []Measurement
	Missing      []string // peers whose programs were not there
}

// Machine is where it ran.
type Machine struct {
	Processor string
	Cores     int
	Memory    int64 // bytes
	Kernel    string
	Go        string
}

// Method is how it ran.
type Method struct {
	Rounds               int
	Warm, Window, Settle time.Duration
	Pinned               bool // each side on a core of its own
	Quick                bool
}

// Peer is what was measured.
type Peer struct {
	Name, Version string
	Ours          bool
	Engine        string
	Telemetry     bool
	Procs         int
}

// Noise is what others took of the proxy's core while something was measured, as shares of the time.
type Noise struct {
	Others float64 // processes and interrupts of this machine
	Steal  float64 // other machines of the same hypervisor
}

// Measurement is one run of one workload through one peer.
type Measurement struct {
	Round          int
	Workload, Peer string
	Result         load.Result `json:",omitempty"`
	Noise          Noise
	Error          string `json:",omitempty"`
}

// Add notes a measurement. What is not a number was not measured.
func (r *Results) Add(m Measurement) {
	for name, v := range m.Result {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			delete(m.Result, name)
		}
	}
	r.Measurements = append(r.Measurements, m)
}

// Save writes the results, which Load reads.
func (r *Results) Save(file string) error {
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o644)
}

// Load reads what Save wrote.
func Load(file string) (*Results, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	r := &Results{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return r, nil
}

// Failed are the measurements that failed.
func (r *Results) Failed() []Measurement {
	return slices.DeleteFunc(slices.Clone(r.Measurements), func(m Measurement) bool { return m.Error == "" })
}

// rounds are a figure's values by round.
func (r *Results) rounds(workload, peer string, metric load.Metric) map[int]float64 {
	values := make(map[int]float64)
	for _, m := range r.Measurements {
		if v, ok := m.Result[metric]; ok && m.Workload == workload && m.Peer == peer {
			values[m.Round] = v
		}
	}
	return values
}

// figure is the median of a figure, and its spread.
func (r *Results) figure(workload, peer string, metric load.Metric) stats.Spread {
	var values []float64
	for _, v := range r.rounds(workload, peer, metric) {
		values = append(values, v)
	}
	return stats.Of(values...)
}

// ratio is a peer's figure over another's, in the same rounds.
func (r *Results) ratio(workload, peer, other string, metric load.Metric) stats.Spread {
	return stats.Ratios(r.rounds(workload, peer, metric), r.rounds(workload, other, metric))
}

// best is the peer, of those named, with the lowest median; empty if none has one.
func (r *Results) best(workload string, metric load.Metric, peers []string) string {
	name, lowest := "", math.Inf(1)
	for _, p := range peers {
		if f := r.figure(workload, p, metric); f.Rounds > 0 && f.Median < lowest {
			name, lowest = p, f.Median
		}
	}
	return name
}

// others are the proxies that are not ours.
func (r *Results) others() []string {
	var names []string
	for _, p := range r.Peers {
		if !p.Ours && p.Name != direct {
			names = append(names, p.Name)
		}
	}
	return names
}
