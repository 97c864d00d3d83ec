package main

import (
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"github.com/grafana/grafana-foundation-sdk/go/units"
)

// overview answers whether wsproxy is well, and if not, where to look.
func overview() *dashboard.DashboardBuilder {
	return newBoard("overview", "Whether connections come about, how long each phase takes, what open ones carry and why they end.").
		WithPanel(success()).WithPanel(open()).WithPanel(handshakes()).
		WithPanel(slowest()).WithPanel(state()).WithPanel(lost()).
		WithRow(dashboard.NewRowBuilder("Handshakes")).
		WithPanel(outcomes()).WithPanel(latency()).
		WithPanel(failures()).WithPanel(refusals()).
		WithRow(dashboard.NewRowBuilder("Traffic and closes")).
		WithPanel(openByRoute()).WithPanel(closes()).
		WithPanel(throughput()).WithPanel(messages()).
		WithRow(dashboard.NewRowBuilder("Process")).
		WithPanel(states()).WithPanel(losses())
}

func success() *stat.PanelBuilder {
	return number(what{
		"Handshakes that succeeded",
		"Of the connections that were let in, the share that was upgraded, over the time range. Refused ones count as neither.",
		"runbooks/WsproxyHandshakesFailingFast.md",
		units.PercentUnit,
	}, now(`sum(increase(wsproxy_connection_opened_total`+byRoute+`[$__range])) / (sum(increase(wsproxy_connection_opened_total`+byRoute+
		`[$__range])) + sum(increase(wsproxy_connection_failed_total`+byRoute+`[$__range])) > 0)`, "succeeded")).
		NoValue("no handshakes").Decimals(2).Min(0).Max(1).GraphMode(common.BigValueGraphModeNone).
		Thresholds(levels("red", level{0.99, "orange"}, level{0.999, "green"}))
}

func open() *stat.PanelBuilder {
	return number(what{
		"Open connections",
		"WebSockets open now. Those of a process that was killed still count for five minutes.",
		"runbooks/WsproxyConnectionLimitNear.md",
		units.Short,
	}, over(`sum(wsproxy_connection_active`+byRoute+`)`, "open")).
		NoValue("none yet").Thresholds(levels("blue"))
}

func handshakes() *stat.PanelBuilder {
	return number(what{
		"Handshakes per second",
		"WebSocket requests that arrived, whatever became of them.",
		"runbooks/WsproxyReconnectStorm.md",
		units.RequestsPerSecond,
	}, over(`sum(rate(wsproxy_connection_accepted_total`+byRoute+`[$__rate_interval]))`, "handshakes")).
		NoValue("none yet").Thresholds(levels("blue"))
}

func slowest() *stat.PanelBuilder {
	return number(what{
		"Handshake, p95",
		"From the complete request to the 101: 95 of 100 clients waited at most this long, over the time range and all routes.",
		"runbooks/WsproxyPhaseSlow.md",
		units.Seconds,
	}, now(`histogram_quantile(0.95, sum by (le) (increase(http_server_request_duration_seconds_bucket`+
		`{service_instance_id=~"$instance", http_response_status_code="101"}[$__range]))) >= 0`, "p95")).
		NoValue("no handshakes").GraphMode(common.BigValueGraphModeNone).Thresholds(levels("blue"))
}

func state() *stat.PanelBuilder {
	return number(what{
		"State",
		"How many processes are in which state. operational accepts connections; draining lets open ones leave.",
		"runbooks/WsproxyNoData.md",
		units.Short,
	}, now(`count by (wsproxy_system_state) (wsproxy_system_status`+byProcess+` == 1)`, "{{wsproxy_system_state}}")).
		NoValue("no process").TextMode(common.BigValueTextModeValueAndName).GraphMode(common.BigValueGraphModeNone).
		Thresholds(levels("blue"))
}

func lost() *stat.PanelBuilder {
	return number(what{
		"Telemetry lost",
		"Spans, log records and metric exports that did not reach the collector, over the time range. What they would have told is missing everywhere here.",
		"runbooks/WsproxyTelemetryDropped.md",
		units.Short,
	}, now(`sum(increase(wsproxy_telemetry_dropped_total`+byProcess+`[$__range]))`, "lost")).
		NoValue("no data").Decimals(0).GraphMode(common.BigValueGraphModeNone).
		Thresholds(levels("green", level{1, "red"}))
}

func outcomes() *timeseries.PanelBuilder {
	return stacked(graph(what{
		"Handshakes by outcome",
		"opened: the client got its 101. failed: something went wrong on the way, see the phases. refused: turned away before dialling, as for a wrong origin or a limit.",
		"runbooks/failures.md",
		units.RequestsPerSecond,
	},
		over(`sum(rate(wsproxy_connection_opened_total`+byRoute+`[$__rate_interval]))`, "opened"),
		over(`sum(rate(wsproxy_connection_failed_total`+byRoute+`[$__rate_interval]))`, "failed"),
		over(`sum(rate(wsproxy_connection_rejected_total`+byRoute+`[$__rate_interval]))`, "refused"),
	))
}

