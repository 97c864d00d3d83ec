package telemetry

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/contrib/propagators/autoprop"
	"go.opentelemetry.io/otel/propagation"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/goleak"

	"wsproxy/lifecycle"
)

var update = flag.Bool("update", false, "rewrite golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// harness is Telemetry over exporters in memory, and a registry that it observes.
type harness struct {
	*Telemetry
	t        testing.TB
	registry *lifecycle.Registry
	spans    *tracetest.InMemoryExporter
	reader   *sdkmetric.ManualReader
	records  *memoryLogs
	console  *bytes.Buffer
	delta    bool // sums are collected as deltas
}

func (h *harness) temporality(k sdkmetric.InstrumentKind) metricdata.Temporality {
	if h.delta {
		return sdkmetric.DeltaTemporalitySelector(k)
	}
	return metricdata.CumulativeTemporality
}

func newHarness(t testing.TB, s Settings) *harness {
	t.Helper()
	h := &harness{t: t, registry: new(lifecycle.Registry), spans: tracetest.NewInMemoryExporter(), records: new(memoryLogs), console: new(bytes.Buffer)}
	s.Registry = h.registry
	s.Log.Writer = h.console
	if s.Env == nil {
		s.Env = func(string) string { return "" }
	}
	s = s.withDefaults()
	sampler, err := s.sampler()
	if err != nil {
		t.Fatal(err)
	}
	z := &sizes{settings: &s, started: time.Now()}
	metrics := &meters{settings: &s, sizes: z, resource: resource.Empty(), push: func(context.Context, *rules) ([]sdkmetric.Reader, error) {
		h.reader = sdkmetric.NewManualReader(sdkmetric.WithProducer(z), sdkmetric.WithTemporalitySelector(h.temporality))
		return []sdkmetric.Reader{h.reader}, nil
	}}
	metrics.libraries = &libraries{reader: sdkmetric.NewManualReader()}
	metrics.libraries.provider = sdkmetric.NewMeterProvider(sdkmetric.WithReader(metrics.libraries.reader))
	exporter := sdktrace.NewSimpleSpanProcessor(h.spans)
	traces := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(exporter), sdktrace.WithSampler(linkedSampler{sampler}))
	keeper := sdklog.NewSimpleProcessor(h.records)
	logs := sdklog.NewLoggerProvider(sdklog.WithProcessor(keeper))
	p := &providers{
		traces: traces, meters: metrics, prometheus: metrics, logs: logs, recording: newRecording(sampler, exporter, resource.Default(), s.Version),
		blanks:     newBlanks(keeper, resource.Default(), s.Version),
		propagator: autoprop.NewTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}),
		stops:      []func(context.Context) error{metrics.shutdown, traces.Shutdown, logs.Shutdown},
	}
	if h.Telemetry, err = assemble(s, p, newLosses(), z, newConsole(s.Log)); err != nil {
		t.Fatal(err)
	}
	h.registry.Observers = append(h.Observers(), settled{h.tellings})
	number := 0
	h.registry.NewID = func() string { number++; return fmt.Sprintf("c%d", number) }
	return h
}

// settled is an observer behind telemetry's that returns when a connection's end was told.
type settled struct{ *tellings }

func (s settled) Watch(*lifecycle.Connection) lifecycle.Watcher              { return s }
func (settled) Begin(ctx context.Context, _ *lifecycle.Step) context.Context { return ctx }
func (settled) End(context.Context, *lifecycle.Step)                         {}
func (s settled) Done(lifecycle.Outcome)                                     { s.flush() }

func (h *harness) close() {
	h.t.Helper()
	if err := h.Shutdown(context.Background()); err != nil {
		h.t.Errorf("shutdown: %v", err)
	}
}

func (h *harness) collect() metricdata.ResourceMetrics {
	h.t.Helper()
	var data metricdata.ResourceMetrics
	if err := h.reader.Collect(context.Background(), &data); err != nil {
		h.t.Fatal(err)
	}
	return data
}

// memoryLogs keeps exported records.
type memoryLogs struct {
	mu      sync.Mutex
	records []sdklog.Record
}

func (m *memoryLogs) Export(_ context.Context, rs []sdklog.Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range rs {
		m.records = append(m.records, r.Clone())
	}
	return nil
}

