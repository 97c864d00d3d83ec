package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// build makes the program that is installed.
func build(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "wsproxy")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./cmd/wsproxy")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return program
}

// run is what the program prints; it must not fail.
func run(t *testing.T, program string, arguments ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program, arguments...).CombinedOutput()
	if err != nil {
		t.Errorf("%s %q: %v: %s", filepath.Base(program), arguments, err, out)
	}
	return string(out)
}

func TestProgramTakesWhatIsInstalled(t *testing.T) {
	program := build(t)
	t.Run("packages", func(t *testing.T) { run(t, program, "check", "packages/wsproxy.yaml") })
	t.Run("unit", func(t *testing.T) {
		arguments := strings.Fields(unit(t).one(t, "Service", "ExecStart"))
		run(t, program, append(arguments[1:], "--help")...) // help comes only after the other flags were understood
	})
	for name, values := range installations {
		t.Run(name, func(t *testing.T) {
			in := install(t, render(t, values))
			run(t, program, "check", laidOut(t, in))
			c := in.container()
			run(t, program, append(c.Args, "--help")...)
			if p := c.ReadinessProbe; p.Exec != nil {
				run(t, program, append(p.Exec.Command[1:], "--help")...)
			}
		})
	}
}

// laidOut writes the pod's files, the secrets made up, and returns the path of the configuration.
func laidOut(t *testing.T, in installation) string {
	t.Helper()
	folder := t.TempDir()
	config := in.config.Data["wsproxy.yaml"]
	for _, m := range in.container().VolumeMounts {
		config = strings.ReplaceAll(config, m.MountPath+"/", folder+m.MountPath+"/")
	}
	certificate, key := certificate(t)
	for name, text := range map[string][]byte{
		"/run/secrets/wsproxy-tls/tls.crt": certificate,
		"/run/secrets/wsproxy-tls/tls.key": key,
		"/run/secrets/egress/user":         []byte("name:word"),
		"/run/admin/token":                 []byte("a-token-of-some-length"),
		"/run/admin/bearer":                []byte("a-token-of-some-length"),
		"/etc/wsproxy/wsproxy.yaml":        []byte(config),
	} {
		write(t, folder+name, text)
	}
	return folder + "/etc/wsproxy/wsproxy.yaml"
}

func write(t *testing.T, name string, text []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestScaledByAMetricThatIs(t *testing.T) {
	var schema struct{ Metrics []struct{ Name string } }
	if err := yaml.Unmarshal([]byte(readFile(t, root+"/telemetry/schema.yaml")), &schema); err != nil {
		t.Fatal(err)
	}
	for _, m := range schema.Metrics {
		if strings.ReplaceAll(m.Name, ".", "_") == activeConnections {
			return
		}
	}
	t.Errorf("telemetry/schema.yaml has no %s among %d metrics", activeConnections, len(schema.Metrics))
}
