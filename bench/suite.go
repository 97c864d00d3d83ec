//go:build linux

package main

import (
	"fmt"
	"time"

	"wsproxy/bench/load"
	"wsproxy/bench/peers"
)

// Names that the goals of the report know; see report.Goals.
const (
	wss = "wss "

	smallest = 64 // bytes of a small message
)

// scale is how long and how large a run is.
type scale struct {
	rounds               int
	warm, window, settle time.Duration
	idle, idleTLS, base  int // connections
	clients, clientsTLS  int // of a burst
	bursts               int
	growth               []int // numbers of connections that echo all at once
	essential            bool  // leaves out workloads that others stand for, and most of our variants
}

// fullScale is everything, in about 25 minutes a round.
func fullScale() scale {
	return scale{
		rounds: 3, warm: 300 * time.Millisecond, window: time.Second, settle: 2 * time.Second,
		idle: 8000, idleTLS: 4000, base: 1000, clients: 5000, clientsTLS: 2000, bursts: 5,
		growth: []int{100, 1000, 8000}, // what wsproxy takes on with 20,000 descriptors, of which it keeps some
	}
}

// essentialScale is what the goals are about, in 25 minutes for all rounds.
func essentialScale() scale {
	s := fullScale()
	s.essential, s.settle, s.idleTLS, s.clientsTLS, s.bursts = true, time.Second, 3000, 0, 4
	return s
}

func quickScale() scale {
	return scale{
		rounds: 2, warm: 200 * time.Millisecond, window: 500 * time.Millisecond, settle: time.Second,
		idle: 2000, idleTLS: 1000, base: 200, clients: 2000, bursts: 3, essential: true,
	}
}

// workloads are what is measured, in the order of the tables.
func (s scale) workloads() []load.Workload {
	all := append(s.echoes(), s.streams()...)
	all = append(all, s.connections()...)
	for _, n := range s.growth {
		all = append(all, load.Workload{Name: fmt.Sprintf("echo %d connections", n), Kind: load.KindEcho, Connections: n, Size: smallest})
	}
	return all
}

func (s scale) echoes() []load.Workload {
	all := []load.Workload{
		{Name: "echo 1 connection", Kind: load.KindEcho, Connections: 1, Size: smallest},
		{Name: "echo", Kind: load.KindEcho, Connections: 64, Size: smallest},
		{Name: "echo 64 KiB", Kind: load.KindEcho, Connections: 16, Size: 64 << 10},
		{Name: "fixed rate", Kind: load.KindRate, Connections: 64, Size: smallest, PerSecond: 10_000},
		{Name: "beside bulk", Kind: load.KindBeside, Connections: 8, Size: smallest, PerSecond: 1000},
		{Name: "beside bad peers", Kind: load.KindBeside, Connections: 8, Size: smallest, PerSecond: 1000, Bad: true},
		{Name: wss + "echo", Kind: load.KindEcho, TLS: true, Connections: 64, Size: smallest},
	}
	if s.essential {
		return all
	}
	return append(all, []load.Workload{
		{Name: wss + "echo 1 connection", Kind: load.KindEcho, TLS: true, Connections: 1, Size: smallest},
		{Name: wss + "echo 64 KiB", Kind: load.KindEcho, TLS: true, Connections: 16, Size: 64 << 10},
		{Name: wss + "fixed rate", Kind: load.KindRate, TLS: true, Connections: 64, Size: smallest, PerSecond: 10_000},
		{Name: wss + "beside bulk", Kind: load.KindBeside, TLS: true, Connections: 8, Size: smallest, PerSecond: 1000},
	}...)
}

// compares says whether a workload is for a peer. Engines and processors are compared by a few, those for
// which they may matter, unless everything is wanted.
func (s scale) compares(w load.Workload, p *peers.Peer, first string) bool {
	if w.Kind == load.KindIdle && p.Program == "" {
		return false // nobody in between to have memory
	}
	if variant := p.Procs > 0 || p.Ours() && p.Engine != first; !variant || !s.essential {
		return true
	}
	switch w.Name {
	case "echo", "fixed rate", "beside bulk", "beside bad peers", "set-up", "stream both ways 16 KiB":
		return true
	}
	return false
}

// streamed is how many connections stream at a time.
const streamed = 4

func (s scale) streams() []load.Workload {
	sizes := []struct {
		name  string
		bytes int
	}{{"64 B", smallest}, {"1 KiB", 1 << 10}, {"16 KiB", 16 << 10}, {"1 MiB", 1 << 20}}
	ways := []struct {
		name     string
		up, down bool
	}{{"up", true, false}, {"down", false, true}, {"both ways", true, true}}
	var all []load.Workload
	for _, secure := range []bool{false, true} {
		for _, size := range sizes {
			for _, way := range ways {
				both := way.up && way.down
				if s.essential && !(both && (!secure || size.bytes == 16<<10)) || secure && !both {
					continue
				}
				w := load.Workload{
					Name: fmt.Sprintf("stream %s %s", way.name, size.name), Kind: load.KindStream, TLS: secure,
					Connections: streamed, Size: size.bytes, Up: way.up, Down: way.down,
				}
				if secure {
					w.Name = wss + w.Name
				}
				all = append(all, w)
			}
		}
	}
	return all
}

func (s scale) connections() []load.Workload {
	all := []load.Workload{
		{Name: "set-up", Kind: load.KindSetup, Connections: 16},
		{Name: wss + "set-up", Kind: load.KindSetup, TLS: true, Connections: 16},
		{Name: "idle", Kind: load.KindIdle, Connections: s.idle, Base: s.base},
		{Name: wss + "idle", Kind: load.KindIdle, TLS: true, Connections: s.idleTLS, Base: s.base},
		{Name: "burst", Kind: load.KindBurst, Connections: s.clients, Size: smallest, Bursts: s.bursts},
	}
	if s.clientsTLS > 0 {
		all = append(all, load.Workload{
			Name: wss + "burst", Kind: load.KindBurst, TLS: true, Connections: s.clientsTLS, Size: smallest, Bursts: s.bursts,
		})
	}
	return all
}
