//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"wsproxy/bench/load"
	"wsproxy/bench/peers"
	"wsproxy/bench/proc"
	"wsproxy/bench/report"
	"wsproxy/internal/selfca"
)

// Cores of the two sides. On a machine with more, others stay free.
const (
	proxyCore = 0
	loadCore  = 1
)

// descriptorsKept is what of a process's descriptors is not for proxied connections, of which each takes two.
const descriptorsKept = 500

// lab is a place to measure in.
type lab struct {
	scale
	dir       string
	pinned    bool
	site      peers.Site // what all peers have in common
	trust     *tls.Config
	collector *peers.Process
	profiles  string // folder for CPU profiles of ours; empty: none
}

// newLab makes certificates in dir and pins this process to the load's core.
func newLab(s scale, dir string, pinned bool) (*lab, error) {
	l := &lab{scale: s, dir: dir, pinned: pinned}
	ca, err := selfca.New("bench")
	if err != nil {
		return nil, err
	}
	leaf, err := ca.Issue(selfca.Leaf{Names: []string{"127.0.0.1", "localhost"}})
	if err != nil {
		return nil, err
	}
	l.site = peers.Site{Dir: dir, Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"), Chain: filepath.Join(dir, "chain.pem")}
	cert := leaf.CertPEM()
	key, err := leaf.KeyPEM()
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		os.WriteFile(l.site.Cert, cert, 0o600),
		os.WriteFile(l.site.Key, key, 0o600),
		os.WriteFile(l.site.Chain, slices.Concat(cert, key), 0o600),
	)
	if err != nil {
		return nil, err
	}
	l.trust = &tls.Config{RootCAs: ca.Pool(), ServerName: "127.0.0.1"}
	if l.site.Files, err = descriptors(); err != nil {
		return nil, err
	}
	l.site.Connections = (l.site.Files - descriptorsKept) / 2
	if pinned {
		err = proc.Pin(loadCore)
	}
	return l, err
}

// descriptors is how many a process may have, after raising the limit as far as it goes.
func descriptors() (int, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, err
	}
	limit.Cur = limit.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, err
	}
	return int(min(limit.Cur, 1<<20)), nil
}

// core is where something runs, any if this lab does not pin.
func (l *lab) core(core int) int {
	if !l.pinned {
		return -1
	}
	return core
}

// readyTimeout bounds how long a peer may take to serve.
const readyTimeout = 20 * time.Second

// startCollector starts the collector that wsproxy exports to.
func (l *lab) startCollector(ctx context.Context, program string) error {
	ports, err := peers.FreePorts(1)
	if err != nil {
		return err
	}
	l.site.Collector = "127.0.0.1:" + strconv.Itoa(ports[0])
	if l.collector, err = peers.StartCollector(l.core(loadCore), program, l.site); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	return l.collector.Ready(ctx, func(ctx context.Context) error {
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", l.site.Collector)
		if err == nil {
			c.Close()
		}
		return err
	})
}

func (l *lab) close() {
	if l.collector != nil {
		l.collector.Stop()
	}
}

// gauge is what is looked at while something is measured.
type gauge struct {
	proxy   *peers.Process // nil without one
	ends    *ends
	endPIDs []int
	heap    string // file for the first heap profile; empty: none
}

// CPU implements load.Gauge.
func (g *gauge) CPU() (load.Reading, error) {
	var proxy []int
	if g.proxy != nil {
		proxy = g.proxy.Tree()
	}
	used, err := proc.CPU(proxy...)
	if err != nil {
		return load.Reading{}, err
	}
	own, err := proc.CPU(g.endPIDs...)
	return load.Reading{Proxy: used, Ends: own, Swallowed: g.ends.counters.Swallowed.Load()}, err
}

// Memory implements load.Gauge.
func (g *gauge) Memory() (int64, int, error) {
	if g.proxy == nil {
		return 0, 0, nil
	}
	bytes, err := proc.Memory(g.proxy.Tree()...)
	if err != nil {
		return 0, 0, err
	}
	n, err := proc.Descriptors(g.proxy.Tree()...)
	return bytes, n, err
}

