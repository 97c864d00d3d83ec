package stack_test

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
)

// overlays are the files that go on top of docker-compose.yml.
func overlays(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(root + "/compose.*.yml")
	if err != nil || len(files) == 0 {
		t.Fatalf("got %q, %v, want overlays", files, err)
	}
	return files
}

func TestOverlaysFollowTheRules(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "tls")
	if out, err := exec.CommandContext(t.Context(), "./certificates", folder).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	base := loadProject(t, whole)
	for _, files := range combinations(t) {
		p := loadProject(t, append(whole, files...), "WSPROXY_TLS_FOLDER="+folder)
		if len(p.Services) != len(base.Services) {
			t.Errorf("%s: got %d services, want docker-compose.yml's %d", files, len(p.Services), len(base.Services))
		}
		for name, s := range p.Services {
			for _, r := range rules() {
				if wrong := r.wrong(ourMounts(s, folder)); wrong != "" {
					t.Errorf("%s, %s: %s: %s", files, name, r.name, wrong)
				}
			}
		}
	}
}

// combinations are the overlays one by one, and all of them in either order.
func combinations(t *testing.T) [][]string {
	all := overlays(t)
	reversed := slices.Clone(all)
	slices.Reverse(reversed)
	combined := [][]string{all, reversed}
	for _, file := range all {
		combined = append(combined, []string{file})
	}
	return combined
}

// The collector gets what each overlay has for it, whichever others there are, and nothing of one that is not used.
func TestOverlaysCombine(t *testing.T) {
	for _, files := range append(combinations(t), nil) {
		collector := loadProject(t, append(whole, files...)).Services["otel-collector"]
		for _, name := range []string{"tls", "tail-sampling"} {
			want := "nothing.yaml"
			if slices.Contains(files, root+"/compose."+name+".yml") {
				want = name + ".yaml"
			}
			inside := "/etc/otelcol/" + name + ".yaml"
			at := slices.IndexFunc(collector.Volumes, func(v types.ServiceVolumeConfig) bool { return v.Target == inside })
			if at < 0 || collector.Volumes[at].Source != absolute(want) || !slices.Contains(collector.Command, "--config="+inside) {
				t.Errorf("%q: got %q with %+v, want %s at %s", files, collector.Command, collector.Volumes, want, inside)
			}
		}
	}
}

// ourMounts is a service without the mounts that the user has made the files for, but no less confined.
func ourMounts(s types.ServiceConfig, folder string) types.ServiceConfig {
	var ours []types.ServiceVolumeConfig
	for _, v := range s.Volumes {
		if v.Type == types.VolumeTypeBind && v.ReadOnly && strings.HasPrefix(v.Source, folder+string(filepath.Separator)) {
			continue
		}
		ours = append(ours, v)
	}
	s.Volumes = ours
	return s
}

// Of every file that a configuration or a variable names, one is mounted; without variables from a folder that git does not see.
func TestOverlayMountsCertificates(t *testing.T) {
	p := loadProject(t, append(whole, root+"/compose.tls.yml"))
	for service, names := range map[string][]string{
		"wsproxy":        {"ca.pem", "wsproxy.pem", "wsproxy-key.pem"},
		"otel-collector": {"ca.pem", "collector.pem", "collector-key.pem"},
	} {
		mounted := make(map[string]string)
		for _, v := range p.Services[service].Volumes {
			mounted[v.Target] = v.Source
		}
		inside := map[string]string{"wsproxy": "/etc/wsproxy/tls/", "otel-collector": "/etc/otelcol/tls/"}[service]
		for _, name := range names {
			if got, want := mounted[inside+name], absolute(filepath.Join(root, "tls", name)); got != want {
				t.Errorf("%s: at %s got %q, want %q", service, inside+name, got, want)
			}
		}
	}
	mine := p.Services["wsproxy"].Environment
	for _, name := range []string{"CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"} {
		value := mine["OTEL_EXPORTER_OTLP_"+name]
		if value == nil || !strings.HasPrefix(*value, "/etc/wsproxy/tls/") {
			t.Errorf("got OTEL_EXPORTER_OTLP_%s %v", name, value)
		}
	}
}

func TestOldComposeReadsTheOverlays(t *testing.T) {
	for _, file := range overlays(t) {
		var parsed map[string]any
		readYAML(t, file, &parsed)
		if len(parsed) != 1 || parsed["services"] == nil {
			t.Errorf("%s: got more than services", file)
		}
	}
}

// A decision must outlive its trace's last span, by far.
func TestDecisionsOutliveTraces(t *testing.T) {
	var c struct {
		Processors struct {
			Tail struct {
				Traces int `yaml:"num_traces"`
				Cache  struct {
					Sampled    int `yaml:"sampled_cache_size"`
					NonSampled int `yaml:"non_sampled_cache_size"`
				} `yaml:"decision_cache"`
			} `yaml:"tail_sampling"`
		}
	}
	readYAML(t, "tail-sampling.yaml", &c)
	tail := c.Processors.Tail
	if tail.Traces == 0 || tail.Cache.Sampled < 10*tail.Traces || tail.Cache.NonSampled < 50*tail.Traces {
		t.Errorf("got %+v, want caches far larger than num_traces", tail)
	}
}
