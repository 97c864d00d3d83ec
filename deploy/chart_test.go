// Package deploy_test renders, lints and reads what brings wsproxy onto Kubernetes and onto hosts.
//
// Run it with -count=1: go test does not see that a file outside of the module has changed.
package deploy_test

import (
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

const (
	root      = ".."
	chart     = "chart"
	release   = "chat"
	namespace = "sockets"
)

// everything sets each value to something else than its default.
const everything = `
image: { repository: registry.example/wsproxy, tag: 1.2.3, pullPolicy: Always, pullSecrets: [{ name: registry }] }
replicas: 5
config:
  listeners:
    - address: ":8443"
      tls: { certificates: [{ cert: /run/secrets/wsproxy-tls/tls.crt, key: /run/secrets/wsproxy-tls/tls.key }] }
    - address: "0.0.0.0:8080"
  routes:
    - { name: chat, match: /chat, upstream: chat, timeouts: { idle: 10m } }
  upstreams:
    - { name: chat, targets: ["wss://chat:9443"], egress: corp }
  egress:
    - { name: corp, url: "http://proxy.corp:3128", credentials: "file:/run/secrets/egress/user" }
  drain: { code: 4000, reason: moving }
secrets: [wsproxy-tls, egress]
drain: { timeoutSeconds: 300, spreadSeconds: 240, endpointsSeconds: 0 }
admin: { port: 9901, tokenSecret: { name: admin, key: bearer } }
service:
  type: LoadBalancer
  annotations: { example.com/internal: "true" }
  ports: [{ name: wss, port: 443, targetPort: 8443 }, { name: ws, port: 80, targetPort: 8080 }]
resources: { requests: { cpu: "1", memory: 1Gi }, limits: { cpu: "2", memory: 2Gi } }
goMemLimit: 1800MiB
env: [{ name: OTEL_EXPORTER_OTLP_ENDPOINT, value: "http://otel-collector:4317" }]
autoscaling: { enabled: true, minReplicas: 3, maxReplicas: 30, connections: 2000, scaleDownSeconds: 600 }
podDisruptionBudget: { maxUnavailable: "20%" }
serviceMonitor: { enabled: true, labels: { release: prometheus }, interval: 30s }
networkPolicy:
  enabled: true
  clients: [{ namespaceSelector: { matchLabels: { name: ingress } } }]
  monitoring: [{ namespaceSelector: { matchLabels: { name: monitoring } } }]
  egress: [{ to: [{ ipBlock: { cidr: 10.0.0.0/8 } }], ports: [{ port: 9443 }] }]
rolloutOnConfigChange: true
podAnnotations: { example.com/team: chat }
podLabels: { team: chat }
nodeSelector: { kubernetes.io/arch: amd64 }
tolerations: [{ key: edge, operator: Exists, effect: NoSchedule }]
affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [{ matchExpressions: [{ key: edge, operator: Exists }] }] } } }
priorityClassName: system-cluster-critical
`

// installations are the values that tests render the chart with.
var installations = map[string]string{
	"defaults":             "",
	"everything":           everything,
	"token":                "admin: { tokenSecret: { name: admin } }",
	"policy":               "networkPolicy: { enabled: true }",
	"policy, token":        "networkPolicy: { enabled: true }\nadmin: { tokenSecret: { name: admin } }",
	"autoscaling":          "autoscaling: { enabled: true }",
	"scrape":               "admin: { tokenSecret: { name: admin } }\nserviceMonitor: { enabled: true }",
	"no disruption budget": "podDisruptionBudget: { enabled: false }",
}

// manifests are the chart's templates, rendered as `helm template` does.
func manifests(t *testing.T, values string) (map[string]string, error) {
	t.Helper()
	loaded, err := loader.LoadDir(chart)
	if err != nil {
		t.Fatal(err)
	}
	options := common.ReleaseOptions{Name: release, Namespace: namespace, Revision: 1, IsInstall: true}
	all, err := util.ToRenderValues(loaded, readValues(t, values), options, common.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	return engine.Render(loaded, all)
}

// render is manifests for values that are right.
func render(t *testing.T, values string) map[string]string {
	t.Helper()
	rendered, err := manifests(t, values)
	if err != nil {
		t.Fatal(err)
	}
	return rendered
}

func readValues(t *testing.T, text string) map[string]any {
	t.Helper()
	values := make(map[string]any)
	if err := yaml.Unmarshal([]byte(text), &values); err != nil {
		t.Fatal(err)
	}
	return values
}

// kinds are the types that a manifest is read into.
var kinds = map[string]func() meta.Object{
	"apps/v1 Deployment":                      func() meta.Object { return new(apps.Deployment) },
	"autoscaling/v2 HorizontalPodAutoscaler":  func() meta.Object { return new(autoscaling.HorizontalPodAutoscaler) },
	"monitoring.coreos.com/v1 ServiceMonitor": func() meta.Object { return new(monitoring.ServiceMonitor) },
	"networking.k8s.io/v1 NetworkPolicy":      func() meta.Object { return new(networking.NetworkPolicy) },
	"policy/v1 PodDisruptionBudget":           func() meta.Object { return new(policy.PodDisruptionBudget) },
	"v1 ConfigMap":                            func() meta.Object { return new(core.ConfigMap) },
	"v1 Service":                              func() meta.Object { return new(core.Service) },
}

// objects are the manifests, each read into Kubernetes' own type with nothing in it that the type does not have.
func objects(t *testing.T, manifests map[string]string) []meta.Object {
	t.Helper()
	var all []meta.Object
	for _, name := range slices.Sorted(maps.Keys(manifests)) {
		if path.Ext(name) != ".yaml" {
			continue
		}
		for document := range strings.SplitSeq(manifests[name], "\n---\n") {
			if strings.TrimSpace(document) == "" {
				continue
			}
			all = append(all, object(t, name, document))
		}
	}
	return all
}

func object(t *testing.T, name, document string) meta.Object {
	t.Helper()
	var kind meta.TypeMeta
	if err := yaml.Unmarshal([]byte(document), &kind); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, document)
	}
	made := kinds[kind.APIVersion+" "+kind.Kind]
	if made == nil {
		t.Fatalf("%s: got kind %s %s", name, kind.APIVersion, kind.Kind)
	}
	o := made()
	if err := yaml.UnmarshalStrict([]byte(document), o); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, document)
	}
	return o
}

