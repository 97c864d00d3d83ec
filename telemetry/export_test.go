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
	"testing"
	"time"

	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

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

// What is written by us goes out by OTLP's own exporters alone, and only as far as the environment leaves us a say.
func TestWhoWrites(t *testing.T) {
	c := newFakeCollector(t)
	block := OTLP{Endpoint: c.URL}
	for _, test := range []struct {
		name           string
		env            []string
		block          OTLP
		spans, records bool
	}{
		{"HTTP", nil, block, true, true},
		{"gRPC", nil, OTLP{Endpoint: c.URL, Protocol: protocolGRPC}, true, true},
		{"compression", []string{"OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"}, block, true, false},
		{"timeout of logs", []string{"OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "9000"}, block, true, false},
		{"compression with gRPC", []string{"OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"}, OTLP{Endpoint: c.URL, Protocol: protocolGRPC}, true, true},
		{"limit of records", []string{"OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", "5"}, block, true, false},
		{"limit of values", []string{"OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT", "5"}, block, true, false},
		{"endpoint, gRPC", []string{"OTEL_EXPORTER_OTLP_ENDPOINT", c.URL, "OTEL_EXPORTER_OTLP_PROTOCOL", protocolGRPC}, OTLP{}, true, true},
		{"endpoint, HTTP", []string{"OTEL_EXPORTER_OTLP_ENDPOINT", c.URL}, OTLP{}, true, false},
		{"console", []string{"OTEL_TRACES_EXPORTER", "console", "OTEL_LOGS_EXPORTER", "console"}, block, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			for i := 0; i < len(test.env); i += 2 {
				t.Setenv(test.env[i], test.env[i+1])
			}
			tel, _ := start(t, Settings{Env: env(test.env...), OTLP: test.block, Flush: time.Second})
			defer tel.Shutdown(t.Context())
			if p := tel.providers; p.recording.written != test.spans || p.blanks.written != test.records {
				t.Errorf("got spans %t and records %t written, want %t and %t", p.recording.written, p.blanks.written, test.spans, test.records)
			}
		})
	}
}

func TestLogsAreCompressedWhereTheEnvironmentSaysSo(t *testing.T) {
	c := newFakeCollector(t)
	t.Setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
	tel, h := start(t, Settings{Env: os.Getenv, OTLP: OTLP{Endpoint: c.URL}})
	h.connect()
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(c.got("/v1/logs"), "wsproxy.connection.closed") || c.Header().Get("Content-Encoding") != "gzip" {
		t.Errorf("got %d bytes of logs, encoded %q, want the events by gzip", len(c.got("/v1/logs")), c.Header().Get("Content-Encoding"))
	}
}
