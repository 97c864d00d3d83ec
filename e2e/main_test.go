//go:build e2e

// Package e2e runs the built binary against real peers as processes on loopback: the OpenTelemetry
// Collector, Jaeger and Prometheus, HTTP CONNECT and SOCKS5 proxies, WebSocket clients and servers of
// other makers. What wsproxy did is judged by what Jaeger's and Prometheus' APIs answer.
//
// servers/get obtains the peers and says where they are; WSPROXY_SERVERS names a file with its output.
// A test whose peer is missing is skipped with the reason, or fails with WSPROXY_TEST_STRICT=1.
// WSPROXY_BINARY names a built wsproxy to test in place of one built from this tree.
package e2e

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "rewrite the golden texts in testdata")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// telemetryPeers are what all tests but the simplest need.
var telemetryPeers = []string{"collector", "jaeger", "prometheus"}

// TestEndToEnd shares one collector, Jaeger and Prometheus among all that it runs.
func TestEndToEnd(t *testing.T) {
	h := newHouse(t)
	t.Run("commands", h.commands)
	t.Run("unconfigured", h.unconfigured)
	t.Run("alert tests", h.alertTests)
	t.Run("long windows", h.longWindows)
	t.Run("compose", h.compose)
	t.Run("descriptors", h.descriptors)
	t.Run("limits", h.limits)
	t.Run("egresses", h.egresses)
	t.Run("introductions", h.introductions)
	t.Run("authentication", h.authentication)
	t.Run("reloads and upgrades under load", h.underLoad)
	t.Run("upgrades in a row", h.upgradesInARow)
	t.Run("tap", h.tap)
	t.Run("stampede", h.stampede)
	t.Run("foreign pages", h.foreignPages)
	t.Run("keepalive", h.keepalive)
	t.Run("lost peers", h.lostPeers)
	t.Run("witness", h.witness)
	if h.missing(t, telemetryPeers...) {
		return
	}
	t.Run("scripted day", h.scriptedDay)
	h.stack = startStack(t, h)
	for _, test := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"connections", h.connections},
		{"clients", h.clients},
		{"forward", h.forward},
		{"bad egresses", h.badEgresses},
		{"interception", h.interception},
		{"large messages", h.largeMessages},
		{"open connections", h.openConnections},
		{"other settings", h.otherSettings},
		{"names", h.names},
		{"secrets", h.secrets},
		{"dashboards", h.dashboards},
		{"rules", h.rules},
		{"overlays", h.overlays},
		{"upstreams", h.upstreams},
		{"drain", h.drain},
		{"forced stop", h.forcedStop},
		{"collector away", h.collectorAway},
		{"collector restarts", h.collectorRestarts},
	} {
		t.Run(test.name, func(t *testing.T) {
			h.stack.watch(t)
			test.run(t)
		})
	}
	h.stack.stop(t)
}
