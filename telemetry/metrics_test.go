package telemetry

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"wsproxy/lifecycle"
)

var chat = []Route{{Name: "chat", Upstream: "chat"}, {Name: "quiet", Upstream: "other"}}

// points prints every point of every metric but those of the process itself, as name{attributes} value.
func points(data metricdata.ResourceMetrics) []string {
	var out []string
	for _, scope := range data.ScopeMetrics {
		for _, m := range scope.Metrics {
			if strings.HasPrefix(m.Name, "process.") {
				continue
			}
			for set, value := range pointsOf(m) {
				var attrs []string
				for _, a := range set.ToSlice() {
					attrs = append(attrs, fmt.Sprintf("%s=%s", a.Key, a.Value.String()))
				}
				out = append(out, fmt.Sprintf("%s{%s} %s", m.Name, strings.Join(attrs, ","), value))
			}
		}
	}
	slices.Sort(out)
	return out
}

func pointsOf(m metricdata.Metrics) map[attribute.Set]string {
	p := make(map[attribute.Set]string)
	switch d := m.Data.(type) {
	case metricdata.Sum[int64]:
		for _, x := range d.DataPoints {
			p[x.Attributes] = fmt.Sprint(x.Value)
		}
	case metricdata.Sum[float64]:
		for _, x := range d.DataPoints {
			p[x.Attributes] = fmt.Sprint(x.Value)
		}
	case metricdata.Gauge[float64]:
		for _, x := range d.DataPoints {
			p[x.Attributes] = fmt.Sprint(x.Value)
		}
	case metricdata.Histogram[float64]:
		for _, x := range d.DataPoints {
			p[x.Attributes] = fmt.Sprintf("count=%d sum=%.4g", x.Count, x.Sum)
		}
	case metricdata.Histogram[int64]:
		for _, x := range d.DataPoints {
			p[x.Attributes] = fmt.Sprintf("count=%d sum=%d buckets=%v", x.Count, x.Sum, x.BucketCounts)
		}
	}
	return p
}

// nonzero leaves out the counters that nothing has touched.
func nonzero(lines []string) string {
	return strings.Join(slices.DeleteFunc(lines, func(l string) bool { return strings.HasSuffix(l, "} 0") }), "\n") + "\n"
}

func TestKnownSeriesAreThereBeforeTheFirstConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Settings{Routes: chat, System: new(lifecycle.System), ViolationKinds: []string{"", "mask_missing"},
			Certificates: func() []Certificate { return []Certificate{{"example.com", time.Unix(2e9, 0)}} },
			Limits:       func() map[string]int { return map[string]int{"": 1000, "chat": 10, "quiet": 0} }})
		got := points(h.collect())
		h.close()
		golden(t, "zero.metrics", strings.Join(got, "\n")+"\n")
	})
}

// mix plays connections with every kind of end.
func mix(h *harness) {
	for _, m := range timelines {
		m.play(h.accept("203.0.113.7:51000"))
	}
}

func TestMetricsAreTheSameWhateverIsSampled(t *testing.T) {
	after := func(s Settings) (got string) {
		synctest.Test(t, func(t *testing.T) {
			s.Routes, s.Hosts = chat, []string{"backend"}
			h := newHarness(t, s)
			for _, play := range []func(*script){throughConnect, throughSOCKS, failsToDial, throughConnectReset} {
				play(h.accept("203.0.113.7:51000"))
			}
			got = nonzero(points(h.collect()))
			h.close()
		})
		return got
	}
	want := after(Settings{})
	for name, s := range map[string]Settings{"nothing": {Ratio: new(0.0)}, "nothing, but what is kept": {Ratio: new(0.0), Keep: everything}} {
		if got := after(s); got != want {
			t.Errorf("%s is sampled: got\n%s\nwant, as if everything were,\n%s", name, got, want)
		}
	}
}

