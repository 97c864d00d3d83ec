package deploy_test

import (
	"maps"
	"strings"
	"testing"
)

func TestRulesFindProblems(t *testing.T) {
	cases := map[string]struct{ values, from, to, broken string }{
		"right":             {"", "", "", ""},
		"no label":          {"", "app.kubernetes.io/instance: chat", "app.kubernetes.io/instance: other", "is named and labelled"},
		"no pod":            {"", "  selector:\n    app.kubernetes.io/name: wsproxy", "  selector:\n    app.kubernetes.io/name: other", "selects its pods"},
		"no port":           {"", "targetPort: ws", "targetPort: web", "ports are there"},
		"a file":            {"", "mountPath: /etc/wsproxy,", "mountPath: /etc/wsproxy, subPath: wsproxy.yaml,", "mounts are folders that are there"},
		"no configuration":  {"", "--config, /etc/wsproxy/", "--config, /etc/", "mounts are folders that are there"},
		"root":              {"", "runAsNonRoot: true", "runAsNonRoot: false", "is confined"},
		"writable":          {"", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "is confined"},
		"capabilities":      {"", "drop: [ALL]", "drop: [ALL], add: [NET_ADMIN]", "is confined"},
		"host's network":    {"", "enableServiceLinks: false", "hostNetwork: true", "is confined"},
		"cluster's token":   {"", "automountServiceAccountToken: false", "", "is confined"},
		"memory":            {"", "memory: 512Mi", "memory: 256Mi", "memory has a goal within its limit"},
		"cut":               {"", "terminationGracePeriodSeconds: 80", "terminationGracePeriodSeconds: 65", "has the time to drain"},
		"asked from beyond": {"", "exec: { command: [/wsproxy, ready, --admin, \"127.0.0.1:9900\"] }", "httpGet: { path: /readyz, port: ws }", "probes fit the admin port"},
		"other metric":      {"autoscaling: { enabled: true }", "wsproxy_connection_active", "wsproxy_connections", "scales by what is open"},
		"other workload":    {"autoscaling: { enabled: true }", "kind: Deployment, name", "kind: StatefulSet, name", "scales by what is open"},
		"other credentials": {everything, "credentials: { name: admin", "credentials: { name: other", "is scraped with the token"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			rendered := render(t, tc.values)
			changed := maps.Clone(rendered)
			for file, text := range changed {
				if tc.from != "" {
					changed[file] = strings.ReplaceAll(text, tc.from, tc.to)
				}
			}
			if tc.from != "" && maps.Equal(changed, rendered) {
				t.Fatalf("nothing has %q", tc.from)
			}
			var broken []string
			in := install(t, changed)
			for _, r := range rules {
				if r.wrong(in) != "" {
					broken = append(broken, r.name)
				}
			}
			if got := strings.Join(broken, ", "); got != tc.broken {
				t.Errorf("got broken %q, want %q", got, tc.broken)
			}
		})
	}
}