func latency() *timeseries.PanelBuilder {
	return graph(what{
		"Time in each phase, p95",
		"Of the phases that succeeded, 95 of 100 took at most this long. A point is one connection and leads to its trace.",
		"runbooks/WsproxyPhaseSlow.md",
		units.Seconds,
	}, over(`histogram_quantile(0.95, sum by (le, wsproxy_phase_name) (rate(wsproxy_phase_duration_seconds_bucket`+
		`{service_instance_id=~"$instance", wsproxy_route_name=~"$route", error_type=""}[$__rate_interval])))`, "{{wsproxy_phase_name}}").
		Exemplar(true))
}

func failures() *timeseries.PanelBuilder {
	return stacked(graph(what{
		"Failures by phase and reason",
		"Connections that failed before they were upgraded: in which phase, and why. The reason is error.type of the trace, too.",
		"runbooks/failures.md",
		units.CountsPerSecond,
	}, over(`sum by (wsproxy_phase_name, error_type) (rate(wsproxy_connection_failed_total`+byRoute+`[$__rate_interval])) > 0`,
		"{{wsproxy_phase_name}}: {{error_type}}"))).NoValue("none")
}

func refusals() *timeseries.PanelBuilder {
	return stacked(graph(what{
		"Refusals by reason",
		"Connections turned away before dialling, and why.",
		"runbooks/failures.md#request-and-route",
		units.CountsPerSecond,
	}, over(`sum by (error_type) (rate(wsproxy_connection_rejected_total`+byRoute+`[$__rate_interval])) > 0`, "{{error_type}}"))).NoValue("none")
}

func openByRoute() *timeseries.PanelBuilder {
	return stacked(graph(what{
		"Open connections by route",
		"WebSockets open at the time. Those of a process that was killed still count for five minutes.",
		"runbooks/WsproxyConnectionLimitNear.md",
		units.Short,
	}, over(`sum by (wsproxy_route_name) (wsproxy_connection_active`+byRoute+`)`, "{{wsproxy_route_name}}")))
}

func closes() *timeseries.PanelBuilder {
	return stacked(graph(what{
		"Closes by cause",
		"Why WebSockets ended: client_ and upstream_ causes come from that end, most others from wsproxy.",
		"runbooks/closes.md",
		units.CountsPerSecond,
	}, over(`sum by (wsproxy_close_cause) (rate(wsproxy_connection_closes_total`+byRoute+`[$__rate_interval])) > 0`, "{{wsproxy_close_cause}}"))).NoValue("none")
}

func throughput() *timeseries.PanelBuilder {
	return graph(what{
		"Throughput",
		"Bytes relayed, frame headers included: upstream flows from clients, downstream to them.",
		"runbooks/WsproxyStalled.md",
		units.BytesPerSecondSI,
	}, over(`sum by (wsproxy_direction) (rate(wsproxy_io_bytes_total`+byRoute+`[$__rate_interval]))`, "{{wsproxy_direction}}"))
}

func messages() *timeseries.PanelBuilder {
	return graph(what{
		"Messages per second",
		"Text and binary messages relayed each way. A fragmented message counts once.",
		"runbooks/WsproxyStalled.md",
		units.MessagesPerSecond,
	}, over(`sum by (wsproxy_direction, wsproxy_message_type) (rate(wsproxy_messages_total`+byRoute+`[$__rate_interval]))`,
		"{{wsproxy_direction}} {{wsproxy_message_type}}"))
}

func states() *timeseries.PanelBuilder {
	return stacked(graph(what{
		"Processes by state",
		"How many processes were in which state: a restart shows as draining, then operational again.",
		"runbooks/WsproxyDrainStuck.md",
		units.Short,
	}, over(`count by (wsproxy_system_state) (wsproxy_system_status`+byProcess+` == 1)`, "{{wsproxy_system_state}}")).
		LineInterpolation(common.LineInterpolationStepAfter))
}

func losses() *timeseries.PanelBuilder {
	return stacked(graph(what{
		"Telemetry lost by signal and reason",
		"What did not reach the collector: queue_full is too much at once, export_failed and export_timeout are the collector's answer or silence.",
		"runbooks/WsproxyTelemetryDropped.md",
		units.CountsPerSecond,
	}, over(`sum by (wsproxy_signal, error_type) (rate(wsproxy_telemetry_dropped_total`+byProcess+`[$__rate_interval]))`,
		"{{wsproxy_signal}}: {{error_type}}")))
}
