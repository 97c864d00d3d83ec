//go:build linux

package report

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"wsproxy/bench/load"
	"wsproxy/bench/stats"
)

// document is the text being written.
type document struct {
	*Results
	text bytes.Buffer
}

// Write writes the document.
func (r *Results) Write(w io.Writer) error {
	d := &document{Results: r}
	d.head()
	d.method()
	d.goals()
	d.figures()
	d.ratios()
	d.growth()
	d.noise()
	d.absent()
	_, err := w.Write(d.text.Bytes())
	return err
}

func (d *document) line(format string, args ...any) { fmt.Fprintf(&d.text, format+"\n", args...) }

// row writes a table's row, head a table's first two lines.
func (d *document) row(cells ...string) { d.line("| %s |", strings.Join(cells, " | ")) }

func (d *document) tableHead(cells ...string) {
	d.line("")
	d.row(cells...)
	d.line("|%s", strings.Repeat("---|", len(cells)))
}

func (d *document) head() {
	d.line("# Benchmarks")
	d.line("")
	d.line("wsproxy beside other proxies, on one machine, in one run. `make bench` measures everything and writes this page.")
	if d.Method.Quick {
		d.line("")
		d.line("**This was a quick run: short windows and few rounds. It shows orders of magnitude.**")
	}
	d.line("")
	d.line("Measured %s to %s UTC.", d.Began.UTC().Format("2006-01-02 15:04"), d.Ended.UTC().Format("15:04"))
	d.tableHead("machine", "")
	m := d.Machine
	d.row("processor", fmt.Sprintf("%s, %d cores", m.Processor, m.Cores))
	d.row("memory", fmt.Sprintf("%.0f GiB", float64(m.Memory)/(1<<30)))
	d.row("kernel", m.Kernel)
	d.row("load generator", m.Go)
	for _, p := range d.Peers {
		if p.Version != "" {
			d.row(p.Name, p.Version)
		}
	}
}

func (d *document) method() {
	m := d.Method
	d.line("\n## Method")
	if m.Pinned {
		d.line("The proxy has one core; the load, the server behind it and the collector have the other.")
	} else {
		d.line("**Nothing was pinned to a core.**")
	}
	d.line("Every measurement starts its proxy and its server anew. Rounds: %d; in each, every workload goes through all peers, in an order drawn anew, before the next workload. Warm-up %v, window %v.",
		m.Rounds, m.Warm, m.Window)
	d.line(`
- **CPU** is what the proxy's processes have used (user and system time, all threads and workers) for a unit of work: a message that was echoed, a megabyte (10⁶ bytes) that arrived, a connection that was set up and closed with a close handshake. On two cores it says more than the throughput, which is the smaller of what both sides can do. For *direct*, without a proxy, it is what the two ends use.
- **Ratios** are taken in each round between measurements that lie minutes apart at most; the table has their median, and their lowest and highest in parentheses.
- **Latencies** are from when a message was due, whether or not the ones before it were answered, to when the kernel took in the last packet of its answer. Messages beside others are sent and answered by threads that go before all else on the ends' core (SCHED_RR, if bench is root): what they wait for is the proxy, and not the ends that are busy with the rest. Now and then a latency is about a second, without a proxy, too: presumably such a thread keeps the holder of a lock that it waits for from running, until the kernel stops it after 950 ms. *Bad peers* are, with the two streams both ways of *bulk*, one that reads 4 KiB every 5 ms at both ends while both send all they can, one that reads nothing of what it is sent, and one that sends a byte at a time.
- **Memory** is the growth of the proxy's proportional set size between two numbers of connections, which includes garbage not yet collected; *live* is what is left of a Go program's heap and stacks after a collection. The kernel's socket buffers are in neither.
- nginx, HAProxy, Caddy and Traefik have their own defaults for buffers, and no access log. wsproxy has its defaults, too: strict framing, all connections traced and logged. With telemetry it exports traces, metrics (every second) and logs over OTLP to a collector; "telemetry off" is ` + "`OTEL_SDK_DISABLED=true`" + `.
- ReverseProxy is Go's ` + "`httputil.ReverseProxy`" + ` with nothing around it. wss is wss to the proxy and ws behind it, TLS 1.3, a P-256 certificate, no session resumed.`)
}

func (d *document) goals() {
	d.line("\nWhy goals are missed is in [decision 0006](decisions/0006-cost-of-a-connection.md).")
	for _, p := range d.Peers {
		if !p.Ours || !p.Telemetry {
			continue
		}
		verdicts := d.judge(p)
		reached := 0
		for _, v := range verdicts {
			if v.reached {
				reached++
			}
		}
		d.line("\n## Goals, %s: %d of %d reached", p.Name, reached, len(verdicts))
		d.tableHead("what", "workload", "goal", "measured", "")
		for _, v := range verdicts {
			got, judgement := v.result()
			d.row(v.goal.what, v.workload, v.text(), got, judgement)
		}
	}
}

// section is a table of one metric.
type section struct {
	title  string
	metric load.Metric
	scale  float64 // what the figure is divided by
	kinds  []load.Kind
}

