//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// tally is what the metrics must say: PromQL selectors and the sum of their series.
type tally map[string]float64

// tallyOf adds up what was played.
func tallyOf(w *wsproxy, all []*played) tally {
	sums := make(tally)
	for _, p := range all {
		p.tally(w, sums)
	}
	sums[w.of("wsproxy_connection_unused_total")] = 1
	sums[w.of("wsproxy_connection_active")] = 0
	sums[w.of("wsproxy_phase_active")] = 0
	return sums
}

func (p *played) tally(w *wsproxy, sums tally) {
	route := p.route
	if route == "" {
		route = "_OTHER"
	}
	sums[w.of("wsproxy_connection_accepted_total", "wsproxy_route_name", route)]++
	switch {
	case p.want.cause != "":
		sums[w.of("wsproxy_connection_opened_total", "wsproxy_route_name", route)]++
		sums[w.of("wsproxy_connection_closes_total", "wsproxy_route_name", route, "wsproxy_close_cause", p.want.cause,
			"wsproxy_close_initiator", p.want.initiator, "wsproxy_close_leg", p.want.leg, "wsproxy_close_code_class", codeClass(p.want.code))]++
		sums[w.of("wsproxy_connection_duration_seconds_count", "wsproxy_route_name", route, "wsproxy_close_cause", p.want.cause)]++
		sums[w.of("http_server_request_duration_seconds_count", "http_route", "/"+route+"/{visit}", "http_response_status_code", "101")]++
	case p.rejected():
		sums[w.of("wsproxy_connection_rejected_total", "wsproxy_route_name", route, "error_type", p.want.reason)]++
	default:
		sums[w.of("wsproxy_connection_failed_total", "wsproxy_route_name", route, "wsproxy_phase_name", p.want.phase, "error_type", p.want.reason)]++
		sums[w.of("wsproxy_phase_duration_seconds_count", "wsproxy_route_name", route, "wsproxy_phase_name", p.want.phase, "error_type", p.want.reason)]++
	}
}

// rejected says whether the connection was refused before anything was dialled.
func (p *played) rejected() bool {
	return p.want.phase == "route" || p.want.phase == "request" && p.want.reason != "client_gone"
}

// codeClass is how metrics tell a close code.
func codeClass(code int) string {
	switch {
	case code <= 0:
		return "none"
	case code >= 4000:
		return "4xxx"
	case code >= 3000:
		return "3xxx"
	}
	return strconv.Itoa(code)
}

// checkMetrics waits until Prometheus has the sums.
func (h *house) checkMetrics(t *testing.T, w *wsproxy, all []*played) {
	p := h.stack.prometheus
	sums := tallyOf(w, all)
	for _, selector := range slices.Sorted(maps.Keys(sums)) {
		p.want(t, "sum("+selector+")", sums[selector])
	}
	h.checkFlows(t, w, all)
	// What is accepted is opened, rejected or failed; what was opened is closed.
	p.want(t, fmt.Sprintf("sum(%s) - sum(%s) - sum(%s) - sum(%s)", w.of("wsproxy_connection_accepted_total"),
		w.of("wsproxy_connection_opened_total"), w.of("wsproxy_connection_rejected_total"), w.of("wsproxy_connection_failed_total")), 0)
	p.want(t, fmt.Sprintf("sum(%s) - sum(%s)", w.of("wsproxy_connection_opened_total"), w.of("wsproxy_connection_closes_total")), 0)

	positive := func(v float64) bool { return v > 0 }
	increase := p.wantThat(t, fmt.Sprintf("sum(increase(%s[5m]))", w.of("wsproxy_connection_opened_total", "wsproxy_route_name", "tls")), "> 0", positive)
	failures := p.wantThat(t, fmt.Sprintf("sum(increase(%s[5m]))",
		w.of("wsproxy_connection_failed_total", "wsproxy_route_name", "refused", "error_type", "connection_refused")), "> 0", positive)
	waited := p.wantThat(t, fmt.Sprintf("max(%s)",
		w.of("wsproxy_phase_duration_seconds_sum", "wsproxy_phase_name", "proxy", "wsproxy_route_name", "slow")),
		">= 0.5", func(v float64) bool { return v >= egressDelay.Seconds() })
	t.Logf("the first opening on a route: increase %.3f; the first failure: %.3f; the slow egress: %.4f s", increase, failures, waited)
	p.want(t, fmt.Sprintf("sum(%s)", w.of("wsproxy_phase_duration_seconds_bucket", "wsproxy_phase_name", "proxy", "wsproxy_route_name", "slow", "le", "0.25")), 0)
}

