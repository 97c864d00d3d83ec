package main

import (
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"github.com/grafana/grafana-foundation-sdk/go/units"
)

// phases answers where handshakes spend their time, and where they fail.
func phases() *dashboard.DashboardBuilder {
	b := newBoard("phases", "Where handshakes spend their time, and where they fail. The words are explained in docs/runbooks/failures.md.").
		WithRow(dashboard.NewRowBuilder("All phases")).
		WithPanel(phaseShare()).WithPanel(phaseNow()).
		WithRow(dashboard.NewRowBuilder("Each phase"))
	for _, p := range []struct{ name, meaning, page string }{
		{"tls_accept", "TLS with clients", "runbooks/failures.md#tls_accept"},
		{"request", "The client's request head, from accept on", "runbooks/failures.md#request-and-route"},
		{"dns", "The lookup of the target, or of the egress proxy", "runbooks/failures.md#dns"},
		{"connect", "TCP to the target, or to the egress proxy", "runbooks/failures.md#connect"},
		{"proxy", "CONNECT or SOCKS5 through an egress proxy; its own dial is in here", "runbooks/failures.md#proxy"},
		{"tls", "TLS with the target, or with an egress proxy", "runbooks/failures.md#tls"},
		{"upgrade", "The application's answer to the WebSocket handshake", "runbooks/failures.md#upgrade"},
		{"close", "From the first Close, FIN or reset until both sockets have ended", "runbooks/closes.md"},
	} {
		b = b.WithPanel(heat(what{"Time in " + p.name, p.meaning + ". A point is one connection and leads to its trace.", p.page, units.Seconds},
			"wsproxy_phase_duration_seconds",
			`{service_instance_id=~"$instance", wsproxy_route_name=~"$route", wsproxy_phase_name="`+p.name+`", error_type=""}`))
	}
	return b.
		WithRow(dashboard.NewRowBuilder("Through egress proxies, and not")).
		WithPanel(byEgress()).WithPanel(handshakeWithUpstream()).
		WithRow(dashboard.NewRowBuilder("Failures")).
		WithPanel(failures()).WithPanel(refusals())
}

func phaseShare() *timeseries.PanelBuilder {
	return stacked(graph(what{
		"Mean time by phase",
		"The mean of each phase, one on the other: the height is about the mean handshake, the widest band is where its time goes.",
		"runbooks/WsproxyPhaseSlow.md",
		units.Seconds,
	}, over(`sum by (wsproxy_phase_name) (rate(wsproxy_phase_duration_seconds_sum{service_instance_id=~"$instance", wsproxy_route_name=~"$route", `+
		`wsproxy_phase_name!="close"}[$__rate_interval])) / on () group_left () (sum(rate(wsproxy_connection_opened_total`+byRoute+
		`[$__rate_interval])) > 0)`, "{{wsproxy_phase_name}}"))).NoValue("no handshakes")
}

func phaseNow() *timeseries.PanelBuilder {
	return stacked(graph(what{
		"Connections by phase",
		"Where connections are at the moment, all routes. Many in one phase other than transfer are stuck there.",
		"runbooks/WsproxyPhaseSlow.md",
		units.Short,
	}, over(`sum by (wsproxy_phase_name) (wsproxy_phase_active`+byProcess+`)`, "{{wsproxy_phase_name}}")))
}

func byEgress() *timeseries.PanelBuilder {
	return graph(what{
		"Dialling by egress, p95",
		"connect, proxy and tls apart for each kind of egress; an empty kind dials directly.",
		"runbooks/failures.md#proxy",
		units.Seconds,
	}, over(p95("wsproxy_phase_duration_seconds", `{service_instance_id=~"$instance", wsproxy_route_name=~"$route", `+
		`wsproxy_phase_name=~"connect|proxy|tls", error_type=""}`, "wsproxy_phase_name, wsproxy_egress_type"),
		"{{wsproxy_phase_name}} {{wsproxy_egress_type}}"))
}

func handshakeWithUpstream() *timeseries.PanelBuilder {
	return graph(what{
		"Handshake with the upstream, p95",
		"From our request to its answer, by the server that was asked, whatever it answered.",
		"runbooks/failures.md#upgrade",
		units.Seconds,
	}, over(p95("http_client_request_duration_seconds", byProcess, "server_address"), "{{server_address}}"))
}
