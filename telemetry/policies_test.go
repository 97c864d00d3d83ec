package telemetry

import (
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"wsproxy/lifecycle"
)

func TestPoliciesAreChecked(t *testing.T) {
	for _, test := range []struct {
		name     string
		policies []Policy
		want     string // part of the error; empty: none
	}{
		{"none", nil, ""},
		{"all there is", []Policy{
			{Match: "wsproxy.worker.*", Drop: true}, {Match: "wsproxy.phase.duration", Attributes: []string{"wsproxy.phase.name", "error.type"}, Exponential: true},
			{Match: "wsproxy.io", Interval: 5 * time.Second}, {Match: "dns.*", Buckets: []float64{0.1, 1}}, {Match: "go.memory.*", Drop: true}}, ""},
		{"no pattern", []Policy{{Match: "a["}}, `policies[0].match: "a[" is not a pattern`},
		{"no metric", []Policy{{Match: "wsproxy.nothing"}}, "policies[0].match: no metric"},
		{"no attribute", []Policy{{Match: "wsproxy.io"}, {Match: "wsproxy.io", Attributes: []string{"wsproxy.direction", "direction"}}}, "policies[1].attributes[1]: no metric"},
		{"buckets of a counter", []Policy{{Match: "wsproxy.io", Buckets: []float64{1}}}, "policies[0]: buckets are for histograms"},
		{"both kinds of buckets", []Policy{{Match: "*", Buckets: []float64{1}, Exponential: true}}, "exclude each other"},
		{"buckets in disorder", []Policy{{Match: "*", Buckets: []float64{2, 1}}}, "policies[0].buckets"},
		{"buckets twice", []Policy{{Match: "*", Buckets: []float64{1, 1}}}, "policies[0].buckets"},
		{"too many intervals", []Policy{{Match: "*", Interval: 1}, {Match: "*", Interval: 2}, {Match: "*", Interval: 3}, {Match: "*", Interval: 4}}, "5 different intervals"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := CheckPolicies(test.policies, time.Second)
			if got := fmt.Sprint(err); test.want == "" && err != nil || !strings.Contains(got, test.want) {
				t.Errorf("got %v, want %q", got, test.want)
			}
		})
	}
}

// one is the metric called name; a zero one, if it was not collected.
func (h *harness) one(name string) metricdata.Metrics {
	data := h.collect()
	for _, s := range data.ScopeMetrics {
		for _, m := range s.Metrics {
			if m.Name == name {
				return m
			}
		}
	}
	return metricdata.Metrics{}
}

// talk plays a connection with a message each way.
func (h *harness) talk() {
	s := h.open()
	s.message(lifecycle.Upstream, 100)
	s.message(lifecycle.Downstream, 5000)
	s.leave()
}

func (h *harness) setPolicies(p ...Policy) {
	h.t.Helper()
	if err := h.SetPolicies(h.t.Context(), p); err != nil {
		h.t.Fatal(err)
	}
}

var strict = []Policy{
	{Match: "wsproxy.connection.closes", Attributes: []string{"wsproxy.close.cause"}},
	{Match: "wsproxy.connection.*", Drop: true}, // but not closes: the first that matches holds
	{Match: "wsproxy.phase.duration", Attributes: []string{"wsproxy.phase.name"}, Buckets: []float64{1, 2}},
	{Match: "http.*", Exponential: true},
	{Match: "wsproxy.io", Attributes: []string{"wsproxy.direction"}},
	{Match: "wsproxy.message.size", Attributes: []string{}, Buckets: []float64{50, 1024}},
}

