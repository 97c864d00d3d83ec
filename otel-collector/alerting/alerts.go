package main

import (
	"fmt"
	"slices"
	"time"
)

// The objective: of the handshakes that were let in, 99.9 % end with a 101, over 30 days.
const (
	objective = 0.999
	budget    = 1 - objective
)

// fresh is how old a state may be. What is pushed has no end, so Prometheus holds the last word of a process that is gone for true for five
// minutes: one that drained for a moment and ended would be stuck.
const fresh = "[2m]"

// alerts are in the order in which one would read them.
func alerts() []alert {
	return slices.Concat(ofHandshakes(), ofUpstreams(), ofOpenConnections(), ofTheProcess())
}

func ofHandshakes() []alert {
	return []alert{
		{
			"WsproxyHandshakesFailingFast", burn(14.4, time.Hour, 5*time.Minute), 2 * time.Minute, page,
			"{{ $value | humanizePercentage }} of the handshakes on route {{ $labels.wsproxy_route_name }} fail",
			"At this rate the error budget of 30 days is gone in two. Clients get an error instead of a WebSocket.",
		},
		{
			"WsproxyHandshakesFailing", burn(6, 6*time.Hour, 30*time.Minute), 15 * time.Minute, ticket,
			"{{ $value | humanizePercentage }} of the handshakes on route {{ $labels.wsproxy_route_name }} fail, for hours",
			"At this rate the error budget of 30 days is gone in five.",
		},
		{
			"WsproxyPhaseSlow",
			// A phase without a past of its own is not judged, nor is one that is rare or fast anyway.
			fmt.Sprintf("%s > 3 * avg_over_time(%s[1d] offset 1h) and %s > 0.1 and %s > 0.02", phaseP95, phaseP95, phaseP95, phaseRate),
			10 * time.Minute, ticket,
			"p95 of phase {{ $labels.wsproxy_phase_name }} is {{ $value | humanizeDuration }}, three times what it was over the day before",
			"Clients wait longer for their WebSocket, and the phase says for whom: dns, connect, proxy, tls or upgrade.",
		},
	}
}

// burn is an error ratio that eats the budget so many times too fast: over the long window, and still over the short one.
func burn(factor float64, long, short time.Duration) string {
	return fmt.Sprintf("%s%s > %.4g and %s%s > %.4g", errorRatio, span(short), factor*budget, errorRatio, span(long), factor*budget)
}

func ofUpstreams() []alert {
	return []alert{
		{
			"WsproxyUpstreamDown",
			`sum by (job, service_instance_id, wsproxy_upstream_name) (wsproxy_upstream_status{wsproxy_upstream_state=~"unknown|healthy|slow_start|degraded"}) == 0`,
			time.Minute, page,
			"No target of upstream {{ $labels.wsproxy_upstream_name }} can be used",
			"Whoever connects to a route of this upstream gets 503, or is let through to a target that has just failed.",
		},
		{
			"WsproxyTargetDown",
			`max by (job, wsproxy_upstream_name, wsproxy_target_name) (wsproxy_upstream_status{wsproxy_upstream_state=~"unhealthy|ejected"}) == 1`,
			5 * time.Minute, ticket,
			"Target {{ $labels.wsproxy_target_name }} of upstream {{ $labels.wsproxy_upstream_name }} can't be used",
			"The other targets carry its load.",
		},
	}
}

func ofOpenConnections() []alert {
	return []alert{
		{
			"WsproxyReconnectStorm",
			byJobAndRoute + `(increase(wsproxy_connection_reconnects_total[5m])) > 0.2 * ` + byJobAndRoute + `(wsproxy_connection_active) > 20`,
			time.Minute, ticket,
			"{{ $value | humanize }} clients of route {{ $labels.wsproxy_route_name }} came back in five minutes",
			"More than a fifth as many as are open lost their WebSocket and opened another. Each costs a handshake, and most applications a login.",
		},
		{
			"WsproxyClosesAbnormal", abnormalRatio + " > 0.1 and " + closeRate + " > 0.1", 5 * time.Minute, page,
			"{{ $value | humanizePercentage }} of the WebSockets that end on route {{ $labels.wsproxy_route_name }} end badly",
			"They were reset, timed out or broke the protocol; neither end asked for the close. The causes are in wsproxy_connection_closes_total.",
		},
		{
			"WsproxyStalled",
			`sum by (job, wsproxy_route_name, wsproxy_direction) (rate(wsproxy_stall_time_seconds_total[5m]))` +
				` / on (job, wsproxy_route_name) group_left () (sum by (job, wsproxy_route_name) (wsproxy_connection_active) > 0) > 0.2`,
			10 * time.Minute, ticket,
			"On route {{ $labels.wsproxy_route_name }} the receivers of {{ $labels.wsproxy_direction }} block {{ $value | humanizePercentage }} of the time",
			"A receiver takes bytes more slowly than the sender offers them. Messages arrive late; a peer that takes nothing for timeouts.write is cut.",
		},
	}
}