func TestMetricsAfterAMix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Settings{Routes: chat, Hosts: []string{"backend"}, ViolationKinds: []string{"", "mask_missing"}})
		mix(h)
		s := h.accept("203.0.113.7:51000") // open
		s.head()
		s.dial()
		s.upgrade()
		ctx, p := s.c.Begin(s.ctx, &lifecycle.Step{Phase: lifecycle.PhaseTransfer})
		s.message(lifecycle.Upstream, 100)
		s.message(lifecycle.Downstream, 5000)
		s.c.Flow(lifecycle.Downstream).Ping.Add(1)
		s.c.Flow(lifecycle.Downstream).StallNanos.Add(int64(250 * time.Millisecond))
		s.c.Flow(lifecycle.Upstream).Violation(1)
		waiting := h.accept("203.0.113.8:51000") // in dns
		waiting.head()
		wctx, w := waiting.c.Begin(waiting.ctx, &lifecycle.Step{Phase: lifecycle.PhaseDNS, Host: "elsewhere"})
		got := nonzero(points(h.collect()))

		waiting.failed(w.End(wctx, syscall.ECONNREFUSED), 502)
		p.End(ctx, nil)
		s.c.Closed(cleanClose)
		h.close()
		golden(t, "mix.metrics", got)
	})
}

func total(h *harness, name string, want ...attribute.KeyValue) int {
	sum := 0
	for _, scope := range h.collect().ScopeMetrics {
		for _, m := range scope.Metrics {
			if m.Name != name {
				continue
			}
			for set, value := range pointsOf(m) {
				if slices.ContainsFunc(want, func(kv attribute.KeyValue) bool { v, _ := set.Value(kv.Key); return v != kv.Value }) {
					continue
				}
				n := 0
				fmt.Sscan(value, &n)
				sum += n
			}
		}
	}
	return sum
}

func TestInvariantsAfterRandomConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Settings{Routes: chat})
		random := rand.New(rand.NewPCG(1, 2))
		for range 300 {
			timelines[random.IntN(len(timelines))].play(h.accept("203.0.113.7:51000"))
		}
		accepted, opened := total(h, "wsproxy.connection.accepted"), total(h, "wsproxy.connection.opened")
		rejected, failed := total(h, "wsproxy.connection.rejected"), total(h, "wsproxy.connection.failed")
		if accepted != opened+rejected+failed || opened == 0 || rejected == 0 || failed == 0 {
			t.Errorf("accepted %d, opened %d, rejected %d, failed %d: want accepted = opened + rejected + failed", accepted, opened, rejected, failed)
		}
		if closes := total(h, "wsproxy.connection.closes"); closes != opened {
			t.Errorf("closes: got %d, want %d", closes, opened)
		}
		for _, gauge := range []string{"wsproxy.connection.active", "wsproxy.phase.active"} {
			if n := total(h, gauge); n != 0 {
				t.Errorf("%s: got %d, want 0", gauge, n)
			}
		}
		h.close()
	})
}

func TestSumsDoNotDipWhenConnectionsClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Settings{Routes: chat})
		before := 0
		for range 50 {
			s := h.accept("203.0.113.7:51000")
			s.head()
			s.dial()
			s.upgrade()
			s.message(lifecycle.Upstream, 100)
			ctx, p := s.c.Begin(s.ctx, &lifecycle.Step{Phase: lifecycle.PhaseTransfer})
			for _, end := range []func(){func() {}, func() { p.End(ctx, nil) }, func() { s.c.Closed(cleanClose) }} {
				end()
				if now := total(h, "wsproxy.io"); now < before {
					t.Fatalf("io: got %d after %d", now, before)
				} else {
					before = now
				}
			}
		}
		if before != 50*106 {
			t.Errorf("io: got %d, want %d", before, 50*106)
		}
		h.close()
	})
}

// Collections in the middle of things never have more ends than beginnings.
func TestNoCollectionHasMoreEndsThanBeginnings(t *testing.T) {
	h := newHarness(t, Settings{Routes: chat, Ratio: new(0.0), Log: Log{Level: 12}})
	defer h.close()
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; ; n++ {
			select {
			case <-over:
				return
			default:
			}
			h.connect()
			s := h.accept("203.0.113.7:51000")
			s.head()
			fail(s, lifecycle.Step{Phase: lifecycle.PhaseConnect}, lifecycle.ReasonConnectionRefused, 502)
		}
	}()
	for range 300 {
		data := h.collect()
		sum := func(name string) (n int) {
			for _, scope := range data.ScopeMetrics {
				for _, m := range scope.Metrics {
					if sums, ok := m.Data.(metricdata.Sum[int64]); ok && m.Name == name {
						for _, p := range sums.DataPoints {
							n += int(p.Value)
						}
					}
				}
			}
			return n
		}
		accepted, opened := sum("wsproxy.connection.accepted"), sum("wsproxy.connection.opened")
		if failed := sum("wsproxy.connection.failed"); accepted < opened+failed {
			t.Fatalf("got %d accepted, %d opened and %d failed", accepted, opened, failed)
		}
		if closed := sum("wsproxy.connection.closes"); opened < closed {
			t.Fatalf("got %d opened and %d closed", opened, closed)
		}
	}
	close(over)
	<-done
}

