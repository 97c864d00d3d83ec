package main

import (
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"github.com/grafana/grafana-foundation-sdk/go/units"
)

// upstreams answers which targets can be used, what they carry and what goes wrong on the way to them.
func upstreams() *dashboard.DashboardBuilder {
	return newBoard("upstreams", "Which targets can be used, what their upstreams carry, and what goes wrong on the way to them.").
		WithRow(dashboard.NewRowBuilder("Targets")).
		WithPanel(targetStates()).WithPanel(targetsOut()).
		WithRow(dashboard.NewRowBuilder("Load")).
		WithPanel(openByUpstream()).WithPanel(carried()).
		WithRow(dashboard.NewRowBuilder("On the way")).
		WithPanel(retried()).WithPanel(lookups()).
		WithPanel(byEgress()).WithPanel(handshakeWithUpstream())
}

func targetStates() *timeseries.PanelBuilder {
	return stacked(graph(what{
		"Targets by state",
		"How many targets are in which state, over all processes. slow_start gets few new connections, degraded has lost some of its addresses.",
		"runbooks/WsproxyUpstreamDown.md",
		units.Short,
	}, over(`sum by (wsproxy_upstream_state) (wsproxy_upstream_status`+byProcess+`)`, "{{wsproxy_upstream_state}}")).
		LineInterpolation(common.LineInterpolationStepAfter))
}

func targetsOut() *timeseries.PanelBuilder {
	return graph(what{
		"Targets that can't be used",
		"In how many processes a target is unhealthy (its checks fail) or ejected (connections to it failed).",
		"runbooks/WsproxyTargetDown.md",
		units.Short,
	}, over(`sum by (wsproxy_upstream_name, wsproxy_target_name) (wsproxy_upstream_status{service_instance_id=~"$instance", `+
		`wsproxy_upstream_state=~"unhealthy|ejected"}) > 0`, "{{wsproxy_upstream_name}} {{wsproxy_target_name}}")).NoValue("none")
}

func openByUpstream() *timeseries.PanelBuilder {
	return stacked(graph(what{
		"Open connections by upstream",
		"WebSockets open at the time.",
		"upstreams.md#which-one-a-connection-gets",
		units.Short,
	}, over(`sum by (wsproxy_upstream_name) (wsproxy_connection_active`+byRoute+`)`, "{{wsproxy_upstream_name}}")))
}

func carried() *timeseries.PanelBuilder {
	return graph(what{
		"Throughput by upstream",
		"Bytes relayed, frame headers included: upstream flows to the targets, downstream from them.",
		"upstreams.md#which-one-a-connection-gets",
		units.BytesPerSecondSI,
	}, over(`sum by (wsproxy_upstream_name, wsproxy_direction) (rate(wsproxy_io_bytes_total`+byRoute+`[$__rate_interval]))`,
		"{{wsproxy_upstream_name}} {{wsproxy_direction}}"))
}

func retried() *timeseries.PanelBuilder {
	return stacked(graph(what{
		"Retries by reason",
		"Further attempts at another target or egress, by why the one before failed. Clients waited longer, and did not notice otherwise.",
		"runbooks/failures.md",
		units.CountsPerSecond,
	}, over(`sum by (wsproxy_upstream_name, error_type) (rate(wsproxy_upstream_retries_total`+byProcess+`[$__rate_interval])) > 0`,
		"{{wsproxy_upstream_name}}: {{error_type}}"))).NoValue("none")
}

func lookups() *timeseries.PanelBuilder {
	return graph(what{
		"Name lookups, p95",
		"Of the names in the configuration.",
		"runbooks/failures.md#dns",
		units.Seconds,
	}, over(p95("dns_lookup_duration_seconds", byProcess, "dns_question_name")+" >= 0", "{{dns_question_name}}")).NoValue("no lookups")
}