func (m *memoryLogs) Shutdown(context.Context) error   { return nil }
func (m *memoryLogs) ForceFlush(context.Context) error { return nil }

// golden compares text with testdata/name.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

// script plays a connection through the registry, in the fake time of a bubble.
type script struct {
	*harness
	c        *lifecycle.Connection
	ctx      context.Context
	transfer *lifecycle.Step // begun and not ended
}

func (h *harness) accept(client string) *script {
	c := h.registry.Open(client, time.Now())
	return &script{harness: h, c: c, ctx: lifecycle.NewContext(context.Background(), c)}
}

// step runs a phase that takes d; edit, if any, completes what is known at its end.
func (s *script) step(step lifecycle.Step, d time.Duration, err error, edit func(*lifecycle.Step)) context.Context {
	ctx, p := s.c.Begin(s.ctx, &step)
	if d > 0 {
		time.Sleep(d)
	}
	if edit != nil {
		edit(p)
	}
	p.End(ctx, err)
	return ctx
}

func facts(f *lifecycle.Facts) {
	f.Method, f.Scheme, f.Host, f.Path, f.Protocol = "GET", "http", "chat.example.com", "/chat/7", "1.1"
	f.UserAgent, f.Client = "test/1.0", "203.0.113.7:51000"
}

func route(f *lifecycle.Facts) {
	f.Route, f.Pattern, f.Upstream, f.Identity = "chat", "/chat/{room}", "chat", "5f0a"
}

// head plays request and route.
func (s *script) head() {
	s.step(lifecycle.Step{Phase: lifecycle.PhaseRequest}, 2*time.Millisecond, nil, nil)
	s.c.Update(facts)
	s.ctx = s.step(lifecycle.Step{Phase: lifecycle.PhaseRoute}, time.Millisecond, nil, func(*lifecycle.Step) { s.c.Update(route) })
}

func won(address string, d time.Duration) []lifecycle.Try {
	return []lifecycle.Try{{Address: address, Begun: time.Now().Add(-d), Ended: time.Now(), Won: true}}
}

// dial plays dns and a direct connect.
func (s *script) dial() {
	s.c.Update(func(f *lifecycle.Facts) { f.Target = "ws://backend:9000" })
	s.step(lifecycle.Step{Phase: lifecycle.PhaseDNS, Host: "backend"}, 3*time.Millisecond, nil,
		func(p *lifecycle.Step) { p.Answers = []string{"10.0.0.5"} })
	s.step(lifecycle.Step{Phase: lifecycle.PhaseConnect}, 4*time.Millisecond, nil, func(p *lifecycle.Step) {
		p.Tries, p.Peer = won("10.0.0.5:9000", 4*time.Millisecond), "10.0.0.5:9000"
	})
}

func (s *script) upgrade() context.Context {
	return s.step(lifecycle.Step{Phase: lifecycle.PhaseUpgrade, Host: "backend:9000", Peer: "10.0.0.5:9000"}, 5*time.Millisecond, nil,
		func(p *lifecycle.Step) {
			p.Status = 101
			s.c.Update(func(f *lifecycle.Facts) { f.Subprotocol, f.Framing = "chat.v2", "strict" })
		})
}

// relay plays transfer and close.
func (s *script) relay(d time.Duration, cl lifecycle.Close) {
	s.step(lifecycle.Step{Phase: lifecycle.PhaseTransfer}, d, nil, nil)
	s.step(lifecycle.Step{Phase: lifecycle.PhaseClose}, 6*time.Millisecond, nil, nil)
	s.c.Closed(cl)
}

var cleanClose = lifecycle.Close{Cause: lifecycle.CauseClientClose, Initiator: lifecycle.InitiatorClient, Code: 1000, Clean: true}

// message counts one in direction d.
func (s *script) message(d lifecycle.Direction, size uint64) {
	f := s.c.Flow(d)
	f.Bytes.Add(size + 6)
	f.Frames.Add(1)
	f.Text.Add(1)
	f.MessageBytes.Add(size)
	for i, b := range messageSizeBounds {
		if size <= b {
			f.Sizes[i].Add(1)
			break
		}
	}
}