func ofTheProcess() []alert {
	return []alert{
		{
			"WsproxyConnectionLimitNear",
			`sum by (job, service_instance_id, wsproxy_route_name) (wsproxy_connection_active) / on (job, service_instance_id, wsproxy_route_name) ` +
				`sum by (job, service_instance_id, wsproxy_route_name) (wsproxy_connection_limit{wsproxy_route_name!=""}) > 0.8`,
			5 * time.Minute, ticket,
			"Route {{ $labels.wsproxy_route_name }} has {{ $value | humanizePercentage }} of the connections that it may have",
			"At the limit further clients get 503.",
		},
		{
			"WsproxyDescriptorsNear",
			`sum by (job, service_instance_id) (wsproxy_connection_active) / on (job, service_instance_id) ` +
				`sum by (job, service_instance_id) (wsproxy_connection_limit{wsproxy_route_name=""}) > 0.8`,
			5 * time.Minute, ticket,
			"{{ $labels.service_instance_id }} has {{ $value | humanizePercentage }} of the connections that its descriptors allow",
			"At the limit further clients of every route get 503.",
		},
		{
			"WsproxyReloadFailed", `sum by (job, service_instance_id, error_type) (increase(wsproxy_config_reloads_total{error_type!=""}[5m])) > 0`, 0, ticket,
			"A configuration was refused: {{ $labels.error_type }}",
			"The former one stays in force. Whoever changed the file may think otherwise.",
		},
		{
			"WsproxyNoData", `absent_over_time(wsproxy_system_status` + fresh + `)`, 5 * time.Minute, page,
			"No wsproxy reports",
			"No process runs, or its metrics don't reach Prometheus. Every other alert is blind.",
		},
		{
			"WsproxyTelemetryDropped",
			`sum by (job, wsproxy_signal, error_type) (increase(wsproxy_telemetry_dropped_total[5m])) > 0`, 5 * time.Minute, ticket,
			"{{ $value | humanize }} {{ $labels.wsproxy_signal }} were lost in five minutes: {{ $labels.error_type }}",
			"The collector is down, slow or too small. Traffic is not touched, but what is shown is not everything.",
		},
		{
			"WsproxyMetricsOverflow",
			`count by (job, __name__) ({__name__=~"wsproxy_.+|http_.+|dns_.+", otel_metric_overflow="true"}) > 0`, time.Minute, ticket,
			"{{ $labels.__name__ }} has more series than its limit",
			"What is over the limit is added up in one series. Labels are from closed sets: too many routes or targets are configured, or it is a fault of ours.",
		},
		{
			"WsproxyDrainStuck",
			`sum by (job, service_instance_id) (last_over_time(wsproxy_system_status{wsproxy_system_state="draining"}` + fresh + `)) > 0`, 5 * time.Minute, ticket,
			"{{ $labels.service_instance_id }} has been draining for minutes",
			"Connections don't leave by themselves, and drain.timeout is long or does not end them.",
		},
		{
			"WsproxyCertificateExpiring",
			`min by (job, wsproxy_tls_certificate_name) (wsproxy_tls_certificate_not_after_seconds) - time() < 14 * 86400`, time.Hour, ticket,
			"Certificate {{ $labels.wsproxy_tls_certificate_name }} ends in {{ $value | humanizeDuration }}",
			"Once it has ended, clients or upstreams refuse TLS. A renewed file is read without a restart.",
		},
	}
}
