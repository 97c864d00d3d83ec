package stack_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v3"
)

// The image reads its configuration where docker-compose.yml puts it.
func TestConfigurationIsWhereTheImageLooks(t *testing.T) {
	for _, v := range loadProject(t, whole).Services["wsproxy"].Volumes {
		if v.Target == "/etc/wsproxy/wsproxy.yaml" {
			return
		}
	}
	t.Error("no configuration is mounted at /etc/wsproxy/wsproxy.yaml")
}

// Hosts in the mounted configuration are services.
func TestConfigurationNamesServices(t *testing.T) {
	p := loadProject(t, whole)
	address := regexp.MustCompile(`\b([a-z][a-z-]+):(\d{4,5})\b`)
	found := 0
	for name, s := range p.Services {
		for _, file := range mountedYAML(t, s) {
			for _, a := range address.FindAllStringSubmatch(string(readFile(t, file)), -1) {
				found++
				if _, ok := p.Services[a[1]]; !ok {
					t.Errorf("%s: %s names %s, which is no service", name, filepath.Base(file), a[0])
				}
			}
		}
	}
	if found < 5 {
		t.Errorf("got %d addresses, want more: they are not found", found)
	}
}

func mountedYAML(t *testing.T, s types.ServiceConfig) []string {
	t.Helper()
	var files []string
	for _, v := range s.Volumes {
		if v.Type != types.VolumeTypeBind {
			continue
		}
		err := filepath.WalkDir(v.Source, func(path string, _ fs.DirEntry, err error) error {
			if filepath.Ext(path) == ".yaml" {
				files = append(files, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// Grafana finds its dashboards where they are mounted.
func TestGrafanaFindsItsDashboards(t *testing.T) {
	var file struct {
		Providers []struct{ Options struct{ Path string } }
	}
	readYAML(t, "grafana/providers/wsproxy.yaml", &file)
	grafana := loadProject(t, whole).Services["grafana"]
	paths := []string{*grafana.Environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]}
	for _, p := range file.Providers {
		paths = append(paths, p.Options.Path)
	}
	for _, path := range paths {
		if !slices.ContainsFunc(grafana.Volumes, func(v types.ServiceVolumeConfig) bool {
			inside, ok := strings.CutPrefix(path, v.Target)
			_, err := os.Stat(v.Source + inside)
			return ok && v.Type == types.VolumeTypeBind && err == nil
		}) {
			t.Errorf("nothing is mounted at %s", path)
		}
	}
}

// Prometheus is started with the flags that its configuration says it needs.
func TestPrometheusHasItsFlags(t *testing.T) {
	needs := regexp.MustCompile(`--[a-z][a-z.-]+(?:=[\w,-]+\w)?`).FindAllString(string(readFile(t, "prometheus.yaml")), -1)
	if len(needs) < 2 {
		t.Fatalf("got %q, want flags", needs)
	}
	command := loadProject(t, whole).Services["prometheus"].Command
	for _, flag := range needs {
		if !slices.Contains(command, flag) {
			t.Errorf("docker-compose.yml: got %q, want %s", command, flag)
		}
	}
}

// An engine that stops a container before it has drained cuts its connections.
func TestDrainFitsIntoTheGracePeriod(t *testing.T) {
	var file struct {
		Drain struct{ Timeout string }
	}
	readYAML(t, "wsproxy.yaml", &file)
	drain, err := time.ParseDuration(file.Drain.Timeout)
	if err != nil {
		t.Fatal(err)
	}
	grace := loadProject(t, whole).Services["wsproxy"].StopGracePeriod
	// What is left is for connections that were cut and for telemetry.
	if grace == nil || time.Duration(*grace) < drain+10*time.Second {
		t.Errorf("got stop_grace_period %v, want 10s more than drain.timeout, %v", grace, drain)
	}
}

func readYAML(t *testing.T, file string, into any) {
	t.Helper()
	if err := yaml.Unmarshal(readFile(t, file), into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}