// lateBirths are series that are not made before their first event. Close codes that endpoints choose are too
// many to be made beforehand.
var lateBirths = map[string]bool{
	"client_close 4xxx": true, "upstream_close 4xxx": true,
}

// birth tells a series by what it is about.
func birth(labels map[string]string) string {
	if cause := labels["wsproxy_close_cause"]; cause != "" {
		return cause + " " + labels["wsproxy_close_code_class"]
	}
	return labels["wsproxy_upstream_name"] + " " + labels["error_type"]
}

// checkBorn wants every counter to have begun at zero: an increase over a first event that a series is born
// with is not seen.
func (h *house) checkBorn(t *testing.T, w *wsproxy) {
	for counter := range readSchema(t).metrics(t) {
		if !strings.HasPrefix(counter, "wsproxy_") || !strings.HasSuffix(counter, "_total") {
			continue
		}
		born, err := h.stack.prometheus.query(t.Context(), "min_over_time("+w.of(counter)+"[10m]) > 0")
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range born {
			if kind := birth(s.labels); !lateBirths[kind] {
				t.Errorf("%s was born at %v: %s", counter, s.value, kind)
			}
		}
	}
}

// checkFlows holds messages and bytes of each route against what its clients counted. Routes with a
// connection on which that can't be told are left out.
func (h *house) checkFlows(t *testing.T, w *wsproxy, all []*played) {
	t.Helper()
	type flow struct{ sent, received, up, down float64 }
	flows := make(map[string]*flow)
	inexact := make(map[string]bool)
	for _, p := range all {
		if p.want.cause != "" && !p.exact() {
			inexact[p.route] = true
		}
		if flows[p.route] == nil {
			flows[p.route] = &flow{}
		}
		f := flows[p.route]
		f.sent, f.received, f.up, f.down = f.sent+float64(p.sent), f.received+float64(p.received), f.up+float64(p.up), f.down+float64(p.down)
	}
	for route, f := range flows {
		if inexact[route] || f.sent == 0 {
			continue
		}
		for direction, want := range map[string][2]float64{"upstream": {f.sent, f.up}, "downstream": {f.received, f.down}} {
			labels := []string{"wsproxy_route_name", route, "wsproxy_direction", direction}
			h.stack.prometheus.want(t, "sum("+w.of("wsproxy_messages_total", labels...)+")", want[0])
			h.stack.prometheus.want(t, "sum("+w.of("wsproxy_message_size_bytes_count", labels...)+")", want[0])
			h.stack.prometheus.want(t, "sum("+w.of("wsproxy_io_bytes_total", labels...)+")", want[1])
		}
	}
}

// checkExemplars follows exemplars of two histograms to traces that Jaeger has.
func (h *house) checkExemplars(t *testing.T, w *wsproxy, all []*played) {
	played := make(map[string]bool)
	for _, p := range all {
		played[p.trace] = true
	}
	for _, selector := range []string{
		w.of("wsproxy_phase_duration_seconds_bucket", "wsproxy_phase_name", "proxy"),
		w.of("http_server_request_duration_seconds_bucket", "http_response_status_code", "101"),
	} {
		var ids map[string]float64
		eventually(t, "exemplars of "+selector, func(ctx context.Context) (err error) {
			ids, err = h.stack.prometheus.exemplars(ctx, selector, w.started.Add(-time.Second))
			if err == nil && len(ids) == 0 {
				err = errNotYet
			}
			return err
		})
		for id := range ids {
			if !played[id] {
				t.Errorf("%s: an exemplar points to %s, which none of our connections has", selector, id)
			}
			h.stack.jaeger.await(t, id, func(*trace) error { return nil })
		}
		t.Logf("%s: %d exemplars, each leads to a trace in Jaeger", selector, len(ids))
	}
}
