//go:build e2e

package e2e

import (
	"regexp"
	"slices"
	"testing"
	"time"
)

// allScenarios are those whose peers are there.
func (h *house) allScenarios(t *testing.T) []scenario {
	t.Helper()
	all := slices.Concat(upgradedScenarios(), failedScenarios(), closedScenarios())
	return slices.DeleteFunc(all, func(s scenario) bool { return s.needs != "" && h.programs[s.needs] == "" })
}

// connections plays every scenario through one wsproxy and holds what Jaeger and Prometheus have
// against what was done.
func (h *house) connections(t *testing.T) {
	c := h.newCast(t)
	w := h.serve(t, c.settings(t))
	h.countersAtZero(t, w)

	var all []*played
	for _, s := range h.allScenarios(t) {
		t.Run("play "+s.name, func(t *testing.T) { all = append(all, s.perform(t, w, c)) })
	}
	head(t, w.plain, "") // and one that leaves without a word
	if t.Failed() {
		return
	}
	for _, p := range all {
		t.Run(p.name, func(t *testing.T) { p.check(t, h.stack.jaeger) })
	}
	t.Run("metrics", func(t *testing.T) { h.checkMetrics(t, w, all) })
	t.Run("born at zero", func(t *testing.T) { h.checkBorn(t, w) })
	t.Run("scrape", func(t *testing.T) { h.checkScrape(t, w) })
	t.Run("exemplars", func(t *testing.T) { h.checkExemplars(t, w, all) })
	t.Run("log", func(t *testing.T) { checkExit(t, w) })
}

// ofTarget is what wsproxy says of the cast's targets that are not there.
var ofTarget = regexp.MustCompile(`"msg":"target (unhealthy|ejected|can't be looked up)"`)

// checkExit stops wsproxy and judges its log.
func checkExit(t *testing.T, w *wsproxy) {
	w.stop(t)
	if code := w.exitCode(); code != 0 {
		t.Errorf("got exit code %d, want 0", code)
	}
	for _, l := range complaints(w.log(t)) {
		if ofTarget.Match(l) {
			continue
		}
		t.Errorf("wsproxy complains: %s", l)
	}
}

// countersAtZero waits until the first zeros are in Prometheus, so that an increase over the first event
// can be seen.
func (h *house) countersAtZero(t *testing.T, w *wsproxy) {
	t.Helper()
	p := h.stack.prometheus
	for _, selector := range []string{
		w.of("wsproxy_connection_accepted_total", "wsproxy_route_name", "direct"),
		w.of("wsproxy_connection_opened_total", "wsproxy_route_name", "direct"),
		w.of("wsproxy_connection_failed_total", "wsproxy_route_name", "refused", "error_type", "connection_refused"),
		w.of("wsproxy_connection_rejected_total", "wsproxy_route_name", "direct", "error_type", "origin_denied"),
		w.of("wsproxy_connection_closes_total", "wsproxy_route_name", "direct", "wsproxy_close_cause", "client_close", "wsproxy_close_code_class", "1000"),
		w.of("wsproxy_connection_unused_total"),
		w.of("wsproxy_io_bytes_total", "wsproxy_route_name", "direct", "wsproxy_direction", "upstream"),
		w.of("wsproxy_messages_total", "wsproxy_route_name", "direct", "wsproxy_direction", "upstream", "wsproxy_message_type", "text"),
	} {
		p.want(t, "sum("+selector+")", 0)
	}
}

// slack is how far apart two clock readings of the same moment may lie.
const slack = 100 * time.Millisecond
