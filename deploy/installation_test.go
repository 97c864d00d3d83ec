package deploy_test

import (
	"fmt"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"
)

// activeConnections is the metric of telemetry/schema.yaml, as Prometheus has its name.
const activeConnections = "wsproxy_connection_active"

// installation is what the chart makes, as rules look at it.
type installation struct {
	all        []meta.Object
	deployment *apps.Deployment
	config     *core.ConfigMap
}

func install(t *testing.T, rendered map[string]string) installation {
	t.Helper()
	in := installation{all: objects(t, rendered)}
	in.deployment, in.config = only[*apps.Deployment](t, in), only[*core.ConfigMap](t, in)
	return in
}

// each lists the objects of a kind.
func each[T meta.Object](in installation) []T {
	var some []T
	for _, o := range in.all {
		if o, ok := o.(T); ok {
			some = append(some, o)
		}
	}
	return some
}

func only[T meta.Object](t *testing.T, in installation) T {
	t.Helper()
	some := each[T](in)
	if len(some) != 1 {
		t.Fatalf("got %d of %T, want 1", len(some), *new(T))
	}
	return some[0]
}

func kindOf(o meta.Object) string { return reflect.TypeOf(o).Elem().Name() }

func (in installation) pod() core.PodSpec         { return in.deployment.Spec.Template.Spec }
func (in installation) container() core.Container { return in.pod().Containers[0] }

// rules say what is wrong with an installation, if anything.
var rules = []struct {
	name  string
	wrong func(installation) string
}{
	{"is named and labelled", isLabelled},
	{"selects its pods", selectsPods},
	{"ports are there", portsAreThere},
	{"mounts are folders that are there", mountsAreThere},
	{"is confined", isConfined},
	{"memory has a goal within its limit", memoryHasGoal},
	{"has the time to drain", hasTimeToDrain},
	{"probes fit the admin port", probesFit},
	{"scales by what is open", scalesByOpen},
	{"is scraped with the token", isScraped},
}

func TestInstallationsFollowTheRules(t *testing.T) {
	for name, values := range installations {
		t.Run(name, func(t *testing.T) {
			in := install(t, render(t, values))
			for _, r := range rules {
				if wrong := r.wrong(in); wrong != "" {
					t.Errorf("%s: %s", r.name, wrong)
				}
			}
		})
	}
}

func isLabelled(in installation) string {
	names := make(map[string]bool)
	for _, o := range in.all {
		l := o.GetLabels()
		if o.GetNamespace() != namespace || l["app.kubernetes.io/name"] != "wsproxy" || l["app.kubernetes.io/instance"] != release || l["helm.sh/chart"] == "" {
			return fmt.Sprintf("got %s %s/%s with labels %v", kindOf(o), o.GetNamespace(), o.GetName(), l)
		}
		key := kindOf(o) + " " + o.GetName()
		if names[key] {
			return key + " is there twice"
		}
		names[key] = true
	}
	return ""
}

func selectsPods(in installation) string {
	selectors := map[string]*meta.LabelSelector{"deployment": in.deployment.Spec.Selector}
	for i, s := range in.pod().TopologySpreadConstraints {
		selectors["spread "+strconv.Itoa(i)] = s.LabelSelector
	}
	for _, s := range each[*core.Service](in) {
		selectors["service "+s.Name] = &meta.LabelSelector{MatchLabels: s.Spec.Selector}
	}
	for _, b := range each[*policy.PodDisruptionBudget](in) {
		selectors["budget"] = b.Spec.Selector
	}
	for _, p := range each[*networking.NetworkPolicy](in) {
		selectors["policy"] = &p.Spec.PodSelector
	}
	for name, s := range selectors {
		selector, err := meta.LabelSelectorAsSelector(s)
		if err != nil || selector.Empty() || !selector.Matches(labels.Set(in.deployment.Spec.Template.Labels)) {
			return fmt.Sprintf("%s: got %v (%v), want one for pods with %v", name, selector, err, in.deployment.Spec.Template.Labels)
		}
	}
	return ""
}

