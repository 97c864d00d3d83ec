//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// ledger is what was done, as dashboards show it: for a panel's title, how often each of its legends.
type ledger map[string]map[string]float64

func (d *day) did(instance, panel, legend string, n int) {
	l := d.done[instance]
	if l[panel] == nil {
		l[panel] = make(map[string]float64)
	}
	l[panel][legend] += float64(n)
}

func (d *day) opened(instance string, n int) { d.did(instance, "Handshakes by outcome", "opened", n) }

func (d *day) closed(instance, cause string, n int) { d.did(instance, "Closes by cause", cause, n) }

func (d *day) failed(instance, phase, reason string, n int) {
	d.did(instance, "Handshakes by outcome", "failed", n)
	d.did(instance, "Failures by phase and reason", phase+": "+reason, n)
}

func (d *day) refused(instance, reason string, n int) {
	d.did(instance, "Handshakes by outcome", "refused", n)
	d.did(instance, "Refusals by reason", reason, n)
}

// ofChat are the panels that are compared for the route chat alone, all of whose clients count what they send and receive.
var ofChat = []string{"Messages per second", "Throughput"}

// carried adds what a client that has chatted has counted.
func (d *day) carried(instance, path string, c *client) {
	if !strings.HasPrefix(path, "/chat/") {
		return
	}
	for direction, n := range map[string]int{"upstream": c.sent, "downstream": c.received} {
		d.did(instance, "Messages per second", direction+" text", n-1) // of each chat the last message is binary
		d.did(instance, "Messages per second", direction+" binary", 1)
	}
	d.did(instance, "Throughput", "upstream", int(c.wire.written.Load()))
	d.did(instance, "Throughput", "downstream", int(c.wire.read.Load()))
}

// expected is the ledger of an instance, or of all that match a pattern.
func (d *day) expected(instance string) ledger {
	sum := make(ledger)
	for id, l := range d.done {
		if instance != id && instance != ".*" {
			continue
		}
		for panel, legends := range l {
			if sum[panel] == nil {
				sum[panel] = make(map[string]float64)
			}
			for legend, n := range legends {
				sum[panel][legend] += n
			}
		}
	}
	return sum
}

// nobody has the dashboards asked before anything has reported: everything is answered, with nothing.
func (d *day) nobody(t *testing.T) {
	for file, board := range readDashboards(t) {
		for _, p := range board.Panels {
			for _, target := range p.Targets {
				got, err := d.stack.prometheus.query(t.Context(), filled(target.Expr, ".*", ".*"))
				if err != nil || len(got) > 0 {
					t.Errorf("%s, %s: got %v, %v, want no data", file, p.Title, got, err)
				}
			}
		}
	}
	d.stack.prometheus.wantFired(t, "WsproxyNoData")
}

var (
	inRate   = regexp.MustCompile(`rate\((\w+\{[^}]*\})\[\$__rate_interval\]\)`)
	inLegend = regexp.MustCompile(`\{\{(\w+)\}\}`)
)

// exactly holds what the panels count, without their rates, against the ledgers: of all instances and of each.
func (d *day) exactly(t *testing.T) {
	for _, instance := range []string{".*", "a", "b"} {
		d.compare(t, instance, func(query string) string { return inRate.ReplaceAllString(query, "$1") }, 1, 0)
	}
}

// compare holds a form of the panels' queries against the ledger of an instance: each number, times factor, may be off by a share.
func (d *day) compare(t *testing.T, instance string, form func(string) string, factor, tolerance float64) {
	t.Helper()
	want, compared := d.expected(instance), 0
	for _, board := range readDashboards(t) {
		for _, p := range board.Panels {
			if want[p.Title] == nil {
				continue
			}
			compared++
			route := ".*"
			if slices.Contains(ofChat, p.Title) {
				route = "chat"
			}
			within := patience
			if t.Failed() { // with one number wrong, the others are told without long waits
				within = 2 * time.Second
			}
			err := attempt(t.Context(), within, func(ctx context.Context) error {
				got, err := d.shown(ctx, p, func(query string) string { return filled(form(query), instance, route) })
				if err != nil {
					return err
				}
				return differ(got, want[p.Title], factor, tolerance)
			})
			if err != nil {
				t.Errorf("%s of instance %s: %v", p.Title, instance, err)
			}
		}
	}
	if compared < len(want) {
		t.Errorf("got %d panels of instance %s, want the ledger's %d", compared, instance, len(want))
	}
}

