package telemetry

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"wsproxy/internal/otlpsink"
	"wsproxy/lifecycle"
)

// fakeCollector takes OTLP over HTTP and keeps what it got, by path.
type fakeCollector struct{ *otlpsink.Sink }

func newFakeCollector(t *testing.T) *fakeCollector {
	c := &fakeCollector{otlpsink.Start()}
	t.Cleanup(c.Close)
	return c
}

// got is everything that arrived for a path, or for all.
func (c *fakeCollector) got(path string) string { return string(c.Got(path)) }

// await waits until text has arrived for a path.
func (c *fakeCollector) await(t *testing.T, path, text string) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for !strings.Contains(c.got(path), text) {
		select {
		case <-deadline:
			t.Fatalf("%s: %s did not arrive", path, text)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func env(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

// start is New with an observed registry.
func start(t *testing.T, s Settings) (*Telemetry, *harness) {
	t.Helper()
	h := &harness{t: t, registry: new(lifecycle.Registry), console: new(bytes.Buffer)}
	s.Registry = h.registry
	if s.Env == nil {
		s.Env = env()
	}
	if s.Log.Writer == nil {
		s.Log.Writer = &locked{w: h.console}
	}
	tel, err := New(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	h.Telemetry = tel
	h.registry.Observers = append(tel.Observers(), settled{tel.tellings})
	return tel, h
}

// locked lets several goroutines write to a buffer.
type locked struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// connect plays a connection without waiting.
func (h *harness) connect() {
	s := h.open()
	s.transfer.End(s.ctx, nil)
	s.step(lifecycle.Step{Phase: lifecycle.PhaseClose}, 0, nil, nil)
	s.c.Closed(cleanClose)
}

// open is connect up to the transfer.
func (h *harness) open() *script {
	s := h.accept("203.0.113.7:51000")
	s.step(lifecycle.Step{Phase: lifecycle.PhaseRequest}, 0, nil, nil)
	s.c.Update(facts)
	s.c.Update(route)
	s.ctx = s.step(lifecycle.Step{Phase: lifecycle.PhaseRoute}, 0, nil, nil)
	s.step(lifecycle.Step{Phase: lifecycle.PhaseConnect}, 0, nil, func(p *lifecycle.Step) { p.Tries, p.Peer = won("10.0.0.5:9000", 0), "10.0.0.5:9000" })
	s.step(lifecycle.Step{Phase: lifecycle.PhaseUpgrade, Host: "backend:9000"}, 0, nil, func(p *lifecycle.Step) { p.Status = 101 })
	s.ctx, s.transfer = s.c.Begin(s.ctx, &lifecycle.Step{Phase: lifecycle.PhaseTransfer})
	return s
}

func TestOrigins(t *testing.T) {
	const block, endpoint = "localhost:4318", "http://localhost:4318"
	for _, test := range []struct {
		name     string
		env      func(string) string
		endpoint string
		want     [signalCount]origin
	}{
		{"nothing", env(), "", [signalCount]origin{}},
		{"block", env(), block, [signalCount]origin{originBlock, originBlock, originBlock}},
		{"endpoint for all", env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint), block, [signalCount]origin{originEnvironment, originEnvironment, originEnvironment}},
		{"endpoint for traces", env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint), "", [signalCount]origin{signalTraces: originEnvironment}},
		{"traces off", env("OTEL_TRACES_EXPORTER", "none"), block, [signalCount]origin{signalMetrics: originBlock, signalLogs: originBlock}},
		{"otlp of the block", env("OTEL_LOGS_EXPORTER", "otlp"), block, [signalCount]origin{originBlock, originBlock, originBlock}},
		{"otlp by default endpoint", env("OTEL_LOGS_EXPORTER", "otlp"), "", [signalCount]origin{signalLogs: originEnvironment}},
		{"console", env("OTEL_METRICS_EXPORTER", "console"), "", [signalCount]origin{signalMetrics: originEnvironment}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := Settings{Env: test.env, OTLP: OTLP{Endpoint: test.endpoint}}
			for sig, want := range test.want {
				if got := s.origin(signal(sig)); got != want {
					t.Errorf("%s: got %d, want %d", signal(sig), got, want)
				}
			}
		})
	}
}

func TestNothingIsExportedUnlessAsked(t *testing.T) {
	tel, h := start(t, Settings{Routes: chat})
	if tel.tracer != nil || tel.events != nil || len(tel.providers.stops) != 1 {
		t.Errorf("got a tracer %v, events %v and %d providers, want only the metrics of the page", tel.tracer, tel.events, len(tel.providers.stops))
	}
	h.connect()
	s := h.open()
	if got := s.c.TraceID(); got != "" {
		t.Errorf("trace id: got %q, want none", got)
	}
	header := http.Header{"Traceparent": {incoming}, "Baggage": {"a=1"}}
	ctx := tel.Propagator().Extract(t.Context(), header)
	tel.Propagator().Inject(ctx, header)
	if got := header.Get("Traceparent"); got != incoming || header.Get("Baggage") != "a=1" {
		t.Errorf("headers: got %v, want them unchanged", header)
	}
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestDisabledSDKLeavesOnlyTheLog(t *testing.T) {
	tel, h := start(t, Settings{Env: env("OTEL_SDK_DISABLED", "True", "OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318"), OTLP: OTLP{Endpoint: "x:1"}})
	h.connect()
	if tel.tracer != nil || tel.metrics != nil || tel.events != nil {
		t.Error("got a signal, want none")
	}
	if !strings.Contains(h.console.String(), "connection closed") {
		t.Errorf("console: got %s, want the access line", h.console)
	}
	answer := httptest.NewRecorder()
	tel.Metrics().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	if answer.Code != http.StatusNotFound {
		t.Errorf("/metrics: got %d, want 404", answer.Code)
	}
	tel.Shutdown(t.Context())
}

func TestBlockExportsAllSignals(t *testing.T) {
	c := newFakeCollector(t)
	tel, h := start(t, Settings{OTLP: OTLP{Endpoint: c.URL + "/base/", Headers: map[string]string{"X-Token": "t0ken"}}, Version: "1.2.3", Interval: 20 * time.Millisecond})
	h.connect()
	tel.Logger().Warn("something to see")
	c.await(t, "/base/v1/metrics", "otel.sdk.processor.span.queue.capacity") // which goes with the processor
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string][]string{
		"/base/v1/traces":  {"websocket upgrade", "websocket close", "service.instance.id", "1.2.3"},
		"/base/v1/metrics": {"wsproxy.io", "wsproxy.message.size", "wsproxy.phase.duration", "go.goroutine.count", "otel.sdk.processor.span.queue.capacity"},
		"/base/v1/logs":    {"wsproxy.connection.closed", "something to see"},
	} {
		for _, w := range want {
			if !strings.Contains(c.got(path), w) {
				t.Errorf("%s: got no %q", path, w)
			}
		}
	}
	if got := c.Header().Get("X-Token"); got != "t0ken" {
		t.Errorf("header: got %q, want the block's", got)
	}
	if strings.Contains(c.got(""), "connection closed") {
		t.Error("got the access line in the exported logs, want its event only")
	}
}

func TestEnvironmentExportsAllSignals(t *testing.T) {
	c := newFakeCollector(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.URL)
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
	t.Setenv("OTEL_SERVICE_NAME", "edge")
	tel, h := start(t, Settings{Env: os.Getenv, ServiceName: "of-the-block", OTLP: OTLP{Endpoint: "127.0.0.1:1"}})
	h.connect()
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/v1/traces": "websocket close", "/v1/metrics": "wsproxy.message.size", "/v1/logs": "wsproxy.connection.closed"} {
		got := c.got(path)
		if !strings.Contains(got, want) || !strings.Contains(got, "deployment.environment.name") || !strings.Contains(got, "edge") || strings.Contains(got, "of-the-block") {
			t.Errorf("%s: got %d bytes, want %q and the environment's resource", path, len(got), want)
		}
	}
}

