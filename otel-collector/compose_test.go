// Package stack_test holds the files that run wsproxy beside its collector to their rules, without an engine.
//
// Run it with -count=1: go test does not see that a file outside of the module has changed.
package stack_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

const (
	root        = ".."
	composeFile = root + "/docker-compose.yml"
)

// whole is the stack without overlays.
var whole = []string{composeFile}

// loadProject reads files as `docker compose -f … -f …` does, with variables as NAME=VALUE.
func loadProject(t *testing.T, files []string, variables ...string) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions(files, cli.WithName("wsproxy"), cli.WithEnv(variables), cli.WithResolvedPaths(true))
	if err != nil {
		t.Fatal(err)
	}
	p, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// rule says what is wrong with a service, if anything.
type rule struct {
	name  string
	wrong func(types.ServiceConfig) string
}

func rules() []rule {
	return []rule{
		{"image is pinned", imageIsPinned},
		{"ports are on loopback", portsAreOnLoopback},
		{"limits are set", limitsAreSet},
		{"is confined", isConfined},
		{"mounts are ours", mountsAreOurs},
		{"restarts", restarts},
		{"health is checked", healthIsChecked},
		{"configuration is mounted", configurationIsMounted},
	}
}

func TestServicesFollowTheRules(t *testing.T) {
	p := loadProject(t, whole)
	for _, want := range []string{"wsproxy", "demo-upstream", "otel-collector", "jaeger", "prometheus", "grafana"} {
		if _, ok := p.Services[want]; !ok {
			t.Errorf("got no service %s", want)
		}
	}
	for name, s := range p.Services {
		for _, r := range rules() {
			if wrong := r.wrong(s); wrong != "" {
				t.Errorf("%s: %s: %s", name, r.name, wrong)
			}
		}
	}
}

func imageIsPinned(s types.ServiceConfig) string {
	_, tag, _ := strings.Cut(s.Image, ":")
	switch {
	case s.Build != nil && s.Build.Context != absolute(root):
		return "it is built from " + s.Build.Context
	case s.Build == nil && !regexp.MustCompile(`^v?\d+\.\d+\.\d+$`).MatchString(tag):
		return fmt.Sprintf("got %q, want a full version", s.Image)
	}
	return ""
}

func portsAreOnLoopback(s types.ServiceConfig) string {
	for _, p := range s.Ports {
		if p.HostIP != "127.0.0.1" || p.Published != fmt.Sprint(p.Target) {
			return fmt.Sprintf("got %s:%s:%d, want 127.0.0.1 and the same port on both sides", p.HostIP, p.Published, p.Target)
		}
	}
	return ""
}

func limitsAreSet(s types.ServiceConfig) string {
	switch {
	case s.MemLimit <= 0:
		return "no mem_limit"
	case s.Logging == nil || s.Logging.Options["max-size"] == "" || s.Logging.Options["max-file"] == "":
		return "the log has no bound"
	}
	return ""
}

func isConfined(s types.ServiceConfig) string {
	switch {
	case s.Privileged || s.NetworkMode != "" || s.Pid != "" || s.Ipc != "" || len(s.CapAdd) > 0 || len(s.Devices) > 0:
		return "it shares more of the host than it may"
	case !s.ReadOnly:
		return "no read_only"
	case !slices.Equal(s.CapDrop, []string{"ALL"}):
		return fmt.Sprintf("got cap_drop %q, want ALL", s.CapDrop)
	case !slices.Contains(s.SecurityOpt, "no-new-privileges:true"):
		return "no no-new-privileges"
	case s.User == "root" || strings.HasPrefix(s.User, "0"):
		return "it runs as root"
	}
	return ""
}

func mountsAreOurs(s types.ServiceConfig) string {
	for _, v := range s.Volumes {
		if v.Type != types.VolumeTypeBind {
			continue
		}
		inside := strings.HasPrefix(v.Source, absolute(root)+string(filepath.Separator))
		if _, err := os.Stat(v.Source); err != nil || !inside || !v.ReadOnly {
			return fmt.Sprintf("got %s (read_only: %t, %v), want a file of the repository that is there, read only", v.Source, v.ReadOnly, err)
		}
	}
	return ""
}

func restarts(s types.ServiceConfig) string {
	if s.Restart != types.RestartPolicyUnlessStopped {
		return fmt.Sprintf("got %q, want %q", s.Restart, types.RestartPolicyUnlessStopped)
	}
	return ""
}