// checkStrict holds what was collected under strict.
func checkStrict(t *testing.T, h *harness, talks int) {
	t.Helper()
	if got := h.one("wsproxy.connection.duration"); got.Name != "" {
		t.Errorf("a dropped metric was collected: %v", got)
	}
	if got := h.one("wsproxy.connection.opened"); got.Name != "" {
		t.Errorf("a dropped sum was collected: %v", got)
	}
	closes := pointsOf(h.one("wsproxy.connection.closes"))
	for set, n := range closes {
		cause, _ := set.Value(keyCloseCause)
		if want := map[bool]string{true: fmt.Sprint(talks), false: "0"}[cause.AsString() == "client_close"]; set.Len() != 1 || n != want {
			t.Errorf("closes%v: got %s, want %s under the cause alone", set.ToSlice(), n, want)
		}
	}
	io := pointsOf(h.one("wsproxy.io"))
	if len(io) != 2 {
		t.Errorf("io: got %v, want the two directions", io)
	}
	for set, n := range io {
		if d, _ := set.Value(keyDirection); n != fmt.Sprint(talks*map[string]int{"upstream": 106, "downstream": 5006}[d.AsString()]) {
			t.Errorf("io %v: got %s", d, n)
		}
	}
	sizes := h.one(metricMessageSize).Data.(metricdata.Histogram[int64]).DataPoints
	if len(sizes) != 1 || fmt.Sprint(sizes[0].Bounds, sizes[0].BucketCounts) != fmt.Sprint([]float64{64, 1024}, []int{0, talks, talks}) {
		t.Errorf("sizes: got %+v, want one point with two buckets, 50 being raised to 64", sizes)
	}
}

// checkHistograms holds the histograms that started when strict came.
func checkHistograms(t *testing.T, h *harness, talks uint64) {
	t.Helper()
	phases := h.one("wsproxy.phase.duration").Data.(metricdata.Histogram[float64]).DataPoints
	for _, p := range phases {
		if p.Count != talks || len(p.Bounds) != 2 || p.Attributes.Len() != 1 {
			t.Errorf("phases: got %+v, want %d in two buckets, by name alone", p, talks)
		}
	}
	for _, p := range h.one("http.server.request.duration").Data.(metricdata.ExponentialHistogram[float64]).DataPoints {
		if p.Count != talks {
			t.Errorf("requests: got %+v, want %d in exponential buckets", p, talks)
		}
	}
}

func TestPoliciesGivenAtStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Settings{Routes: chat, Policies: strict})
		h.talk()
		h.talk()
		checkStrict(t, h, 2)
		checkHistograms(t, h, 2)
		h.close()
	})
}

// TestPoliciesGivenByAReload has sums go on, histograms start anew, and all of it again when the policies
// are taken back.
func TestPoliciesGivenByAReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Settings{Routes: chat})
		h.talk()
		reader := h.reader
		h.setPolicies()
		if h.reader != reader {
			t.Error("policies that did not change made a new provider")
		}
		time.Sleep(time.Second)
		changed := time.Now()
		h.setPolicies(strict...)
		open := h.open() // and one that lives through the change back
		open.message(lifecycle.Upstream, 100)
		open.message(lifecycle.Downstream, 5000)
		open.leave()
		checkStrict(t, h, 2)
		checkHistograms(t, h, 1)
		for _, p := range h.one("wsproxy.phase.duration").Data.(metricdata.Histogram[float64]).DataPoints {
			if p.StartTime.Before(changed) {
				t.Errorf("phases: the histogram started at %v, want not before %v", p.StartTime, changed)
			}
		}
		h.setPolicies()
		if got := h.one("wsproxy.connection.duration"); got.Name != "" {
			t.Errorf("a histogram that started anew has points: %v", got)
		}
		h.talk()
		opened := pointsOf(h.one("wsproxy.connection.opened"))
		for set, n := range opened {
			if name, _ := set.Value(keyRouteName); name.AsString() == "chat" && n != "3" {
				t.Errorf("opened, dropped for a while: got %s, want 3", n)
			}
		}
		h.close()
	})
}

// leave ends an open connection.
func (s *script) leave() {
	s.transfer.End(s.ctx, nil)
	s.step(lifecycle.Step{Phase: lifecycle.PhaseClose}, 0, nil, nil)
	s.c.Closed(cleanClose)
}