func TestChartIsLinted(t *testing.T) {
	for name, values := range installations {
		t.Run(name, func(t *testing.T) {
			for _, m := range lint.RunAll(chart, readValues(t, values), namespace).Messages {
				if m.Severity > support.InfoSev {
					t.Error(m)
				}
			}
		})
	}
}

func TestManifestsAreKubernetes(t *testing.T) {
	want := map[string]string{
		"defaults":             "ConfigMap Deployment PodDisruptionBudget Service",
		"everything":           "ConfigMap Deployment HorizontalPodAutoscaler NetworkPolicy PodDisruptionBudget Service Service ServiceMonitor",
		"token":                "ConfigMap Deployment PodDisruptionBudget Service",
		"policy":               "ConfigMap Deployment NetworkPolicy PodDisruptionBudget Service",
		"policy, token":        "ConfigMap Deployment NetworkPolicy PodDisruptionBudget Service",
		"autoscaling":          "ConfigMap Deployment HorizontalPodAutoscaler PodDisruptionBudget Service",
		"scrape":               "ConfigMap Deployment PodDisruptionBudget Service Service ServiceMonitor",
		"no disruption budget": "ConfigMap Deployment Service",
	}
	for name, values := range installations {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, o := range objects(t, render(t, values)) {
				got = append(got, kindOf(o))
			}
			slices.Sort(got)
			if got := strings.Join(got, " "); got != want[name] {
				t.Errorf("got %s, want %s", got, want[name])
			}
		})
	}
}

func TestValuesAreChecked(t *testing.T) {
	cases := map[string]struct{ values, want string }{
		"unknown":             {"replica: 3", "replica"},
		"wrong type":          {`replicas: "3"`, "replicas"},
		"admin in config":     {`config: { admin: { address: ":9900" } }`, "admin"},
		"drain in config":     {"config: { drain: { timeout: 5m } }", "drain"},
		"no such listener":    {"service: { ports: [{ name: ws, port: 80, targetPort: 8081 }] }", "no listener of config has port 8081, only 8080"},
		"port taken":          {"admin: { port: 8080 }", "a listener of config has port 8080, too"},
		"spread too long":     {"drain: { timeoutSeconds: 20 }", "drain.spreadSeconds is longer than drain.timeoutSeconds"},
		"scraped on loopback": {"serviceMonitor: { enabled: true }", "set admin.tokenSecret.name"},
		"port called admin":   {"service: { ports: [{ name: admin, port: 80, targetPort: 8080 }] }", "name"},
		"secret's name":       {`secrets: ["../etc"]`, "secrets"},
		"no port":             {`config: { listeners: [{ address: localhost }] }`, "address"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := manifests(t, tc.values)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error with %q", err, tc.want)
			}
		})
	}
}

// A value that the schema does not have could not be set, one that has no default would be a guess.
func TestSchemaHasEveryValue(t *testing.T) {
	loaded, err := loader.LoadDir(chart)
	if err != nil {
		t.Fatal(err)
	}
	var schema struct{ Properties map[string]any }
	if err := yaml.Unmarshal(loaded.Schema, &schema); err != nil {
		t.Fatal(err)
	}
	delete(schema.Properties, "global") // Helm's own
	got, want := slices.Sorted(maps.Keys(loaded.Values)), slices.Sorted(maps.Keys(schema.Properties))
	if !slices.Equal(got, want) {
		t.Errorf("got values %q, want those of the schema, %q", got, want)
	}
	set := slices.Sorted(maps.Keys(readValues(t, everything)))
	if !slices.Equal(set, want) {
		t.Errorf("got %q among everything, want %q", set, want)
	}
}
