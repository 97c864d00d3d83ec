package main

import (
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"github.com/grafana/grafana-foundation-sdk/go/units"
)

// traffic answers what open connections carry, whether it flows, and how they end.
func traffic() *dashboard.DashboardBuilder {
	return newBoard("traffic", "What open WebSockets carry, whether it flows, and how they end.").
		WithRow(dashboard.NewRowBuilder("Open connections")).
		WithPanel(openByRoute()).WithPanel(age()).
		WithRow(dashboard.NewRowBuilder("What they carry")).
		WithPanel(throughput()).WithPanel(messages()).
		WithPanel(sizes("upstream", "from clients")).WithPanel(sizes("downstream", "to clients")).
		WithPanel(controlFrames()).WithPanel(violations()).
		WithRow(dashboard.NewRowBuilder("Whether it flows")).
		WithPanel(stall()).WithPanel(relayed()).
		WithPanel(pings()).WithPanel(tcp()).
		WithRow(dashboard.NewRowBuilder("How they end")).
		WithPanel(closes()).WithPanel(reconnects())
}

func relayed() *timeseries.PanelBuilder {
	return graph(what{
		"Time in the relay, p95",
		"From when bytes could be read until they were written, of a sample: what wsproxy adds.",
		"runbooks/WsproxyStalled.md",
		units.Seconds,
	}, over(p95("wsproxy_relay_duration_seconds", byRoute, "wsproxy_direction")+" >= 0", "{{wsproxy_direction}}")).NoValue("no messages")
}

func pings() *timeseries.PanelBuilder {
	return graph(what{
		"Round trip by ping, p95",
		"From a ping to its pong, the endpoints' own and wsproxy's: network and the endpoint's own delay.",
		"runbooks/closes.md#pong_timeout",
		units.Seconds,
	}, over(p95("wsproxy_ping_duration_seconds", byRoute, "wsproxy_leg")+" >= 0", "{{wsproxy_leg}}")).NoValue("no pings")
}

func tcp() *timeseries.PanelBuilder {
	return graph(what{
		"Round trip by TCP, p95",
		"As the system's TCP knows it, of a sample: the network alone. Far below that by ping, the endpoint is slow.",
		"runbooks/closes.md#client_timeout",
		units.Seconds,
	}, over(p95("wsproxy_tcp_rtt_seconds", byProcess, "wsproxy_leg")+" >= 0", "{{wsproxy_leg}}")).NoValue("no samples")
}

func reconnects() *timeseries.PanelBuilder {
	return stacked(graph(what{
		"Reconnects by cause",
		"Clients that came back soon, by why their former connection had ended; for routes with an identity.",
		"runbooks/WsproxyReconnectStorm.md",
		units.CountsPerSecond,
	}, over(`sum by (wsproxy_close_cause) (rate(wsproxy_connection_reconnects_total`+byRoute+`[$__rate_interval])) > 0`, "{{wsproxy_close_cause}}"))).NoValue("none")
}

func age() *timeseries.PanelBuilder {
	return graph(what{
		"Age at the close, p95",
		"How old WebSockets were when they ended, by cause. Many of the same age are some box's time limit on the way.",
		"runbooks/WsproxyClosesAbnormal.md",
		units.Seconds,
	}, over(p95("wsproxy_connection_duration_seconds", byRoute, "wsproxy_close_cause")+" >= 0", "{{wsproxy_close_cause}}")).NoValue("no closes")
}

func sizes(direction, way string) *timeseries.PanelBuilder {
	return graph(what{
		"Message size " + direction + ", p95",
		"Of the messages " + way + ", 95 of 100 are at most this large, as they are on the wire.",
		"runbooks/closes.md#message_too_big",
		units.BytesIEC,
	}, over(p95("wsproxy_message_size_bytes", `{service_instance_id=~"$instance", wsproxy_route_name=~"$route", wsproxy_direction="`+direction+`"}`,
		"wsproxy_route_name"), "{{wsproxy_route_name}}"))
}

func controlFrames() *timeseries.PanelBuilder {
	return graph(what{
		"Control frames per second",
		"Pings, pongs and Close frames relayed each way.",
		"runbooks/closes.md#pong_timeout",
		units.CountsPerSecond,
	}, over(`sum by (wsproxy_direction, wsproxy_frame_type) (rate(wsproxy_control_frames_total`+byRoute+`[$__rate_interval]))`,
		"{{wsproxy_direction}} {{wsproxy_frame_type}}"))
}

func violations() *timeseries.PanelBuilder {
	return stacked(graph(what{
		"Protocol violations",
		"Frames that broke RFC 6455, by rule; upstream are the clients' frames. With framing strict each ends its connection.",
		"runbooks/closes.md#protocol_error",
		units.CountsPerSecond,
	}, over(`sum by (wsproxy_direction, wsproxy_violation_kind) (rate(wsproxy_protocol_violations_total`+byRoute+`[$__rate_interval])) > 0`,
		"{{wsproxy_direction}} {{wsproxy_violation_kind}}"))).NoValue("none")
}

func stall() *timeseries.PanelBuilder {
	return graph(what{
		"Share of time blocked",
		"How much of the time a receiver takes nothing while bytes wait for it, averaged over open connections.",
		"runbooks/WsproxyStalled.md",
		units.PercentUnit,
	}, over(`sum by (wsproxy_route_name, wsproxy_direction) (rate(wsproxy_stall_time_seconds_total`+byRoute+`[$__rate_interval])) / on (wsproxy_route_name) `+
		`group_left () (sum by (wsproxy_route_name) (wsproxy_connection_active`+byRoute+`) > 0)`,
		"{{wsproxy_route_name}} {{wsproxy_direction}}")).NoValue("nothing open")
}