func sections() []section {
	messages := []load.Kind{load.KindEcho, load.KindRate}
	delivered := []load.Kind{load.KindRate, load.KindBurst, load.KindBeside, load.KindSetup}
	return []section{
		{"CPU µs per message", load.CPU, 1, messages},
		{"CPU µs per MB", load.CPU, 1, []load.Kind{load.KindStream, load.KindBeside}},
		{"CPU µs per connection set up and closed", load.CPU, 1, []load.Kind{load.KindSetup}},
		{"Memory per idle connection, KiB", load.Memory, 1 << 10, []load.Kind{load.KindIdle}},
		{"Live memory per idle connection, KiB", load.Live, 1 << 10, []load.Kind{load.KindIdle}},
		{"Descriptors per connection", load.Descriptors, 1, []load.Kind{load.KindIdle}},
		{"Latency p50, µs", load.P50, 1, delivered},
		{"Latency p99, µs", load.P99, 1, delivered},
		{"Latency p99.9, µs", load.P999, 1, delivered},
		{"Latency, longest, µs", load.Max, 1, delivered},
		{"Throughput, per second: messages, MB, connections", load.Rate, 1, []load.Kind{load.KindEcho, load.KindStream, load.KindBeside, load.KindSetup}},
		{"CPU µs of the two ends, for the same units", load.Ends, 1, []load.Kind{load.KindEcho, load.KindRate, load.KindStream, load.KindSetup}},
		{"Share of its core that the proxy used, %", load.Busy, 0.01, []load.Kind{load.KindEcho, load.KindRate, load.KindStream, load.KindSetup}},
	}
}

func (s section) has(w load.Workload) bool {
	return slices.Contains(s.kinds, w.Kind)
}

func (d *document) figures() {
	d.line("\n## Figures")
	d.line("Medians, in parentheses the lowest and the highest.")
	for _, s := range sections() {
		d.section(s)
	}
}

func (d *document) section(s section) {
	head := []string{"workload"}
	for _, p := range d.Peers {
		head = append(head, p.Name)
	}
	d.line("\n### %s", s.title)
	d.tableHead(head...)
	for _, w := range d.Workloads {
		if !s.has(w) {
			continue
		}
		cells := []string{w.Name}
		for _, p := range d.Peers {
			metric := s.metric
			if metric == load.CPU && p.Name == direct {
				metric = load.Ends
			}
			cells = append(cells, spread(d.figure(w.Name, p.Name, metric), s.scale))
		}
		d.row(cells...)
	}
}

// spread formats a figure with its spread.
func spread(s stats.Spread, scale float64) string {
	switch {
	case s.Rounds == 0:
		return "–"
	case s.Rounds == 1:
		return number(s.Median / scale)
	}
	return fmt.Sprintf("%s (%s–%s)", number(s.Median/scale), number(s.Min/scale), number(s.Max/scale))
}

// number formats with three digits or more.
func number(x float64) string {
	switch {
	case x >= 100 || x <= -100 || x == 0:
		return fmt.Sprintf("%.0f", x)
	case x >= 10 || x <= -10:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.2f", x)
}

func (d *document) ratios() {
	d.line("\n## Ratios")
	d.line("Less is better: CPU per unit, memory per connection, p99 of bursts and beside others.")
	for _, p := range d.Peers {
		if !p.Ours {
			continue
		}
		d.line("\n### %s", p.Name)
		d.tableHead("workload", "", "÷ nginx", "÷ HAProxy", "÷ the best peer")
		for _, w := range d.Workloads {
			metric := load.CPU
			switch w.Kind {
			case load.KindIdle:
				metric = load.Memory
			case load.KindBurst, load.KindBeside:
				metric = load.P99
			}
			best := d.best(w.Name, metric, d.others())
			d.row(w.Name, string(metric), spread(d.ratio(w.Name, p.Name, nginx, metric), 1), spread(d.ratio(w.Name, p.Name, haproxy, metric), 1),
				fmt.Sprintf("%s %s", spread(d.ratio(w.Name, p.Name, best, metric), 1), best))
		}
	}
}

func (d *document) noise() {
	var others, steal []float64
	disturbed := 0
	for _, m := range d.Measurements {
		others, steal = append(others, 100*m.Noise.Others), append(steal, 100*m.Noise.Steal)
		if m.Noise.Others+m.Noise.Steal > 0.05 {
			disturbed++
		}
	}
	o, s := stats.Of(others...), stats.Of(steal...)
	d.line("\n## Noise")
	d.line("Of the proxy's core, other processes and interrupts took %s %% of the time in the median and %s %% at worst, the hypervisor %s %% and %s %%. In %d of %d measurements the two were more than 5 %%.",
		number(o.Median), number(o.Max), number(s.Median), number(s.Max), disturbed, len(d.Measurements))
	for _, m := range d.Failed() {
		d.line("\n- Failed: %s through %s, round %d: %s", m.Workload, m.Peer, m.Round+1, firstLine(m.Error))
	}
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

func (d *document) absent() {
	d.line("\n## Not measured")
	for _, name := range d.Missing {
		d.line("- %s: its program was not there.", name)
	}
	d.line("- More than one core for the proxy: this compares work, not scaling.")
	d.line("- A network: everything is loopback, where the kernel hands packets over in the sender's time, so that CPU per message is mostly the kernel's.")
	d.line("- permessage-deflate, HTTP/2 and TLS towards the upstream.")
	d.line("- The kernel's memory for sockets, which is the same for all.")
	if d.Method.Quick {
		d.line("- Growth to thousands of connections, one-way streams and most of wss: `make bench` does.")
	}
	d.line("\nThe run took %v.", d.Ended.Sub(d.Began).Round(time.Second))
}
