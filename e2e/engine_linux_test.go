//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// engine is a Docker engine of our own, in a network and a mount namespace of its own: the ports that
// compose publishes on loopback are published there, and nothing of it is left when it ends.
type engine struct {
	*process
	folder string
	web    *http.Client // inside
}

// enginePeers are the programs that an engine needs.
var enginePeers = []string{"dockerd", "docker", "docker-compose", "iptables", "ip", "busybox"}

// startEngine returns nil where the kernel lacks something that an engine needs; when strict, the test fails.
func startEngine(t *testing.T, h *house) *engine {
	t.Helper()
	if h.missing(t, enginePeers...) {
		return nil
	}
	if os.Geteuid() != 0 {
		withoutPrivilege(t, "not root")
	}
	e := &engine{folder: t.TempDir()}
	script := `ip link set lo up && exec "$0" --data-root "$1/data" --exec-root "$1/exec" --pidfile "$1/pid" --host "unix://$1/socket"`
	e.process = start(t, "dockerd", nil, "unshare", "--net", "--mount", "--propagation", "private", "--",
		"sh", "-c", script, h.programs["dockerd"], e.folder)
	e.shown = 0 // it warns of much that is not there
	err := attempt(t.Context(), patience, func(ctx context.Context) error {
		if !e.running() {
			return nil
		}
		_, err := e.docker(ctx, "info")
		return err
	})
	if err != nil || !e.running() {
		withoutPrivilege(t, fmt.Sprintf("no engine runs here: %v\n%s", err, tail(e.log(t), 5)))
	}
	e.web = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: e.dial}}
	return e
}

// dial connects inside the engine's network namespace.
func (e *engine) dial(ctx context.Context, network, address string) (net.Conn, error) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", e.cmd.Process.Pid))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return (&namespace{file: file}).dial(ctx, network, address)
}

func (e *engine) docker(ctx context.Context, args ...string) (string, error) {
	return e.command(ctx, "docker", args...)
}

// compose runs docker-compose on the repository's file.
func (e *engine) compose(ctx context.Context, args ...string) (string, error) {
	return e.command(ctx, "docker-compose", append([]string{"--project-directory", "..", "--file", "../docker-compose.yml", "--project-name", "wsproxy"}, args...)...)
}

func (e *engine) command(ctx context.Context, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(environment(), "DOCKER_HOST=unix://"+filepath.Join(e.folder, "socket"), "DOCKER_BUILDKIT=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out)), err
}

// image builds an image from nothing: files by their path in it, and the instructions behind them.
func (e *engine) image(t *testing.T, name string, files map[string]string, instructions string) {
	t.Helper()
	folder := t.TempDir()
	var text strings.Builder
	text.WriteString("FROM scratch\n")
	for path, file := range files {
		base := filepath.Base(path)
		if err := os.Link(file, filepath.Join(folder, base)); err != nil {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(folder, base), data, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		fmt.Fprintf(&text, "COPY [%q, %q]\n", base, path)
	}
	if err := os.WriteFile(filepath.Join(folder, "Dockerfile"), []byte(text.String()+instructions), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := e.docker(t.Context(), "build", "--quiet", "--tag", name, folder); err != nil {
		t.Fatal(err)
	}
}