func portsAreThere(in installation) string {
	var names []string
	for _, p := range in.container().Ports {
		names = append(names, p.Name)
	}
	used := make(map[string]intstr.IntOrString)
	for _, s := range each[*core.Service](in) {
		for _, p := range s.Spec.Ports {
			used["service "+s.Name+" "+p.Name] = p.TargetPort
		}
	}
	for name, p := range map[string]*core.Probe{"liveness": in.container().LivenessProbe, "readiness": in.container().ReadinessProbe, "startup": in.container().StartupProbe} {
		if p != nil && p.HTTPGet != nil {
			used[name] = p.HTTPGet.Port
		}
	}
	for _, p := range each[*networking.NetworkPolicy](in) {
		for i, r := range p.Spec.Ingress {
			for _, port := range r.Ports {
				used[fmt.Sprintf("policy %d %s", i, port.Port)] = *port.Port
			}
		}
	}
	for what, port := range used {
		if !slices.Contains(names, port.StrVal) {
			return fmt.Sprintf("%s: got port %s, want one of %q", what, port.String(), names)
		}
	}
	return ""
}

func mountsAreThere(in installation) string {
	volumes := make(map[string]bool)
	for _, v := range in.pod().Volumes {
		volumes[v.Name] = true
		if v.ConfigMap != nil && v.ConfigMap.Name != in.config.Name {
			return fmt.Sprintf("got volume of %s, want %s", v.ConfigMap.Name, in.config.Name)
		}
		if v.Secret != nil && *v.Secret.DefaultMode != 0o440 {
			return fmt.Sprintf("%s: got mode %o, want 440", v.Name, *v.Secret.DefaultMode)
		}
	}
	var config string
	for _, m := range in.container().VolumeMounts {
		if !volumes[m.Name] || !m.ReadOnly || m.SubPath != "" {
			return fmt.Sprintf("got mount %+v", m)
		}
		delete(volumes, m.Name)
		if m.Name == "config" {
			config = m.MountPath
		}
	}
	if len(volumes) > 0 {
		return fmt.Sprintf("nothing mounts %v", volumes)
	}
	folder, file := path.Split(in.container().Args[2])
	if path.Clean(folder) != config || in.config.Data[file] == "" {
		return fmt.Sprintf("got arguments %q, the configuration is in %s", in.container().Args, config)
	}
	return ""
}

// isConfined is Kubernetes' Pod Security Standard "restricted", and a root that can't be written to.
func isConfined(in installation) string {
	pod, c := in.pod(), in.container()
	switch s := c.SecurityContext; {
	case pod.HostNetwork || pod.HostPID || pod.HostIPC || pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken:
		return "it has more of the host or the cluster than it may"
	case pod.SecurityContext == nil || pod.SecurityContext.RunAsNonRoot == nil || !*pod.SecurityContext.RunAsNonRoot || *pod.SecurityContext.RunAsUser == 0:
		return "it may run as root"
	case pod.SecurityContext.SeccompProfile == nil || pod.SecurityContext.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault:
		return "no seccomp profile"
	case s == nil || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || s.Privileged != nil:
		return "it may get privileges"
	case s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem:
		return "its root can be written to"
	case s.Capabilities == nil || !slices.Equal(s.Capabilities.Drop, []core.Capability{"ALL"}) || len(s.Capabilities.Add) > 0:
		return "it has capabilities"
	}
	return ""
}

func memoryHasGoal(in installation) string {
	limits := in.container().Resources.Limits
	limit := limits.Memory()
	for _, e := range in.container().Env {
		if e.Name != "GOMEMLIMIT" {
			continue
		}
		goal, err := resource.ParseQuantity(strings.TrimSuffix(e.Value, "B"))
		if share := goal.AsApproximateFloat64() / limit.AsApproximateFloat64(); err != nil || share < 0.8 || share > 0.95 {
			return fmt.Sprintf("got goal %s (%v) and limit %s", e.Value, err, limit)
		}
		return ""
	}
	return "no GOMEMLIMIT"
}

