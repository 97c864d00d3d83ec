package upstream

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"wsproxy/lifecycle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// named are targets with addresses of their own, which nobody needs to look up.
func named(names ...string) []Target {
	var all []Target
	for i, n := range names {
		all = append(all, Target{Name: n, Address: fmt.Sprintf("10.0.0.%d:80", i+1)})
	}
	return all
}

// journal notes what a pool tells.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) changed(c lifecycle.TargetChange) {
	line := fmt.Sprintf("%s %s>%s", c.Address, c.From, c.To)
	if c.Failure != nil {
		line += " " + c.Failure.Reason.String()
	}
	j.note(line)
}

func (j *journal) looked(l lifecycle.Lookup) {
	line := fmt.Sprintf("%s: %d", l.Target, l.Addresses)
	if l.Failure != nil {
		line += " failed"
	}
	j.note(line)
}

func (j *journal) note(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
}

// told is what was told since it was asked last.
func (j *journal) told() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	defer func() { j.lines = nil }()
	return strings.Join(j.lines, ", ")
}

// directory is a name server in memory.
type directory struct {
	mu      sync.Mutex
	names   map[string][]string
	records []*net.SRV
	err     error
	asked   int
}

func (d *directory) set(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
}

func (d *directory) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked++
	if d.err != nil {
		return nil, d.err
	}
	var found []netip.Addr
	for _, a := range d.names[host] {
		found = append(found, netip.MustParseAddr(a))
	}
	if len(found) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return found, nil
}

func (d *directory) LookupSRV(_ context.Context, _, _, name string) (string, []*net.SRV, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked++
	if d.err != nil {
		return "", nil, d.err
	}
	return name, slices.Clone(d.records), nil
}

// run runs a pool until the test ends.
func run(t *testing.T, p *Pool) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { p.Run(ctx) })
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	synctest.Wait()
}

// states are the pool's targets with the state of each address: "a=healthy b=ejected".
func states(p *Pool) string {
	var all []string
	for _, target := range p.Status().Targets {
		for _, a := range target.Addresses {
			all = append(all, fmt.Sprintf("%s=%s", strings.TrimSuffix(a.Address, ":80"), a.State))
		}
	}
	return strings.Join(all, " ")
}

// must picks, or fails the test.
func must(t *testing.T, p *Pool, q Request) *Lease {
	t.Helper()
	l, ok := p.Pick(q)
	if !ok {
		t.Fatal("got no target, want one")
	}
	return l
}

// openOf is how many connections each target has.
func openOf(p *Pool) map[string]int {
	open := map[string]int{}
	for _, target := range p.Status().Targets {
		for _, a := range target.Addresses {
			open[target.Name] += a.Open
		}
	}
	return open
}

func failedWith(r lifecycle.Reason) *lifecycle.Failure {
	return &lifecycle.Failure{Phase: lifecycle.PhaseConnect, Reason: r}
}
