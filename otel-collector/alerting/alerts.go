package main

import (
	"fmt"
	"time"
)

// The objective: of the handshakes that were let in, 99.9 % end with a 101, over 30 days.
const (
	objective = 0.999
	budget    = 1 - objective
)

// alerts are in the order in which one would read them.
func alerts() []alert {
	return append(append(ofHandshakes(), ofOpenConnections()...), ofTheProcess()...)
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

func ofOpenConnections() []alert {
	return []alert{
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
			"WsproxyNoData", `absent(wsproxy_system_status)`, 5 * time.Minute, page,
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
			"WsproxyDrainStuck", `sum by (job, service_instance_id) (wsproxy_system_status{wsproxy_system_state="draining"}) > 0`, 5 * time.Minute, ticket,
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
