//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"regexp"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"wsproxy/bench/load"
	"wsproxy/bench/peers"
	"wsproxy/bench/proc"
	"wsproxy/bench/report"
)

// comparison is a run: every workload through every peer, several rounds.
type comparison struct {
	lab       *lab
	peers     []*peers.Peer
	workloads []load.Workload
	results   report.Results
	progress  io.Writer
}

func (c *comparison) run(ctx context.Context) error {
	c.results.Began = time.Now()
	order := rand.New(rand.NewPCG(1, uint64(c.results.Began.UnixNano())))
	total, done := c.lab.rounds*c.measurements(), 0
	for round := range c.lab.rounds {
		for _, w := range c.workloads {
			for _, i := range order.Perm(len(c.peers)) {
				p := c.peers[i]
				if !c.lab.compares(w, p, c.engine()) {
					continue
				}
				done++
				if err := ctx.Err(); err != nil {
					return err
				}
				m := report.Measurement{Round: round, Workload: w.Name, Peer: p.Name}
				var err error
				if m.Result, m.Noise, err = c.lab.measure(ctx, p, w); err != nil {
					m.Error = err.Error()
				}
				c.results.Add(m)
				fmt.Fprintf(c.progress, "%4d/%d  %-26s %-36s %s\n", done, total, w.Name, p.Name, summary(w, m))
			}
		}
	}
	c.results.Ended = time.Now()
	return nil
}

// measurements is how many a round has.
func (c *comparison) measurements() (n int) {
	for _, w := range c.workloads {
		for _, p := range c.peers {
			if c.lab.compares(w, p, c.engine()) {
				n++
			}
		}
	}
	return n
}

// engine is our first.
func (c *comparison) engine() string {
	for _, p := range c.peers {
		if p.Ours() {
			return p.Engine
		}
	}
	return ""
}

// summary is a measurement in a line.
func summary(w load.Workload, m report.Measurement) string {
	if m.Error != "" {
		return "FAILED: " + m.Error
	}
	var parts []string
	for _, f := range []struct {
		metric load.Metric
		format string
		scale  float64
	}{
		{load.CPU, "%.1f µs/" + w.Unit(), 1},
		{load.Ends, "(ends %.1f)", 1},
		{load.Rate, "%.0f/s", 1},
		{load.P50, "p50 %.0f µs", 1},
		{load.P99, "p99 %.0f µs", 1},
		{load.Memory, "%.1f KiB", 1 << 10},
		{load.Live, "(live %.1f KiB)", 1 << 10},
		{load.Descriptors, "%.2f descriptors", 1},
	} {
		if v, ok := m.Result[f.metric]; ok {
			parts = append(parts, fmt.Sprintf(f.format, v/f.scale))
		}
	}
	return strings.Join(parts, " ")
}

// describe notes what is measured, where and how.
func (c *comparison) describe(quick bool, programs peers.Programs) error {
	m, err := machine()
	if err != nil {
		return err
	}
	l := c.lab
	c.results.Machine = m
	c.results.Method = report.Method{Rounds: l.rounds, Warm: l.warm, Window: l.window, Settle: l.settle, Pinned: l.pinned, Quick: quick}
	c.results.Workloads, c.results.Missing = c.workloads, peers.Missing(programs)
	for _, p := range c.peers {
		c.results.Peers = append(c.results.Peers, report.Peer{
			Name: p.Name, Version: p.Version, Ours: p.Ours(), Engine: p.Engine, Telemetry: p.Telemetry, Procs: p.Procs,
		})
	}
	return nil
}

func machine() (report.Machine, error) {
	var name unix.Utsname
	var info unix.Sysinfo_t
	cores, err := proc.Cores()
	if err := errors.Join(err, unix.Uname(&name), unix.Sysinfo(&info)); err != nil {
		return report.Machine{}, err
	}
	return report.Machine{
		Processor: processor(), Cores: len(cores), Memory: int64(info.Totalram) * int64(info.Unit),
		Kernel: "Linux " + unix.ByteSliceToString(name.Release[:]), Go: runtime.Version(),
	}, nil
}

func processor() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err == nil {
		if m := regexp.MustCompile(`(?m)^model name\s*:\s*(.+)$`).FindSubmatch(b); m != nil {
			return string(m[1])
		}
	}
	return runtime.GOARCH
}
