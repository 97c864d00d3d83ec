package telemetry

import (
	"context"
	"io"
	"runtime"
	"syscall"
	"testing"
	"time"

	"go.opentelemetry.io/otel/propagation"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"wsproxy/lifecycle"
)

// discard takes everything and keeps nothing.
type discard struct{}

func (discard) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return nil }
func (discard) Export(context.Context, []sdklog.Record) error              { return nil }
func (discard) ForceFlush(context.Context) error                           { return nil }
func (discard) Shutdown(context.Context) error                             { return nil }

func newBench(b testing.TB, s Settings, logs bool) *harness {
	h := &harness{t: b, registry: new(lifecycle.Registry)}
	s.Registry, s.Routes, s.Hosts = h.registry, chat, []string{"backend"}
	s.Log.Writer = io.Discard
	s.Env = env()
	s = s.withDefaults()
	sampler, err := s.sampler()
	if err != nil {
		b.Fatal(err)
	}
	l, z := newLosses(), &sizes{settings: &s, started: time.Now()}
	metrics := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()), sdkmetric.WithReader(sdkmetric.NewManualReader()))
	gate := newSpanGate(discard{}, spanLimit, lifetime{life: b.Context(), hold: b.Context(), settings: &Settings{Env: env()}}, l)
	traces := sdktrace.NewTracerProvider(sdktrace.WithSampler(linkedSampler{sampler}), sdktrace.WithSpanProcessor(gate))
	p := &providers{traces: traces, recording: newRecording(sampler, gate, resource.Default(), s.Version), metrics: metrics, propagator: propagation.TraceContext{}, stops: []func(context.Context) error{metrics.Shutdown, traces.Shutdown}}
	p.recording.written = true // as for OTLP
	if logs {
		gate := newLogGate(discard{}, recordLimit, lifetime{life: b.Context(), hold: b.Context(), settings: &Settings{Env: env()}}, l)
		records := sdklog.NewLoggerProvider(sdklog.WithProcessor(gate))
		p.logs, p.blanks, p.stops = records, newBlanks(gate, resource.Default(), s.Version), append(p.stops, records.Shutdown)
		p.blanks.written = true
	}
	if h.Telemetry, err = assemble(s, p, l, z, newConsole(s.Log)); err != nil {
		b.Fatal(err)
	}
	h.registry.Observers = h.Observers()
	return h
}

// prices are what may be asked of telemetry, and how many allocations a connection may cost then, lifecycle's and the
// script's among them: about a tenth above what it was with the race detector when this was written, which has pools
// forget. Without it the last is 48.
var prices = []struct {
	name     string
	settings Settings
	logs     bool
	off      bool
	limit    float64
}{
	{"lifecycle only", Settings{}, false, true, 13},
	{"metrics only", Settings{Ratio: new(0.0), Log: Log{Level: 12}}, false, false, 32},
	{"dropped, may be kept", Settings{Ratio: new(0.0), Keep: everything, Log: Log{Level: 12}}, false, false, 36},
	{"traces and metrics", Settings{Log: Log{Level: 12}}, false, false, 58},
	{"with access line", Settings{}, false, false, 62},
	{"with log events", Settings{Log: Log{Level: 12}}, true, false, 67},
	{"with everything", Settings{}, true, false, 71},
}

// BenchmarkConnection is the price of one connection's telemetry, all phases from accept to close.
func BenchmarkConnection(b *testing.B) {
	for _, bench := range prices {
		b.Run(bench.name, func(b *testing.B) {
			h := newBench(b, bench.settings, bench.logs)
			if bench.off {
				h.registry.Observers = nil
			}
			b.ReportAllocs()
			began := processorTime(b)
			for b.Loop() {
				h.connect()
			}
			h.close()
			// With all that others do for it, and without what a busy machine adds to the time on the clock.
			b.ReportMetric(float64(processorTime(b)-began)/float64(b.N), "cpu-ns/op")
		})
	}
}

