package telemetry

import (
	"errors"
	"strings"
	"testing"

	"wsproxy/lifecycle"
)

// chatUpstream has a target in each of two states.
func chatUpstream() []lifecycle.UpstreamStatus {
	return []lifecycle.UpstreamStatus{{Name: "chat", Targets: []lifecycle.TargetStatus{
		{Name: "ws://a", State: lifecycle.TargetHealthy}, {Name: "ws://b", State: lifecycle.TargetEjected},
	}}}
}

// targetsTold are the changes that have an event.
func targetsTold(h *harness) {
	refused := &lifecycle.Failure{Reason: lifecycle.ReasonConnectionRefused, Err: errors.New("nobody there")}
	h.TargetChanged(lifecycle.TargetChange{Upstream: "chat", Target: "ws://b", Address: "10.0.0.6:80",
		From: lifecycle.TargetHealthy, To: lifecycle.TargetEjected, Failure: refused})
	h.TargetChanged(lifecycle.TargetChange{Upstream: "chat", Target: "ws://b", Address: "10.0.0.6:80",
		From: lifecycle.TargetEjected, To: lifecycle.TargetSlowStart})
	h.TargetChanged(lifecycle.TargetChange{Upstream: "chat", Target: "ws://b", Address: "10.0.0.6:80",
		From: lifecycle.TargetSlowStart, To: lifecycle.TargetHealthy})
	h.LookedUp(lifecycle.Lookup{Upstream: "chat", Target: "ws://b", Addresses: 2, Failure: lifecycle.Fail(lifecycle.ReasonDNSTimeout, nil)})
	h.LookedUp(lifecycle.Lookup{Upstream: "chat", Target: "ws://b", Addresses: 3})
}

func TestTargetLines(t *testing.T) {
	h := newHarness(t, Settings{Log: Log{Format: "text"}})
	targetsTold(h)
	h.close()
	var got []string
	for line := range strings.Lines(h.console.String()) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), "level=")
		got = append(got, rest)
	}
	want := []string{
		`WARN msg="target ejected" component=upstream upstream=chat target=ws://b address=10.0.0.6:80 state=ejected from=healthy reason=connection_refused error="nobody there"`,
		`NOTICE msg="target slow_start" component=upstream upstream=chat target=ws://b address=10.0.0.6:80 state=slow_start from=ejected`,
		`INFO msg="target healthy" component=upstream upstream=chat target=ws://b address=10.0.0.6:80 state=healthy from=slow_start`,
		`WARN msg="target can't be looked up" component=upstream upstream=chat target=ws://b addresses=2 reason=dns_timeout`,
		`INFO msg="target looked up" component=upstream upstream=chat target=ws://b addresses=3`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	var levels []string
	for _, r := range h.records.records {
		levels = append(levels, r.EventName()+" "+r.SeverityText())
	}
	wantEvents := "wsproxy.upstream.state_changed WARN, wsproxy.upstream.state_changed NOTICE, wsproxy.upstream.state_changed INFO, " +
		"wsproxy.upstream.looked_up WARN, wsproxy.upstream.looked_up INFO"
	if got := strings.Join(levels, ", "); got != wantEvents {
		t.Errorf("events: got %s, want %s", got, wantEvents)
	}
}

func TestUpstreamStatus(t *testing.T) {
	h := newHarness(t, Settings{Upstreams: chatUpstream})
	defer h.close()
	ones, all := map[string]string{}, 0
	for _, scope := range h.collect().ScopeMetrics {
		for _, m := range scope.Metrics {
			if m.Name != "wsproxy.upstream.status" {
				continue
			}
			for set, value := range pointsOf(m) {
				all++
				target, _ := set.Value(keyTargetName)
				state, _ := set.Value(keyUpstreamState)
				if value == "1" {
					ones[target.AsString()] += state.AsString()
				}
			}
		}
	}
	if want := 2 * len(lifecycle.TargetStates()); all != want {
		t.Errorf("got %d series, want %d: zeros for the states that a target is not in", all, want)
	}
	if ones["ws://a"] != "healthy" || ones["ws://b"] != "ejected" {
		t.Errorf("got %v, want a healthy and b ejected", ones)
	}
}