// Live implements load.Gauge.
func (g *gauge) Live(ctx context.Context) (float64, error) {
	if g.proxy == nil {
		return math.NaN(), nil
	}
	live, err := g.proxy.Live(ctx)
	if err == nil && g.heap != "" {
		err = g.saveHeap(ctx)
	}
	return live, err
}

func (g *gauge) saveHeap(ctx context.Context) error {
	profile, err := g.proxy.Heap(ctx)
	if err != nil {
		return err
	}
	file := g.heap
	g.heap = ""
	return os.WriteFile(file, profile, 0o600)
}

// bench is one peer that is up, with a server of its own behind it.
type bench struct {
	gauge
	plain, secure, server *load.Target
}

// open starts a server and the peer in front of it, and waits until it serves.
func (l *lab) open(ctx context.Context, p *peers.Peer, processors int) (*bench, error) {
	e, err := startEnds(ctx, l.core(loadCore), processors, l.site.Cert, l.site.Key)
	if err != nil {
		return nil, err
	}
	b := &bench{gauge: gauge{ends: e, endPIDs: []int{os.Getpid(), e.pid()}}}
	b.server = &load.Target{Address: e.Plain}
	b.plain, b.secure = b.server, &load.Target{Address: e.TLS, TLS: l.trust}
	if p.Program == "" {
		return b, nil
	}
	if err := l.start(ctx, b, p); err != nil {
		b.close()
		return nil, fmt.Errorf("%s: %w", p.Name, err)
	}
	return b, nil
}

func (l *lab) start(ctx context.Context, b *bench, p *peers.Peer) error {
	ports, err := peers.FreePorts(3)
	if err != nil {
		return err
	}
	site := l.site
	site.Upstream, site.Plain, site.TLS, site.Admin = b.ends.Plain, ports[0], ports[1], ports[2]
	if b.proxy, err = p.Start(l.core(proxyCore), site); err != nil {
		return err
	}
	b.plain = &load.Target{Address: "127.0.0.1:" + strconv.Itoa(site.Plain)}
	b.secure = &load.Target{Address: "127.0.0.1:" + strconv.Itoa(site.TLS), TLS: l.trust}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	return b.proxy.Ready(ctx, func(ctx context.Context) error {
		return errors.Join(b.plain.Try(ctx), b.secure.Try(ctx))
	})
}

func (b *bench) close() {
	if b.proxy != nil {
		b.proxy.Stop()
	}
	b.ends.stop()
}

func (b *bench) target(secure bool) *load.Target {
	if secure {
		return b.secure
	}
	return b.plain
}

// measurementTimeout bounds a measurement beyond its window: thousands of TLS handshakes are among it.
const measurementTimeout = 2 * time.Minute

// measure runs one workload through one peer, started for it.
func (l *lab) measure(ctx context.Context, p *peers.Peer, w load.Workload) (load.Result, report.Noise, error) {
	ctx, cancel := context.WithTimeout(ctx, l.warm+l.window+2*l.settle+measurementTimeout)
	defer cancel()
	b, err := l.open(ctx, p, w.Processors())
	if err != nil {
		return nil, report.Noise{}, err
	}
	defer b.close()
	stop, err := l.profile(ctx, b, p, w)
	if err != nil {
		return nil, report.Noise{}, err
	}
	before, err := l.noise(b)
	if err != nil {
		return nil, report.Noise{}, err
	}
	env := &load.Env{Target: b.target(w.TLS), Server: b.server, Gauge: b, Warm: l.warm, Window: l.window, Settle: l.settle}
	result, err := w.Run(ctx, env)
	if err != nil && b.proxy != nil {
		err = fmt.Errorf("%w; %s", err, b.proxy.Log())
	}
	after, errNoise := l.noise(b)
	return result, after.since(before), errors.Join(err, errNoise, stop())
}
