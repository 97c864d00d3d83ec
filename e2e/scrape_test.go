//go:build e2e

package e2e

import (
	"bytes"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var scraped = regexp.MustCompile(`(?m)^([a-z_]+)(?:\{[^}]*\})? `)

// checkScrape holds the names on wsproxy's own /metrics against those that Prometheus got by OTLP: they
// must be the same, or dashboards would work with one of the two only.
func (h *house) checkScrape(t *testing.T, w *wsproxy) {
	body, err := get(t.Context(), "http://"+w.admin+"/metrics")
	if err != nil {
		t.Fatal(err)
	}
	own := make(map[string]bool)
	for _, m := range scraped.FindAllSubmatch(body, -1) {
		if name := string(m[1]); name != "target_info" { // has no service_name by OTLP
			own[name] = true
		}
	}
	pushed := make(map[string]bool)
	series, err := h.stack.prometheus.series(t.Context(), w.of(""))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range series {
		if name := s["__name__"]; !aboutSpans(name) {
			pushed[name] = true
		}
	}
	for name := range own {
		if !pushed[name] {
			t.Errorf("%s is on /metrics and did not come by OTLP", name)
		}
	}
	for name := range pushed {
		if !own[name] {
			t.Errorf("%s came by OTLP and is not on /metrics", name)
		}
	}
	t.Logf("%d names on /metrics, %d by OTLP", len(own), len(pushed))
	if t.Failed() {
		t.Logf("on /metrics: %q", slices.Sorted(maps.Keys(own)))
	}
	if !bytes.Contains(body, []byte(`wsproxy_connection_closes_total{`)) {
		t.Error("no wsproxy_connection_closes_total on /metrics")
	}
}

// aboutSpans says of a metric that the collector made it from spans.
func aboutSpans(name string) bool { return strings.HasPrefix(name, "traces_span_metrics_") }