func hasTimeToDrain(in installation) string {
	var c struct {
		Drain struct{ Timeout, Spread string }
	}
	if err := yaml.Unmarshal([]byte(in.config.Data["wsproxy.yaml"]), &c); err != nil {
		return err.Error()
	}
	needed, err := time.ParseDuration(c.Drain.Timeout)
	if err != nil {
		return err.Error()
	}
	if l := in.container().Lifecycle; l != nil {
		needed += time.Duration(l.PreStop.Sleep.Seconds) * time.Second
	}
	if got := time.Duration(*in.pod().TerminationGracePeriodSeconds) * time.Second; got < needed+10*time.Second {
		return fmt.Sprintf("got %s, want more than %s and time to flush", got, needed)
	}
	return ""
}

// probesFit holds that the kubelet reaches what it asks: an admin port on loopback only from inside the pod.
func probesFit(in installation) string {
	var c struct {
		Admin struct{ Address, Token string }
	}
	if err := yaml.Unmarshal([]byte(in.config.Data["wsproxy.yaml"]), &c); err != nil {
		return err.Error()
	}
	p := in.container().ReadinessProbe
	loopback := strings.HasPrefix(c.Admin.Address, "127.0.0.1:")
	switch {
	case loopback && (p.Exec == nil || p.Exec.Command[len(p.Exec.Command)-1] != c.Admin.Address || in.container().LivenessProbe != nil):
		return fmt.Sprintf("got %+v for %s", p, c.Admin.Address)
	case !loopback && (p.HTTPGet == nil || c.Admin.Token == ""):
		return fmt.Sprintf("got %+v for %s", p, c.Admin.Address)
	case !loopback:
		i := slices.IndexFunc(in.container().Ports, func(p core.ContainerPort) bool { return p.Name == "admin" })
		if i < 0 || fmt.Sprintf(":%d", in.container().Ports[i].ContainerPort) != c.Admin.Address {
			return fmt.Sprintf("got ports %v for %s", in.container().Ports, c.Admin.Address)
		}
	}
	return ""
}

func scalesByOpen(in installation) string {
	scalers := each[*autoscaling.HorizontalPodAutoscaler](in)
	if scaled := in.deployment.Spec.Replicas == nil; scaled != (len(scalers) == 1) {
		return fmt.Sprintf("got %d scalers, replicas left to one: %t", len(scalers), scaled)
	}
	for _, s := range scalers {
		ref, m := s.Spec.ScaleTargetRef, s.Spec.Metrics
		if ref.APIVersion != "apps/v1" || ref.Kind != "Deployment" || ref.Name != in.deployment.Name || len(m) != 1 || m[0].Pods == nil {
			return fmt.Sprintf("got %+v by %+v", ref, m)
		}
		if m[0].Pods.Metric.Name != activeConnections || *s.Spec.MinReplicas > s.Spec.MaxReplicas {
			return fmt.Sprintf("got %+v", m[0].Pods)
		}
	}
	return ""
}

func isScraped(in installation) string {
	for _, m := range each[*monitoring.ServiceMonitor](in) {
		selector, err := meta.LabelSelectorAsSelector(&m.Spec.Selector)
		if err != nil {
			return err.Error()
		}
		services := slices.DeleteFunc(each[*core.Service](in), func(s *core.Service) bool { return !selector.Matches(labels.Set(s.Labels)) })
		if len(services) != 1 || len(m.Spec.Endpoints) != 1 || services[0].Spec.Ports[0].Name != m.Spec.Endpoints[0].Port {
			return fmt.Sprintf("got %d services for %v", len(services), selector)
		}
		credentials := m.Spec.Endpoints[0].Authorization.Credentials
		for _, v := range in.pod().Volumes {
			if v.Name == "admin" && (v.Secret.SecretName != credentials.Name || v.Secret.Items[0].Key != credentials.Key) {
				return fmt.Sprintf("got credentials %v, the pod's are %v", credentials, v.Secret)
			}
		}
	}
	return ""
}
