//go:build linux

package report

import (
	"fmt"

	"wsproxy/bench/load"
	"wsproxy/bench/stats"
)

// million is how many connections memory is extrapolated to.
const million = 1_000_000

// growth shows what more connections cost.
func (d *document) growth() {
	var echoes []load.Workload
	var idle *load.Workload
	for _, w := range d.Workloads {
		switch {
		case w.Kind == load.KindEcho && !w.TLS && w.Connections >= 100:
			echoes = append(echoes, w)
		case w.Kind == load.KindIdle && !w.TLS:
			idle = &w
		}
	}
	if len(echoes) < 2 || idle == nil {
		return
	}
	first, last := echoes[0], echoes[len(echoes)-1]
	d.line("\n## Growth")
	d.line("CPU per message when all connections echo, and the memory that a million idle connections would take at the growth between %d and %d.", idle.Base, idle.Connections)
	d.tableHead("", fmt.Sprintf("CPU per message, %d ÷ %d connections", last.Connections, first.Connections), "1,000,000 connections, GiB")
	for _, p := range d.Peers {
		if p.Name == direct {
			continue
		}
		cpu := stats.Ratios(d.rounds(last.Name, p.Name, load.CPU), d.rounds(first.Name, p.Name, load.CPU))
		d.row(p.Name, spread(cpu, 1), spread(d.figure(idle.Name, p.Name, load.Memory), float64(1<<30)/million))
	}
}