func TestRandomHostsPathsAndAgentsDoNotGrowTheMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Settings{Routes: chat, Ratio: new(0.0), Log: Log{Level: 12}})
		play := func(n int) {
			name := fmt.Sprintf("x%d", n)
			s := h.accept(name + ":1")
			s.step(lifecycle.Step{Phase: lifecycle.PhaseRequest}, 0, nil, nil)
			s.c.Update(func(f *lifecycle.Facts) {
				f.Method, f.Host, f.Path, f.UserAgent, f.Client, f.Protocol, f.Scheme = name, name, "/"+name, name, name, name, name
				f.Route, f.Upstream, f.Target = name, name, "ws://"+name
			})
			s.ctx = s.step(lifecycle.Step{Phase: lifecycle.PhaseRoute}, 0, nil, nil)
			s.step(lifecycle.Step{Phase: lifecycle.PhaseDNS, Host: name}, 0, nil, nil)
			s.step(lifecycle.Step{Phase: lifecycle.PhaseConnect}, 0, nil, func(p *lifecycle.Step) { p.Peer = name; p.EgressType = name })
			s.step(lifecycle.Step{Phase: lifecycle.PhaseUpgrade, Host: name + ":" + fmt.Sprint(n)}, 0, nil, func(p *lifecycle.Step) { p.Status = 600 + n })
			s.c.Update(func(f *lifecycle.Facts) { f.Subprotocol = name })
			s.relay(0, lifecycle.Close{Cause: lifecycle.CauseClientClose, Initiator: lifecycle.InitiatorClient, Code: 3000 + n})
			r := httptest.NewRequest("GET", "http://"+name+"/"+name, nil)
			r.Method = name
			h.HTTP(http.NotFoundHandler(), func(*http.Request) string { return "/plain" }, nil).ServeHTTP(httptest.NewRecorder(), r)
			r.Body.Close()
		}
		count := func() map[string]int {
			n := make(map[string]int)
			for _, p := range points(h.collect()) {
				n[p[:strings.IndexByte(p, '{')]]++
			}
			return n
		}
		for n := range 1200 { // codes 3000 to 4199: every class
			play(n)
		}
		play(10_000)
		first := count()
		for n := range 10_000 {
			play(n)
		}
		if then := count(); !maps.Equal(first, then) {
			t.Errorf("points grew: got %v, want %v", then, first)
		}
		h.close()
	})
}

func TestPrometheusHasTheTranslatedNames(t *testing.T) {
	c := newFakeCollector(t)
	tel, h := start(t, Settings{Routes: chat, OTLP: OTLP{Endpoint: c.URL}, Log: Log{Level: 12}})
	defer tel.Shutdown(context.Background())
	h.connect()
	scrape := httptest.NewRequest("GET", "/metrics", nil)
	scrape.Header.Set("Accept", "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8") // Prometheus 3's
	answer := httptest.NewRecorder()
	tel.Metrics().ServeHTTP(answer, scrape)
	for _, want := range []string{
		`wsproxy_io_bytes_total{`, `wsproxy_direction="upstream"`, `wsproxy_connection_active{`, `wsproxy_messages_total{`,
		`wsproxy_stall_time_seconds_total{`, `wsproxy_connection_accepted_total{`, `wsproxy_message_size_bytes_bucket{`,
		`go_goroutine_count`, `process_cpu_time_seconds_total`, `process_unix_file_descriptor_count`, `wsproxy_telemetry_dropped_total{`,
		`wsproxy_phase_duration_seconds_bucket{`, `span_id="`, // of an exemplar
	} {
		if !strings.Contains(answer.Body.String(), want) {
			t.Errorf("got no %s", want)
		}
	}
}