// shown is what a panel shows, by legend. What is zero is left out.
func (d *day) shown(ctx context.Context, p panel, form func(string) string) (map[string]float64, error) {
	got := make(map[string]float64)
	for _, target := range p.Targets {
		found, err := d.stack.prometheus.query(ctx, form(target.Expr))
		if err != nil {
			return nil, err
		}
		for _, s := range found {
			legend := inLegend.ReplaceAllStringFunc(target.LegendFormat, func(l string) string { return s.labels[strings.Trim(l, "{}")] })
			if s.value != 0 {
				got[legend] += s.value
			}
		}
	}
	return got, nil
}

// differ says how numbers differ.
func differ(got, want map[string]float64, factor, tolerance float64) error {
	for _, legend := range slices.Sorted(maps.Keys(want)) {
		if g, w := got[legend]*factor, want[legend]; math.Abs(g-w) > w*tolerance {
			return fmt.Errorf("got %v of %q, want %v", g, legend, w)
		}
	}
	for legend, n := range got {
		if _, ok := want[legend]; !ok {
			return fmt.Errorf("got %v of %q, want none", n, legend)
		}
	}
	return nil
}

// dashboards wants data from every query, and rates that are the ledger's: over two instances, one of which began again at zero.
func (d *day) dashboards(t *testing.T) {
	// Behind the last sample a rate goes on for a while, and it is one in some fifty.
	for _, instance := range []string{".*", "a", "b"} {
		d.compare(t, instance, func(query string) string { return query }, 600, 0.1)
	}
	for file, board := range readDashboards(t) {
		for _, p := range board.Panels {
			for _, target := range p.Targets {
				got, err := d.stack.prometheus.query(t.Context(), filled(target.Expr, ".*", ".*"))
				if err != nil || len(got) == 0 {
					t.Errorf("%s, %s: got no data, %v: %s", file, p.Title, err, target.Expr)
				}
			}
		}
	}
	d.gauges(t)
}

// gauges holds single numbers against the script.
func (d *day) gauges(t *testing.T) {
	all := d.expected(".*")["Handshakes by outcome"]
	wants := map[string]struct{ least, most float64 }{
		"Open connections: open":                  {float64(len(d.staying)), float64(len(d.staying))},
		"Open connections by route: limited":      {float64(len(d.staying)), float64(len(d.staying))},
		"Targets by state: unhealthy":             {1, 1},
		"State: operational":                      {2, 2},
		"Handshakes that succeeded: succeeded":    {all["opened"]/(all["opened"]+all["failed"]) - 0.01, all["opened"]/(all["opened"]+all["failed"]) + 0.01},
		"Time in each phase, p95: dns":            {0.25, 30},
		"Time in each phase, p95: proxy":          {0.5, 30},
		"Certificates: time left: a.day.test":     {nearEnd.Seconds() - 3600, nearEnd.Seconds()},
		"Certificates: time left: b.day.test":     {farEnd.Seconds() - 3600, farEnd.Seconds()},
		"Telemetry lost: lost":                    {0, 0},
		"Targets that can't be used: down TARGET": {1, 1},
	}
	for _, board := range readDashboards(t) {
		for _, p := range board.Panels {
			got, err := d.shown(t.Context(), p, func(query string) string { return filled(query, ".*", ".*") })
			if err != nil {
				t.Fatal(err)
			}
			for legend, value := range got {
				key := p.Title + ": " + regexp.MustCompile(`ws://\S+`).ReplaceAllString(legend, "TARGET")
				if want, ok := wants[key]; ok && (value < want.least || value > want.most) {
					t.Errorf("%s: got %v, want %v to %v", key, value, want.least, want.most)
				}
				if wants[key].most > 0 {
					delete(wants, key)
				}
			}
		}
	}
	delete(wants, "Telemetry lost: lost") // zeros are not shown
	for key := range wants {
		t.Errorf("%s: got no number", key)
	}
}
