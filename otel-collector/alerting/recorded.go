package main

import (
	"fmt"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
)

// The names of recorded series: the labels they keep, the metric, what was done to it.
const (
	errorRatio    = "job_route:wsproxy_handshake_errors:ratio_rate" // a window follows
	phaseP95      = "job_phase:wsproxy_phase_duration_seconds:p95_30m"
	phaseRate     = "job_phase:wsproxy_phase_duration_seconds:rate30m"
	abnormalRatio = "job_route:wsproxy_closes_abnormal:ratio_rate5m"
	closeRate     = "job_route:wsproxy_closes:rate5m"
)

// windows are those of the burn-rate alerts.
var windows = []time.Duration{5 * time.Minute, 30 * time.Minute, time.Hour, 6 * time.Hour}

func span(d time.Duration) string { return model.Duration(d).String() }

// fault leaves out failures that are the client's own: it went away before it had its answer.
const fault = `{error_type!="client_gone"}`

// normal are the causes of a close that somebody wanted.
const normal = "client_close|upstream_close|idle_timeout|max_lifetime|auth_expired|drain|reload|admin|tunnel_end"

const byJobAndRoute = "sum by (job, wsproxy_route_name) "

// recorded are the series that alerts and dashboards share, and what the objectives are judged by.
func recorded() []rulefmt.Rule {
	var rules []rulefmt.Rule
	for _, w := range windows {
		failed := fmt.Sprintf("%s(rate(wsproxy_connection_failed_total%s[%s]))", byJobAndRoute, fault, span(w))
		opened := fmt.Sprintf("%s(rate(wsproxy_connection_opened_total[%s]))", byJobAndRoute, span(w))
		rules = append(rules, rulefmt.Rule{
			Record: errorRatio + span(w),
			Expr:   fmt.Sprintf("%s / (%s + %s > 0)", failed, opened, failed),
		})
	}
	byPhase := "job, wsproxy_phase_name"
	return append(rules,
		rulefmt.Rule{Record: phaseP95, Expr: `histogram_quantile(0.95, sum by (le, ` + byPhase +
			`) (rate(wsproxy_phase_duration_seconds_bucket{error_type=""}[30m]))) >= 0`},
		rulefmt.Rule{Record: phaseRate, Expr: `sum by (` + byPhase + `) (rate(wsproxy_phase_duration_seconds_count{error_type=""}[30m]))`},
		rulefmt.Rule{Record: closeRate, Expr: byJobAndRoute + `(rate(wsproxy_connection_closes_total[5m]))`},
		rulefmt.Rule{Record: abnormalRatio, Expr: byJobAndRoute + `(rate(wsproxy_connection_closes_total{wsproxy_close_cause!~"` + normal + `"}[5m])) / (` +
			closeRate + ` > 0)`},
	)
}
