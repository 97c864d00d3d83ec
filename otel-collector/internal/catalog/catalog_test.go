package catalog

import (
	"strings"
	"testing"
)

// What the end-to-end tests see in a real Prometheus, to know that this catalog is the truth.
func TestPrometheusNames(t *testing.T) {
	c, err := Read("../../..")
	if err != nil {
		t.Fatal(err)
	}
	for metric, labels := range map[string][]string{
		"wsproxy_io_bytes_total":                   {"wsproxy_direction", "service_instance_id", "job"},
		"wsproxy_phase_duration_seconds_bucket":    {"le", "wsproxy_phase_name", "error_type"},
		"wsproxy_connection_active":                {"wsproxy_route_name"},
		"wsproxy_system_status":                    {"wsproxy_system_state"},
		"http_server_request_duration_seconds_sum": {"http_response_status_code"},
		"process_uptime_seconds":                   {},
	} {
		if err := c.Check(metric, labels...); err != nil {
			t.Error(err)
		}
	}
}

func TestQueryProblemsAreFound(t *testing.T) {
	c := &Catalog{
		metrics: map[string]map[string]bool{"wsproxy_io_bytes_total": {"wsproxy_direction": true}},
		values:  map[string][]string{"wsproxy_direction": {"upstream", "downstream"}},
	}
	cases := map[string]struct {
		query, legend string
		want          string
	}{
		"right":            {`sum by (wsproxy_direction) (rate(wsproxy_io_bytes_total{wsproxy_direction=~".*"}[1m]))`, "{{wsproxy_direction}}", ""},
		"right values":     {`wsproxy_io_bytes_total{wsproxy_direction=~"upstream|downstream"}`, "", ""},
		"absent label":     {`wsproxy_io_bytes_total{wsproxy_direction=""}`, "", ""},
		"no PromQL":        {`sum(wsproxy_io_bytes_total`, "", "parse error"},
		"unknown metric":   {`rate(wsproxy_io_total[1m])`, "", "no metric"},
		"metric on a side": {`wsproxy_io_bytes_total / wsproxy_io`, "", "no metric"},
		"unknown matcher":  {`wsproxy_io_bytes_total{direction="upstream"}`, "", "no label direction"},
		"unknown value":    {`wsproxy_io_bytes_total{wsproxy_direction="up"}`, "", `never "up"`},
		"unknown in list":  {`wsproxy_io_bytes_total{wsproxy_direction!~"upstream|down"}`, "", `never "down"`},
		"unknown grouping": {`sum by (route) (wsproxy_io_bytes_total)`, "{{route}}", "no label route"},
		"dropped label":    {`sum(wsproxy_io_bytes_total)`, "{{wsproxy_direction}}", "drops"},
		"same legend":      {`sum by (wsproxy_direction) (wsproxy_io_bytes_total)`, "bytes", "apart"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			err := c.Query(tc.query, tc.legend)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestStrangeNamesAreFound(t *testing.T) {
	c, err := Read("../../..")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Recorded("../../.."); err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct{ text, want string }{
		"right": {"`wsproxy.io` by `wsproxy.direction`, wsproxy_io_bytes_total{wsproxy_direction=\"upstream\"}, wsproxy_phase_duration_seconds, " +
			"http.route, http_server_request_duration_seconds_count and wsproxy.connection.stalled.", ""},
		"right beginnings":  {"`wsproxy.worker.*`, `wsproxy_worker_`, `otel.sdk.*`, process.*", ""},
		"right recorded":    {"job_route:wsproxy_closes:rate5m", ""},
		"no names":          {"wsproxy, wsproxy.yaml, /run/wsproxy.sock, ./wsproxy.go, error.", ""},
		"attribute":         {"`wsproxy.close.reason`", "wsproxy.close.reason"},
		"without its unit":  {"rate(wsproxy_io_total[5m])", "wsproxy_io_total"},
		"label":             {`wsproxy_messages_total{wsproxy_route="chat"}`, "wsproxy_route"},
		"at a line's begin": {"text\nwsproxy_messages_count", "wsproxy_messages_count"},
		"recorded":          {"job_route:wsproxy_closes:rate9m", "job_route:wsproxy_closes:rate9m"},
		"of a convention":   {"http.server.duration and http_server_duration_seconds", "http.server.duration, http_server_duration_seconds"},
		"beginning of none": {"`wsproxy.workers.*`", "wsproxy.workers"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := strings.Join(c.Strange(tc.text), ", "); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestQuotedQueriesAreFound(t *testing.T) {
	page := "Look at `wsproxy_io_bytes_total`, `rate(wsproxy_io_bytes_total[5m])` and\n```\nsum(wsproxy_connection_active)\n```\n```console\n$ wsproxy serve (wsproxy_x)\n```\n"
	want := "rate(wsproxy_io_bytes_total[5m]); sum(wsproxy_connection_active)"
	if got := strings.Join(Quoted(page), "; "); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
