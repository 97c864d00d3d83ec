//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// exemplars follows the points of every panel that has some.
func (d *day) exemplars(t *testing.T) {
	selector := regexp.MustCompile(`\w+_bucket\{[^}]*\}`)
	ids := make(map[string]bool)
	for _, board := range readDashboards(t) {
		for _, p := range board.Panels {
			for _, target := range p.Targets {
				if !target.Exemplar {
					continue
				}
				found, err := d.stack.prometheus.exemplars(t.Context(), selector.FindString(filled(target.Expr, ".*", ".*")), d.dawn)
				if err != nil || len(found) == 0 {
					t.Errorf("%s: got no exemplars, %v", p.Title, err)
				}
				for id := range found {
					ids[id] = true
				}
			}
		}
	}
	for id := range ids {
		d.stack.jaeger.await(t, id, func(*trace) error { return nil })
	}
	t.Logf("%d traces", len(ids))
}

// traces wants the trace of every connection that a log tells of: nothing was lost.
func (d *day) traces(t *testing.T) {
	if lost, err := d.lost(t.Context()); err != nil || len(lost) > 0 {
		t.Errorf("lost %q, %v, want nothing: the collector was away for a moment", lost, err)
	}
	logged := 0
	for w := range d.read {
		for text := range bytes.Lines(w.log(t)) {
			var l line
			if json.Unmarshal(text, &l) != nil || !strings.HasPrefix(l.Message, "connection ") {
				continue
			}
			logged++
			end := spansNamed()
			if l.Cause != "" {
				end = spansNamed(spanUpgrade, spanTransfer, spanClose)
			}
			d.stack.jaeger.await(t, l.TraceID, end)
		}
	}
	all := d.expected(".*")["Handshakes by outcome"]
	if want := all["opened"] + all["failed"] + all["refused"]; float64(logged) != want {
		t.Errorf("got %d connections in the logs, want the ledger's %v", logged, want)
	}
	t.Logf("%d traces", logged)
}

// monitor asks for what Jaeger's Monitor tab shows. Connections that were open all day are no slow handshakes.
func (d *day) monitor(t *testing.T) {
	ask := func(what, kind string) map[string]float64 {
		t.Helper()
		age := time.Since(d.dawn).Milliseconds() + 60_000
		parameters := url.Values{
			"service": {d.a.service}, "spanKind": {kind}, "groupByOperation": {"true"}, "quantile": {"0.95"},
			"endTs": {strconv.FormatInt(time.Now().UnixMilli(), 10)}, "lookback": {strconv.FormatInt(age, 10)}, "step": {"5000"}, "ratePer": {"600000"},
		}
		body, err := get(t.Context(), "http://"+d.stack.jaeger.query+"/api/metrics/"+what+"?"+parameters.Encode())
		if err != nil {
			t.Fatal(err)
		}
		latest, err := latestPoints(body)
		if err != nil {
			t.Fatal(err)
		}
		return latest
	}
	for _, kind := range []string{"server", "client", "internal"} {
		for operation := range ask("calls", kind) {
			if strings.HasSuffix(operation, " transfer") || strings.HasSuffix(operation, " close") {
				t.Errorf("%s: got %s, whose time is that of a socket", kind, operation)
			}
		}
	}
	const good, bad = "GET /chat/{visit}", "GET /refused/{visit}"
	calls, errs, slow := ask("calls", "server"), ask("errors", "server"), ask("latencies", "server")
	if calls[good] <= 0 || errs[good] > 0 || slow[good] <= 0 || slow[good] > 5000 {
		t.Errorf("%s: got %v calls a second, %v failed, p95 %v ms; want some, none, and the time of a handshake", good, calls[good], errs[good], slow[good])
	}
	if calls[bad] <= 0 || errs[bad] <= 0 {
		t.Errorf("%s: got %v calls a second, %v failed, want some and all", bad, calls[bad], errs[bad])
	}
	if p95 := slow["GET /egress/{visit}"]; p95 < 250 {
		t.Errorf("the slow egress: got p95 %v ms, want half a second", p95)
	}
	t.Logf("p95: %v", slow)
}

// latestPoints are the last numbers of an answer of Jaeger's metrics API, by operation.
func latestPoints(body []byte) (map[string]float64, error) {
	var answer struct {
		Metrics []struct {
			Labels       []struct{ Name, Value string }
			MetricPoints []struct{ GaugeValue struct{ DoubleValue any } } // a number, or "NaN"
		}
	}
	err := json.Unmarshal(body, &answer)
	latest := make(map[string]float64)
	for _, m := range answer.Metrics {
		for _, l := range m.Labels {
			for _, p := range m.MetricPoints {
				if v, ok := p.GaugeValue.DoubleValue.(float64); ok && l.Name == "operation" {
					latest[l.Value] = v
				}
			}
		}
	}
	return latest, err
}

// alerts wants those that the script has earned to have fired, each for what it was, and no other.
func (d *day) alerts(t *testing.T) {
	d.stack.prometheus.wantFired(t,
		"WsproxyNoData",
		"WsproxyHandshakesFailing wsproxy_route_name=refused", "WsproxyHandshakesFailingFast wsproxy_route_name=refused",
		"WsproxyUpstreamDown service_instance_id=a wsproxy_upstream_name=down", "WsproxyTargetDown wsproxy_target_name=TARGET wsproxy_upstream_name=down",
		"WsproxyConnectionLimitNear service_instance_id=a wsproxy_route_name=limited",
		"WsproxyClosesAbnormal wsproxy_route_name=resets",
		"WsproxyReconnectStorm wsproxy_route_name=storm",
		"WsproxyReloadFailed error_type=invalid service_instance_id=a",
		"WsproxyCertificateExpiring wsproxy_tls_certificate_name=a.day.test",
		"WsproxyDrainStuck service_instance_id=a",
	)
}