// healthIsChecked lets off what is checked by its image, and the collector, whose image has no program that could ask.
func healthIsChecked(s types.ServiceConfig) string {
	ours := s.Build != nil && len(s.Command) == 0
	if s.HealthCheck == nil && !ours && !strings.HasPrefix(s.Image, "otel/opentelemetry-collector") {
		return "no healthcheck"
	}
	if s.HealthCheck != nil && (s.HealthCheck.Disable || len(s.HealthCheck.Test) < 2 || s.HealthCheck.Test[0] != "CMD") {
		return fmt.Sprintf("got %q, want a program to run", s.HealthCheck.Test)
	}
	return ""
}

// configurationIsMounted finds files that a command names, which no image has.
func configurationIsMounted(s types.ServiceConfig) string {
	for _, argument := range s.Command {
		_, file, ok := strings.Cut(argument, "=")
		if !ok || !strings.HasSuffix(file, ".yaml") {
			continue
		}
		if !slices.ContainsFunc(s.Volumes, func(v types.ServiceVolumeConfig) bool { return v.Target == file }) {
			return file + " is not mounted"
		}
	}
	return ""
}

func absolute(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	return abs
}

func TestRulesFindProblems(t *testing.T) {
	const right = `
services:
  a:
    image: a:1.2.3
    command: ["--config=/c.yaml"]
    ports: ["127.0.0.1:80:80"]
    volumes: ["` + composeFile + `:/c.yaml:ro"]
    mem_limit: 1m
    logging: {driver: json-file, options: {max-size: 1m, max-file: "1"}}
    read_only: true
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
    restart: unless-stopped
    healthcheck: {test: [CMD, "true"]}
`
	cases := map[string]struct{ from, to, broken string }{
		"right":                {"", "", ""},
		"no tag":               {"a:1.2.3", "a", "image is pinned"},
		"latest":               {"a:1.2.3", "a:latest", "image is pinned"},
		"half a version":       {"a:1.2.3", "a:1.2", "image is pinned"},
		"port on all":          {"127.0.0.1:80:80", "80:80", "ports are on loopback"},
		"other port":           {"127.0.0.1:80:80", "127.0.0.1:81:80", "ports are on loopback"},
		"no memory limit":      {"mem_limit: 1m", "", "limits are set"},
		"endless log":          {"max-size: 1m, ", "", "limits are set"},
		"writable":             {"read_only: true", "", "is confined"},
		"capabilities":         {"cap_drop: [ALL]", "", "is confined"},
		"new privileges":       {`security_opt: ["no-new-privileges:true"]`, "", "is confined"},
		"privileged":           {"mem_limit", "privileged: true\n    mem_limit", "is confined"},
		"root":                 {"mem_limit", "user: root\n    mem_limit", "is confined"},
		"writable mount":       {"/c.yaml:ro", "/c.yaml", "mounts are ours"},
		"docker.sock":          {composeFile + ":", "/var/run/docker.sock:", "mounts are ours"},
		"missing file":         {composeFile, composeFile + ".missing", "mounts are ours"},
		"always restarts":      {"unless-stopped", "always", "restarts"},
		"no health check":      {`healthcheck: {test: [CMD, "true"]}`, "", "health is checked"},
		"no health":            {`{test: [CMD, "true"]}`, "{disable: true}", "health is checked"},
		"configuration absent": {"--config=/c.yaml", "--config=/d.yaml", "configuration is mounted"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "compose.yaml")
			text := strings.ReplaceAll(strings.Replace(right, tc.from, tc.to, 1), composeFile, absolute(composeFile))
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			var broken []string
			for _, r := range rules() {
				if r.wrong(loadProject(t, []string{file}).Services["a"]) != "" {
					broken = append(broken, r.name)
				}
			}
			if got := strings.Join(broken, ", "); got != tc.broken {
				t.Errorf("got broken %q, want %q", got, tc.broken)
			}
		})
	}
}

func TestImagesAndPortsAreOnesOwn(t *testing.T) {
	images, ports := make(map[string]string), make(map[string]string)
	for name, s := range loadProject(t, whole).Services {
		if other := images[s.Image]; other != "" && s.Build != nil {
			t.Errorf("%s and %s are built as %s: two builds of one name at a time can fail", name, other, s.Image)
		}
		images[s.Image] = name
		for _, p := range s.Ports {
			if other := ports[p.Published]; other != "" {
				t.Errorf("%s and %s both publish %s", name, other, p.Published)
			}
			ports[p.Published] = name
		}
	}
}

// Docker-compose 1.29, which distributions still have, refuses other keys.
func TestOldComposeReadsTheFile(t *testing.T) {
	var file map[string]any
	readYAML(t, composeFile, &file)
	for key := range file {
		if key != "services" && key != "volumes" && !strings.HasPrefix(key, "x-") {
			t.Errorf("got top key %s", key)
		}
	}
}