// processorTime is what the process has used so far.
func processorTime(tb testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Skip(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkOpenConnection tells what an open connection's telemetry holds in memory, beside lifecycle's
// own record.
func BenchmarkOpenConnection(b *testing.B) {
	const connections = 5000
	for b.Loop() {
		before := held(b, connections, false)
		b.ReportMetric(float64(held(b, connections, true)-before)/connections, "B/connection")
	}
}

// held is how much memory n open connections keep alive.
func held(b testing.TB, n int, observed bool) int64 {
	h := newBench(b, Settings{Log: Log{Level: 12}}, false)
	defer h.close()
	if !observed {
		h.registry.Observers = nil
	}
	var before, after runtime.MemStats
	collectGarbage()
	runtime.ReadMemStats(&before)
	open := make([]*script, 0, n)
	for range n {
		open = append(open, h.open())
	}
	h.tellings.flush()
	h.providers.traces.(*sdktrace.TracerProvider).ForceFlush(context.Background())
	for _, s := range open {
		s.ctx = nil
	}
	collectGarbage()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(open)
	return int64(after.HeapAlloc) - int64(before.HeapAlloc)
}

// collectGarbage leaves nothing, not even what is kept for one collection more: by pools, and then of pools.
func collectGarbage() {
	for range 3 {
		runtime.GC()
	}
}

func TestAllocationsOfAConnection(t *testing.T) {
	for _, price := range prices {
		t.Run(price.name, func(t *testing.T) {
			h := newBench(t, price.settings, price.logs)
			defer h.close()
			if price.off {
				h.registry.Observers = nil
			}
			for range 100 { // sets and pools fill
				h.connect()
			}
			got := testing.AllocsPerRun(500, func() {
				h.connect()
				h.tellings.flush()
			})
			t.Logf("%g allocations", got)
			if got > price.limit {
				t.Errorf("got %g allocations for a connection, want at most %g", got, price.limit)
			}
		})
	}
}

// openConnection is what telemetry may remember of an open connection, in bytes: it was 500 when this was written.
const openConnection = 700

func TestMemoryOfAnOpenConnection(t *testing.T) {
	const connections = 3000
	held(t, 1, true) // what other tests have left is gone then
	record := held(t, connections, false)
	got := (held(t, connections, true) - record) / connections
	t.Logf("%d bytes", got)
	if got > openConnection {
		t.Errorf("got %d bytes for an open connection, want at most %d", got, openConnection)
	}
}

// A collection looks at every connection, and allocates for none.
func TestCollectionCostsNoAllocationForAConnection(t *testing.T) {
	collection := func(connections int) float64 {
		h := newHarness(t, Settings{Routes: chat, Ratio: new(0.0), Log: Log{Level: 12}})
		defer h.close()
		for range connections {
			h.open()
		}
		var data metricdata.ResourceMetrics // is used again, as exporters do
		return testing.AllocsPerRun(20, func() {
			if err := h.reader.Collect(context.Background(), &data); err != nil {
				t.Error(err)
			}
		})
	}
	few, many := collection(10), collection(2000)
	t.Logf("%g allocations with 10 connections, %g with 2000", few, many)
	if many > few+100 {
		t.Errorf("got %g allocations with 2000 connections, want about %g as with 10", many, few)
	}
}

func TestMessagesCostNoAllocationAndNoCall(t *testing.T) {
	h := newHarness(t, Settings{Routes: chat})
	s := h.open()
	h.tellings.flush()
	before := len(h.spans.GetSpans()) + len(h.records.records)
	if n := testing.AllocsPerRun(1000, func() { s.message(lifecycle.Upstream, 100) }); n != 0 {
		t.Errorf("got %g allocations per message, want none", n)
	}
	if got := len(h.spans.GetSpans()) + len(h.records.records); got != before {
		t.Errorf("got %d spans and records after the messages, want %d as before", got, before)
	}
	if got := total(h, "wsproxy.messages"); got < 1000 {
		t.Errorf("wsproxy.messages: got %d, want all", got)
	}
	h.close()
}
