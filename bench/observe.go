//go:build linux

package main

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"wsproxy/bench/load"
	"wsproxy/bench/peers"
	"wsproxy/bench/proc"
	"wsproxy/bench/report"
)

// profile has a profile of ours taken while a workload runs; the returned function waits for it.
func (l *lab) profile(ctx context.Context, b *bench, p *peers.Peer, w load.Workload) (func() error, error) {
	if l.profiles == "" || !p.Ours() {
		return func() error { return nil }, nil
	}
	file := filepath.Join(l.profiles, strings.NewReplacer(", ", "-", " ", "-").Replace(p.Name+"-"+w.Name)+".prof")
	if w.Kind == load.KindIdle {
		b.heap = file
		return func() error { return nil }, nil
	}
	done := make(chan error, 1)
	go func() {
		profile, err := b.proxy.Profile(ctx, int(math.Ceil((l.warm + l.window).Seconds())))
		if err == nil {
			err = os.WriteFile(file, profile, 0o600)
		}
		done <- err
	}()
	return func() error { return <-done }, nil
}

// moment is what the proxy's core and the proxy have used so far.
type moment struct {
	at    time.Time
	core  proc.Core
	proxy time.Duration
}

func (l *lab) noise(b *bench) (moment, error) {
	cores, err := proc.Cores()
	if err != nil {
		return moment{}, err
	}
	r, err := b.CPU()
	return moment{at: time.Now(), core: cores[proxyCore], proxy: r.Proxy}, err
}

// since is what of the core's time others took.
func (m moment) since(before moment) report.Noise {
	elapsed := m.at.Sub(before.at)
	if elapsed <= 0 {
		return report.Noise{}
	}
	busy, own := m.core.Busy-before.core.Busy, m.proxy-before.proxy
	return report.Noise{
		Others: max(0, float64(busy-own)/float64(elapsed)),
		Steal:  float64(m.core.Steal-before.core.Steal) / float64(elapsed),
	}
}
