//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"testing"
	"time"
)

// stack is a collector with Jaeger and Prometheus behind it, configured as in otel-collector/.
type stack struct {
	house      *house
	collector  *collector
	jaeger     *jaeger
	prometheus *prometheus
	processes  []*process
	read       map[*process]int // how much of a log was judged
}

// collector is one of perhaps several.
type collector struct {
	*process
	env, args        []string
	grpc, http, down string // addresses; down is that of the health check
}

// web talks to the servers' APIs.
var web = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// startStack's Prometheus makes no zeros of its own: that every counter begins with one is wsproxy's doing.
func startStack(t *testing.T, h *house) *stack { return startStackWith(t, h, configuration("")) }

// startStackWith is one whose Prometheus has its configuration and rules elsewhere, and further features.
func startStackWith(t *testing.T, h *house, folder string, features ...string) *stack {
	t.Helper()
	s := &stack{house: h, read: make(map[*process]int)}
	s.prometheus = startPrometheus(t, h, folder, t.TempDir(), features...)
	s.jaeger = startJaeger(t, h, s.prometheus)
	eventually(t, "Prometheus is ready", answers(s.prometheus.url+"/-/ready"))
	eventually(t, "Jaeger is ready", answers("http://"+s.jaeger.health+"/status"))
	s.collector = s.newCollector(t)
	s.processes = []*process{s.prometheus.process, s.jaeger.process, s.collector.process}
	for _, p := range s.processes {
		p.shown = 0 // once they run, only their complaints are of interest
	}
	return s
}

// newCollector starts a collector in front of the stack's Jaeger and Prometheus. args come behind those that
// it always has.
func (s *stack) newCollector(t *testing.T, args ...string) *collector {
	t.Helper()
	c := &collector{grpc: s.house.ports.address(t), http: s.house.ports.address(t), down: s.house.ports.address(t)}
	c.args = append([]string{"--config", configuration("config.yaml")}, args...)
	c.env = []string{
		"COLLECTOR_OTLP_GRPC_ENDPOINT=" + c.grpc, "COLLECTOR_OTLP_HTTP_ENDPOINT=" + c.http,
		"COLLECTOR_HEALTH_ENDPOINT=" + c.down, "COLLECTOR_SPAN_METRICS_INTERVAL=1s",
		"JAEGER_OTLP_GRPC_ENDPOINT=" + s.jaeger.grpc, "PROMETHEUS_URL=" + s.prometheus.url,
	}
	c.start(t, s.house)
	return c
}

// start runs the collector, again if it was stopped.
func (c *collector) start(t *testing.T, h *house) {
	t.Helper()
	p := start(t, "collector", c.env, h.programs["collector"], c.args...)
	c.process = p
	eventually(t, "the collector is ready", answers("http://"+c.down+"/"))
	t.Cleanup(func() {
		for _, line := range complaints(p.log(t)) {
			t.Errorf("the collector complains: %s", line)
		}
	})
}

func configuration(file string) string { return filepath.Join("..", "otel-collector", file) }

// answers asks for a URL until it is there.
func answers(url string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := get(ctx, url)
		return err
	}
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 64 << 20

// get returns the body of a 200.
func get(ctx context.Context, url string) ([]byte, error) { return getWith(ctx, web, url) }

func getWith(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s: %.200s", url, resp.Status, body)
	}
	return body, nil
}

// stop ends the servers, the collector first, and judges the rest of their logs.
func (s *stack) stop(t *testing.T) {
	t.Helper()
	s.collector.stop(t)
	s.jaeger.stop(t)
	s.prometheus.stop(t)
	s.judge(t)
}