func TestConfigurationFileWins(t *testing.T) {
	c := newFakeCollector(t)
	file := filepath.Join(t.TempDir(), "otel.yaml")
	text := `file_format: "1.0"
tracer_provider:
  processors: [{batch: {exporter: {otlp_http: {endpoint: "` + c.URL + `/v1/traces"}}}}]
meter_provider:
  readers: [{periodic: {exporter: {otlp_http: {endpoint: "` + c.URL + `/v1/metrics"}}}}]
logger_provider:
  processors: [{batch: {exporter: {otlp_http: {endpoint: "` + c.URL + `/v1/logs"}}}}]
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	tel, h := start(t, Settings{Routes: chat, Env: env("OTEL_CONFIG_FILE", file), OTLP: OTLP{Endpoint: "127.0.0.1:1"}})
	h.connect()
	answer := httptest.NewRecorder()
	tel.Metrics().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/v1/traces": "websocket close", "/v1/metrics": "wsproxy.io", "/v1/logs": "wsproxy.connection.closed"} {
		if !strings.Contains(c.got(path), want) {
			t.Errorf("%s: got no %q", path, want)
		}
	}
	if !strings.Contains(c.got("/v1/traces"), "service.instance.id") || !strings.Contains(answer.Body.String(), "wsproxy_message_size_bytes") {
		t.Error("got no service.instance.id or no message sizes on /metrics")
	}
	if _, err := New(t.Context(), Settings{Env: env("OTEL_CONFIG_FILE", filepath.Join(t.TempDir(), "none.yaml"))}); err == nil {
		t.Error("a file that is not there: got no error")
	}
}

// grpcTraces is a trace service of a collector.
type grpcTraces struct {
	collectortrace.UnimplementedTraceServiceServer
	mu    sync.Mutex
	names []string
	token []string
}

func (g *grpcTraces) Export(ctx context.Context, r *collectortrace.ExportTraceServiceRequest) (*collectortrace.ExportTraceServiceResponse, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	md, _ := metadata.FromIncomingContext(ctx)
	g.token = md.Get("x-token")
	for _, rs := range r.ResourceSpans {
		for _, ss := range rs.ScopeSpans {
			for _, s := range ss.Spans {
				g.names = append(g.names, s.Name)
			}
		}
	}
	return new(collectortrace.ExportTraceServiceResponse), nil
}

func TestBlockExportsOverGRPC(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, service := grpc.NewServer(), new(grpcTraces)
	collectortrace.RegisterTraceServiceServer(server, service)
	var wg sync.WaitGroup
	wg.Go(func() { server.Serve(l) })
	tel, h := start(t, Settings{
		OTLP: OTLP{Endpoint: l.Addr().String(), Protocol: "grpc", Insecure: true, Headers: map[string]string{"x-token": "t0ken"}},
		Env:  env("OTEL_METRICS_EXPORTER", "none", "OTEL_LOGS_EXPORTER", "none"),
	})
	h.connect()
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	server.Stop()
	wg.Wait()
	if !slices.Contains(service.names, spanWebsocketClose) || !slices.Equal(service.token, []string{"t0ken"}) {
		t.Errorf("got spans %v and token %v", service.names, service.token)
	}
}

// deadCollectors are collectors that take nothing.
var deadCollectors = map[string]func(t *testing.T) (address string){
	"hangs": func(t *testing.T) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() }) // connections wait in its backlog
		return l.Addr().String()
	},
	"absent": func(t *testing.T) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		return l.Addr().String()
	},
	"refuses": func(t *testing.T) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
		t.Cleanup(s.Close)
		return s.Listener.Addr().String()
	},
}

func TestDeadCollectorDelaysExitByItsDeadlineAtMost(t *testing.T) {
	for name, listen := range deadCollectors {
		for _, protocol := range []string{protocolHTTP, protocolGRPC} {
			t.Run(name+" "+protocol[:4], func(t *testing.T) {
				tel, h := start(t, Settings{
					OTLP: OTLP{Endpoint: listen(t), Protocol: protocol, Insecure: true}, Flush: 300 * time.Millisecond, Log: Log{Level: 12},
				})
				for range 300 { // several batches
					h.connect()
				}
				begun := time.Now()
				if err := tel.Shutdown(t.Context()); err == nil {
					t.Error("got no error, want the exports' failure")
				}
				if took := time.Since(begun); took > 8*time.Second { // an export's own timeout is 10 s
					t.Errorf("shutdown took %s, want about 300 ms", took)
				}
			})
		}
	}
}

func TestQueueIsBoundedAndEveryLossCounted(t *testing.T) {
	life, kill := context.WithCancel(t.Context())
	l := newLosses()
	var reports int
	l.reportTo(func(signal, loss, int64) { reports++ })
	release := make(chan struct{})
	exported := 0
	slow := &slowExporter{InMemoryExporter: tracetest.NewInMemoryExporter(), wait: release, count: func(n int) { exported += n }}
	g := newSpanGate(slow, 1000, lifetime{life: life, hold: life, settings: &Settings{Env: env()}}, l)
	p := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(g))
	for range 5000 {
		_, span := p.Tracer("x").Start(t.Context(), "x")
		span.End()
	}
	if got := l.counts[signalTraces][lossQueueFull].Load(); got != 4000 {
		t.Errorf("dropped: got %d, want 4000", got)
	}
	if reports != 1 {
		t.Errorf("reports: got %d, want 1 in 10 s", reports)
	}
	close(release)
	if err := p.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if exported != 1000 || g.waiting.Load() != 0 {
		t.Errorf("got %d exported and %d waiting, want 1000 and 0", exported, g.waiting.Load())
	}
	kill()
}

// slowExporter waits before its first export.
type slowExporter struct {
	*tracetest.InMemoryExporter
	wait  chan struct{}
	count func(int)
}

func (e *slowExporter) ExportSpans(_ context.Context, s []sdktrace.ReadOnlySpan) error {
	<-e.wait
	e.count(len(s))
	return nil
}

// TestQueueHoldsWhileTheCollectorIsAway has it appear a minute after the start.
func TestQueueHoldsWhileTheCollectorIsAway(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		lost int64
	}{
		"refused":     {&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, 0},
		"unavailable": {status.Error(codes.Unavailable, "no"), 0},
		"forbidden":   {status.Error(codes.PermissionDenied, "no"), 10}, // an answer is an answer
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, start := newLosses(), time.Now()
				late := &lateExporter{InMemoryExporter: tracetest.NewInMemoryExporter(), from: start.Add(time.Minute), err: test.err}
				g := newSpanGate(late, 1000, lifetime{life: t.Context(), hold: t.Context(), settings: &Settings{Env: env()}}, l)
				p := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(g))
				for range 20 {
					_, span := p.Tracer("x").Start(t.Context(), "x")
					span.End()
					time.Sleep(6100 * time.Millisecond) // longer than a batch takes to be full
				}
				time.Sleep(time.Minute)
				if got := l.counts[signalTraces][lossExportFailed].Load(); got != test.lost {
					t.Errorf("lost: got %d, want %d", got, test.lost)
				}
				if got := int64(len(late.GetSpans())); got != 20-test.lost {
					t.Errorf("exported: got %d, want %d", got, 20-test.lost)
				}
				p.Shutdown(t.Context())
			})
		})
	}
}

// lateExporter fails until it is there.
type lateExporter struct {
	*tracetest.InMemoryExporter
	from time.Time
	err  error
}

func (e *lateExporter) ExportSpans(ctx context.Context, s []sdktrace.ReadOnlySpan) error {
	if time.Now().Before(e.from) {
		return e.err
	}
	return e.InMemoryExporter.ExportSpans(ctx, s)
}

// TestShutdownWaitsForNoCollector: what waits for one that is away is tried once more, and given up.
func TestShutdownWaitsForNoCollector(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, start := newLosses(), time.Now()
		hold, hurry := context.WithCancel(t.Context())
		late := &lateExporter{InMemoryExporter: tracetest.NewInMemoryExporter(), from: start.Add(time.Hour), err: &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}}
		p := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(newSpanGate(late, 1000, lifetime{life: t.Context(), hold: hold, settings: &Settings{Env: env()}}, l)))
		for range 3 {
			_, span := p.Tracer("x").Start(t.Context(), "x")
			span.End()
			time.Sleep(6 * time.Second)
		}
		stopped := time.Now()
		hurry()
		p.Shutdown(t.Context())
		if took := time.Since(stopped); took > 0 || l.counts[signalTraces][lossExportFailed].Load() != 3 {
			t.Errorf("got %v and %d lost, want no wait and all 3", took, l.counts[signalTraces][lossExportFailed].Load())
		}
	})
}
