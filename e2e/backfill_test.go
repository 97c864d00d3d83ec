//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// The past that is made up: a sample a minute, for long enough that a phase has a day to be compared with.
const (
	pastLength = 27 * time.Hour
	pastStep   = time.Minute
)

// longWindows has the real Prometheus judge the alerts that look back for hours, over a past that is filled in: the series by promtool
// from OpenMetrics, what is recorded of them by promtool from the rules.
func (h *house) longWindows(t *testing.T) {
	if h.missing(t, "prometheus", "promtool") {
		return
	}
	folder, data := fastRules(t), t.TempDir()
	now := time.Now().Truncate(pastStep)
	past := filepath.Join(t.TempDir(), "past.om")
	if err := os.WriteFile(past, madeUp(now), 0o644); err != nil {
		t.Fatal(err)
	}
	h.promtool(t, "tsdb", "create-blocks-from", "openmetrics", "--quiet", past, data)
	first := startPrometheus(t, h, folder, data)
	eventually(t, "Prometheus is ready", answers(first.url+"/-/ready"))
	h.promtool(t, "tsdb", "create-blocks-from", "rules", "--url="+first.url, "--output-dir="+data, "--eval-interval=1m",
		"--start="+fmt.Sprint(now.Add(-pastLength).Unix()), "--end="+fmt.Sprint(now.Add(-time.Hour).Unix()), filepath.Join(folder, "rules", "wsproxy.yaml"))
	first.stop(t)

	p := startPrometheus(t, h, folder, data)
	eventually(t, "Prometheus is ready", answers(p.url+"/-/ready"))
	p.wantFired(t,
		"WsproxyHandshakesFailing wsproxy_route_name=steady", // one in a hundred, for hours
		"WsproxyHandshakesFailing wsproxy_route_name=sudden", // one in ten, for two hours
		"WsproxyHandshakesFailingFast wsproxy_route_name=sudden",
		"WsproxyPhaseSlow wsproxy_phase_name=proxy", // ten times as slow as the day before
	)
	p.stop(t)
	for _, p := range []*prometheus{first, p} {
		for _, l := range complaints(p.log(t)) {
			if bytes.Contains(l, []byte("Overlapping blocks")) { // it is told of each block that is filled in
				continue
			}
			t.Errorf("Prometheus complains: %s", l)
		}
	}
}

func (h *house) promtool(t *testing.T, arguments ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*patience)
	defer cancel()
	if out, err := exec.CommandContext(ctx, h.programs["promtool"], arguments...).CombinedOutput(); err != nil {
		t.Fatalf("promtool %q: %v\n%s", arguments, err, out)
	}
}

// madeUp is the past of a process in OpenMetrics. Besides what fires there is, of each kind, something that does not.
func madeUp(now time.Time) []byte {
	var text bytes.Buffer
	begun := now.Add(-pastLength)
	series := func(name string, at func(age time.Duration) float64) { // age: before now
		for when := begun; !when.After(now); when = when.Add(pastStep) {
			fmt.Fprintf(&text, "%s %v %d\n", name, at(now.Sub(when)), when.Unix())
		}
	}
	// minutes is how many a counter has counted at an age, if it began to at another.
	minutes := func(from, age time.Duration) float64 { return max(0, (from - age).Minutes()) }

	series(`wsproxy_system_status{job="wsproxy",wsproxy_system_state="operational"}`, func(time.Duration) float64 { return 1 })
	for route, failing := range map[string]struct {
		from   time.Duration
		failed float64 // of a thousand
	}{
		"steady": {8 * time.Hour, 10}, "sudden": {2 * time.Hour, 100},
		"good": {pastLength, 1}, "recovered": {0, 0},
	} {
		failures := func(age time.Duration) float64 { return failing.failed * minutes(failing.from, age) }
		if route == "recovered" { // an hour ago, after an hour in which everything failed
			failures = func(age time.Duration) float64 { return 1000 * min(60, minutes(2*time.Hour, age)) }
		}
		labels := fmt.Sprintf(`{job="wsproxy",wsproxy_route_name=%q`, route)
		series("wsproxy_connection_opened_total"+labels+"}", func(age time.Duration) float64 { return 1000 * minutes(pastLength, age) })
		series("wsproxy_connection_failed_total"+labels+`,error_type="upgrade_rejected"}`, failures)
	}
	for phase, slow := range map[string]time.Duration{"proxy": 40 * time.Minute, "dns": 0} { // for so long above half a second
		all := func(age time.Duration) float64 { return 60 * minutes(pastLength, age) }
		fast := func(age time.Duration) float64 { return all(age) - 60*minutes(slow, age) }
		labels := fmt.Sprintf(`{job="wsproxy",wsproxy_phase_name=%q`, phase)
		for le, counted := range map[string]func(time.Duration) float64{"0.1": fast, "0.5": fast, "1": all, "+Inf": all} {
			series("wsproxy_phase_duration_seconds_bucket"+labels+fmt.Sprintf(",le=%q}", le), counted)
		}
		series("wsproxy_phase_duration_seconds_count"+labels+"}", all)
	}
	text.WriteString("# EOF\n")
	return text.Bytes()
}

// fastRules is a folder with the stack's Prometheus configuration and rules that are judged each second.
func fastRules(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	text, err := os.ReadFile(configuration("prometheus.yaml"))
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, "prometheus.yaml"), text, 0o644)
	}
	if err == nil {
		err = os.Mkdir(filepath.Join(folder, "rules"), 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	generate := exec.CommandContext(t.Context(), "go", "run", "./alerting", "-hold", "1s", "-interval", "1s", filepath.Join(folder, "rules"))
	generate.Dir = configuration("")
	if out, err := generate.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return folder
}