// TestPoliciesAndDeltas: what was exported as a delta before a change is not exported again after it.
func TestPoliciesAndDeltas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Settings{Routes: chat[:1]})
		h.delta = true
		h.setPolicies(Policy{Match: "go.*", Drop: true})
		h.talk()
		sum := func() (n int64) {
			for _, p := range h.one("wsproxy.io").Data.(metricdata.Sum[int64]).DataPoints {
				n += p.Value
			}
			return n
		}
		if got := sum(); got != 5112 {
			t.Errorf("got %d bytes, want 5112", got)
		}
		h.setPolicies()
		h.talk()
		if got := sum(); got != 5112 {
			t.Errorf("after the change: got %d bytes, want the 5112 since it", got)
		}
		h.close()
	})
}

func TestMessageSizesInExponentialBuckets(t *testing.T) {
	for i, b := range lifecycle.MessageSizeBounds() {
		if want := uint64(1) << (2 * (i + sizeOffset)); i > 0 && b != want {
			t.Errorf("bound %d: got %d, want %d, a power of four", i, b, want)
		}
	}
	h := newHarness(t, Settings{Routes: chat[:1], Policies: []Policy{{Match: metricMessageSize, Exponential: true}}})
	h.talk()
	s := h.open()
	s.message(lifecycle.Upstream, 0)
	for _, p := range h.one(metricMessageSize).Data.(metricdata.ExponentialHistogram[int64]).DataPoints {
		direction, _ := p.Attributes.Value(keyDirection)
		bucket, zeros, count := 2, uint64(0), uint64(1) // (1024, 4096], (4096, 16384]
		want := map[string]int{"upstream": 3, "downstream": 6}[direction.AsString()]
		if direction.AsString() == "upstream" {
			zeros, count = 1, 2
		}
		bucket = int(p.PositiveBucket.Offset) + slices.Index(p.PositiveBucket.Counts, 1)
		if bucket != want || p.ZeroCount != zeros || p.Count != count || p.Scale != -1 {
			t.Errorf("%s: got bucket %d, %d zeros of %d at scale %d, want bucket %d, %d of %d", direction.AsString(), bucket, p.ZeroCount, p.Count, p.Scale, want, zeros, count)
		}
	}
	h.close()
}

// TestIntervals exports what a policy says every 100 ms, and the rest at the end.
func TestIntervals(t *testing.T) {
	c := newFakeCollector(t)
	tel, h := start(t, Settings{Routes: chat, OTLP: OTLP{Endpoint: c.URL}, Interval: time.Hour, Log: Log{Level: 12},
		Policies: []Policy{{Match: "wsproxy.io", Interval: 50 * time.Millisecond}}})
	h.connect()
	c.await(t, "/v1/metrics", "wsproxy.io")
	early := c.got("/v1/metrics")
	if err := tel.SetPolicies(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"wsproxy.messages", metricMessageSize, "go.goroutine.count"} {
		if strings.Contains(early, name) || !strings.Contains(c.got("/v1/metrics"), name) {
			t.Errorf("%s: want it at the end, and only then", name)
		}
	}
}

// TestNativeHistograms scrapes as a Prometheus that takes native histograms.
func TestNativeHistograms(t *testing.T) {
	tel, h := start(t, Settings{Routes: chat, Log: Log{Level: 12}, Policies: []Policy{{Match: "*", Exponential: true}}})
	defer tel.Shutdown(t.Context())
	h.talk()
	scrape := httptest.NewRequest("GET", "/metrics", nil)
	scrape.Header.Set("Accept", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text")
	answer := httptest.NewRecorder()
	tel.Metrics().ServeHTTP(answer, scrape)
	body := strings.Join(strings.Fields(answer.Body.String()), " ")
	for _, name := range []string{"wsproxy_phase_duration_seconds", "wsproxy_message_size_bytes", "http_server_request_duration_seconds"} {
		_, family, ok := strings.Cut(body, `name: "`+name+`" help:`)
		family, _, _ = strings.Cut(family, " help:")
		if !ok || !strings.Contains(family, "schema:") || !strings.Contains(family, "positive_span") {
			t.Errorf("%s: got no native histogram", name)
		}
	}
}
