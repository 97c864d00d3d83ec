//go:build linux

package report

import (
	"math"
	"strings"
	"testing"
	"time"

	"wsproxy/bench/load"
)

// example is three rounds of two workloads, on a machine that got slower.
func example() *Results {
	r := &Results{
		Began: time.Unix(0, 0), Ended: time.Unix(90, 0), Method: Method{Rounds: 3, Pinned: true},
		Workloads: []load.Workload{
			{Name: "echo", Kind: load.KindEcho, Connections: 64, Size: 64},
			{Name: "idle", Kind: load.KindIdle, Connections: 200, Base: 100},
		},
		Peers: []Peer{
			{Name: "direct"}, {Name: "nginx", Version: "1"}, {Name: "HAProxy"},
			{Name: "ours", Ours: true, Engine: "loops", Telemetry: true}, {Name: "ours, off", Ours: true, Engine: "loops"},
		},
		Missing: []string{"Traefik"},
	}
	for round, slow := range []float64{1, 2, 4} {
		for peer, cpu := range map[string]float64{"direct": 0, "nginx": 10, "HAProxy": 20, "ours": 9, "ours, off": 8.9} {
			r.Add(Measurement{Round: round, Workload: "echo", Peer: peer, Result: load.Result{load.CPU: cpu * slow, load.Ends: 5 * slow, load.Rate: math.Inf(1)}})
		}
		r.Add(Measurement{Round: round, Workload: "idle", Peer: "ours", Result: load.Result{load.Memory: 3 << 10, load.Live: math.NaN()}})
		r.Add(Measurement{Round: round, Workload: "idle", Peer: "HAProxy", Result: load.Result{load.Memory: 6 << 10}})
	}
	r.Add(Measurement{Round: 2, Workload: "idle", Peer: "nginx", Error: "broke\nat length"})
	return r
}

func TestJudge(t *testing.T) {
	r := example()
	got := make(map[string]string)
	for _, v := range r.judge(r.Peers[3]) {
		figure, judgement := v.result()
		got[v.workload+" "+v.text()] = figure + " " + judgement
	}
	want := map[string]string{
		"idle ≤ 2.00":                     "3.00 (3.00–3.00) **missed** by 50 %",
		"idle ≤ 0.35 × HAProxy":           "0.50 (0.50–0.50) **missed** by 43 %",
		"echo ≤ 1.00 × nginx":             "0.90 (0.90–0.90) reached, 10 % to spare",
		"echo ≤ 0.95 × HAProxy":           "0.45 (0.45–0.45) reached, 53 % to spare",
		"echo ≤ 1.03 × without telemetry": "1.01 (1.01–1.01) reached, 2 % to spare",
	}
	for what, judgement := range want {
		if got[what] != judgement {
			t.Errorf("%s: got %q, want %q", what, got[what], judgement)
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %d verdicts, want %d: %q", len(got), len(want), got)
	}
}

func TestBest(t *testing.T) {
	r := example()
	if got := r.best("echo", load.CPU, r.others()); got != "nginx" {
		t.Errorf("got %q, want nginx", got)
	}
	if got := r.best("burst", load.CPU, r.others()); got != "" {
		t.Errorf("of nothing: got %q", got)
	}
}

func TestDocument(t *testing.T) {
	var text strings.Builder
	if err := example().Write(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| echo | 10.0 (5.00–20.0) | 20.0 (10.0–40.0) | 40.0 (20.0–80.0) | 18.0 (9.00–36.0) |", // direct: its ends
		"## Goals, ours: 3 of 5 reached",
		"| idle | memory | – | 0.50 (0.50–0.50) | 0.50 (0.50–0.50) HAProxy |",
		"- Failed: idle through nginx, round 3: broke\n",
		"- Traefik: its program was not there.",
		"The run took 1m30s.",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
}
