//go:build linux

package report

import (
	"cmp"
	"fmt"
	"strings"

	"wsproxy/bench/load"
	"wsproxy/bench/stats"
)

// Names of peers that goals are about.
const (
	direct  = "direct"
	nginx   = "nginx"
	haproxy = "HAProxy"

	bestPeer = "the best peer"     // with the lowest median, for each workload
	bestGo   = "the best in Go"    // of those written in Go
	off      = "without telemetry" // ourselves, with the SDK disabled
	nobody   = "nobody"            // was measured
)

// goal is what we want of some workloads.
type goal struct {
	what      string
	workloads []string
	metric    load.Metric
	limits    []limit
}

// limit is how much a figure may be, by itself or against another peer's.
type limit struct {
	against string // empty: by itself
	most    float64
}

// The sizes of streams that goals are about.
func streams(sizes ...string) []string {
	var names []string
	for _, size := range sizes {
		for _, way := range []string{"up", "down", "both ways"} {
			names = append(names, "stream "+way+" "+size)
		}
	}
	return names
}

// goals are those of the design.
func goals() []goal {
	return []goal{
		{"memory per idle ws connection, KiB", []string{"idle"}, load.Memory, []limit{{"", 2 << 10}, {haproxy, 0.35}}},
		{"memory per idle wss connection, KiB", []string{"wss idle"}, load.Memory, []limit{{"", 14 << 10}, {haproxy, 0.75}}},
		{"descriptors per connection", []string{"idle", "wss idle"}, load.Descriptors, []limit{{"", 2}}},
		{"CPU per echoed message", []string{"echo 1 connection", "echo", "fixed rate"}, load.CPU, []limit{{nginx, 1}, {haproxy, 0.95}}},
		{"CPU per MB, 64 B messages", streams("64 B"), load.CPU, []limit{{nginx, 0.5}, {haproxy, 0.85}}},
		{"CPU per MB, 1 to 16 KiB messages", streams("1 KiB", "16 KiB"), load.CPU, []limit{{nginx, 0.4}, {haproxy, 0.7}, {bestGo, 1.05}}},
		{"CPU per MB, 1 MiB messages", streams("1 MiB"), load.CPU, []limit{{haproxy, 0.35}, {bestPeer, 0.55}}},
		{"CPU per set-up, ws", []string{"set-up"}, load.CPU, []limit{{nginx, 1.2}, {bestGo, 0.4}}},
		{"CPU per set-up, wss", []string{"wss set-up"}, load.CPU, []limit{{nginx, 1}, {bestGo, 0.4}}},
		{"clients pushed at once, p99", []string{"burst"}, load.P99, []limit{{nginx, 0.5}}},
		{"small messages beside bulk, p99, ms", []string{"beside bulk"}, load.P99, []limit{{haproxy, 1.2}, {"", 20_000}}},
		{"small messages beside bad peers, p99, ms", []string{"beside bad peers"}, load.P99, []limit{{"", 20_000}}},
		{"latency at 10,000 messages/s, p50", []string{"fixed rate"}, load.P50, []limit{{bestPeer, 1.05}}},
		{"price of telemetry: relay", append([]string{"echo"}, streams("1 KiB")...), load.CPU, []limit{{off, 1.03}}},
		{"price of telemetry: set-up", []string{"set-up"}, load.CPU, []limit{{off, 1.25}}},
	}
}

// verdict is one goal held against one variant of ours.
type verdict struct {
	goal     goal
	workload string
	limit    limit
	against  string // the peer that it was
	got      stats.Spread
	reached  bool
}

// judge holds ours against every goal that was measured.
func (r *Results) judge(ours Peer) []verdict {
	var all []verdict
	for _, g := range goals() {
		for _, w := range g.workloads {
			for _, l := range g.limits {
				v := verdict{goal: g, workload: w, limit: l, against: r.opponent(ours, w, g.metric, l)}
				if v.against == "" {
					v.got = r.figure(w, ours.Name, g.metric)
				} else {
					v.got = r.ratio(w, ours.Name, v.against, g.metric)
				}
				if v.got.Rounds > 0 {
					v.reached = v.got.Median <= l.most
					all = append(all, v)
				}
			}
		}
	}
	return all
}

// opponent is the peer that a limit is against.
func (r *Results) opponent(ours Peer, workload string, metric load.Metric, l limit) string {
	switch l.against {
	case bestPeer:
		return cmp.Or(r.best(workload, metric, r.others()), nobody)
	case bestGo:
		return cmp.Or(r.best(workload, metric, []string{"Caddy", "Traefik", "ReverseProxy"}), nobody)
	case off:
		for _, p := range r.Peers {
			if p.Ours && !p.Telemetry && p.Engine == ours.Engine && p.Procs == ours.Procs {
				return p.Name
			}
		}
		return nobody
	}
	return l.against
}

// text is the limit as a reader wants it.
func (v verdict) text() string {
	if v.limit.against == "" {
		return "≤ " + v.amount(v.limit.most)
	}
	against := v.limit.against
	if v.limit.against == bestPeer || v.limit.against == bestGo {
		against += " (" + v.against + ")"
	}
	return fmt.Sprintf("≤ %.2f × %s", v.limit.most, against)
}

// amount formats the figure itself, in the unit that the goal's name has.
func (v verdict) amount(x float64) string {
	switch {
	case v.goal.metric == load.Memory:
		x /= 1 << 10
	case strings.HasSuffix(v.goal.what, ", ms"):
		x /= 1000
	}
	return number(x)
}

// result says what it was, and how far from the limit.
func (v verdict) result() (got, judgement string) {
	format := func(x float64) string { return fmt.Sprintf("%.2f", x) }
	if v.limit.against == "" {
		format = v.amount
	}
	got = format(v.got.Median)
	if v.got.Rounds > 1 {
		got += fmt.Sprintf(" (%s–%s)", format(v.got.Min), format(v.got.Max))
	}
	away := 100 * (v.got.Median/v.limit.most - 1)
	switch {
	case !v.reached:
		return got, fmt.Sprintf("**missed** by %.0f %%", away)
	case away > -1:
		return got, "reached"
	}
	return got, fmt.Sprintf("reached, %.0f %% to spare", -away)
}
