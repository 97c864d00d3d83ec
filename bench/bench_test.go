//go:build linux

package main

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"wsproxy/bench/load"
	"wsproxy/bench/peers"
	"wsproxy/bench/report"
	"wsproxy/bench/wire"
)

// smallScale is as short as a measurement can be.
func smallScale() scale {
	return scale{
		rounds: 1, warm: 20 * time.Millisecond, window: 200 * time.Millisecond, settle: 20 * time.Millisecond,
		idle: 40, idleTLS: 20, base: 10, clients: 50, clientsTLS: 20, bursts: 2, growth: []int{100},
	}
}

func smallLab(t *testing.T) *lab {
	t.Helper()
	l, err := newLab(smallScale(), t.TempDir(), false)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// build builds wsproxy.
func build(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "wsproxy")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../cmd/wsproxy").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

func TestVerify(t *testing.T) {
	limits := wire.Limits{Messages: 30, Largest: 3 << 20}
	for _, p := range []*peers.Peer{{Name: peers.Direct}, peers.Wsproxy(build(t), "auto", false, 0)} {
		t.Run(p.Name, func(t *testing.T) {
			if err := smallLab(t).verify(t.Context(), p, 1, 4, limits); err != nil {
				t.Error(err)
			}
		})
	}
}

// Every workload runs through wsproxy and measures what it is there to measure.
func TestEveryWorkload(t *testing.T) {
	l := smallLab(t)
	p := peers.Wsproxy(build(t), "auto", false, 0)
	c := comparison{lab: l, peers: []*peers.Peer{p}, progress: t.Output()}
	for _, w := range l.workloads() {
		if !strings.Contains(w.Name, " KiB") || w.Kind == load.KindEcho { // other sizes of streams will do
			c.workloads = append(c.workloads, w)
		}
	}
	if err := c.describe(true, nil); err != nil {
		t.Fatal(err)
	}
	if err := c.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, m := range c.results.Measurements {
		if m.Error != "" {
			t.Errorf("%s, %s: %s", m.Peer, m.Workload, m.Error)
		}
		for _, metric := range expected(c.workloads, m.Workload) {
			if m.Result[metric] <= 0 {
				t.Errorf("%s: %s is %v, want more than 0", m.Workload, metric, m.Result[metric])
			}
		}
	}
	checkDocument(t, &c.results)
}

// expected are the metrics that a workload must have, above 0.
func expected(all []load.Workload, name string) []load.Metric {
	for _, w := range all {
		if w.Name != name {
			continue
		}
		switch w.Kind {
		case load.KindIdle:
			return []load.Metric{load.Descriptors} // of few connections, memory need not grow
		case load.KindRate, load.KindBurst, load.KindBeside, load.KindSetup:
			return []load.Metric{load.CPU, load.Ends, load.Rate, load.P50, load.P99, load.Max}
		}
	}
	return []load.Metric{load.CPU, load.Ends, load.Rate, load.Busy}
}

func checkDocument(t *testing.T, r *report.Results) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "results.json")
	if err := r.Save(file); err != nil {
		t.Fatal(err)
	}
	loaded, err := report.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := loaded.Write(&text); err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^\| wss set-up \| \d+ \|$`).MatchString(text.String()) {
		t.Errorf("no figure for wss set-up in\n%s", text.String())
	}
}

func TestWorkloadNamesAreUnique(t *testing.T) {
	for name, s := range map[string]scale{"full": fullScale(), "essential": essentialScale(), "quick": quickScale()} {
		seen := make(map[string]bool)
		for _, w := range s.workloads() {
			if seen[w.Name] {
				t.Errorf("%s: %q twice", name, w.Name)
			}
			seen[w.Name] = true
		}
	}
}
