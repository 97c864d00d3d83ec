//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// services are those of docker-compose.yml that can run here: Grafana can't be had.
var services = []string{"wsproxy", "demo-upstream", "otel-collector", "jaeger", "prometheus"}

// compose runs docker-compose.yml on an engine, with images of the same names made from the programs that are
// tested here, and does what a newcomer does: talks to wsproxy, looks into Jaeger and Prometheus, stops it.
func (h *house) compose(t *testing.T) {
	if h.missing(t, telemetryPeers...) || h.missing(t, "promtool") {
		return
	}
	e := startEngine(t, h)
	if e == nil {
		return
	}
	h.buildImages(t, e)
	e.checkImage(t)
	if _, err := e.compose(t.Context(), append([]string{"up", "--detach", "--no-build"}, services...)...); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if t.Failed() {
			out, _ := e.compose(context.WithoutCancel(t.Context()), "logs", "--no-color", "--tail", "15")
			t.Log(out)
		}
		if out, err := e.compose(context.WithoutCancel(t.Context()), "down", "--volumes", "--timeout", "10"); err != nil {
			t.Error(err, out)
		}
	}()
	for _, s := range services {
		e.awaitHealth(t, s)
	}
	c := e.client(t)
	for range 3 {
		if err := c.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		if _, got, err := c.ReadMessage(); err != nil || string(got) != "hello" {
			t.Fatalf("got %q, %v, want the message back", got, err)
		}
	}
	e.seen(t)
	e.stopsByDraining(t, c)
}

// buildImages makes wsproxy's image as the Dockerfile's last stage does, and the others from nothing.
func (h *house) buildImages(t *testing.T, e *engine) {
	t.Helper()
	text, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	_, last, ok := strings.Cut(string(text), "\nFROM scratch\n")
	if !ok {
		t.Fatal("the Dockerfile has no last stage from scratch")
	}
	copied := regexp.MustCompile(`(?m)^COPY --from=build \S+ (\S+)\n`)
	passwd := filepath.Join(t.TempDir(), "passwd")
	if err := os.WriteFile(passwd, []byte("wsproxy:x:65532:65532::/:/\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	have := map[string]string{"/wsproxy": h.binary, "/etc/passwd": passwd, "/etc/ssl/certs/ca-certificates.crt": h.caFile}
	files := make(map[string]string)
	for _, m := range copied.FindAllStringSubmatch(last, -1) {
		if have[m[1]] == "" {
			t.Fatalf("the Dockerfile copies %s, which is not known here", m[1])
		}
		files[m[1]] = have[m[1]]
	}
	instructions := copied.ReplaceAllString(last, "")
	for _, name := range []string{"wsproxy:local", "wsproxy-demo-upstream:local"} {
		e.image(t, name, files, instructions)
	}
	config, err := e.compose(t.Context(), "config")
	if err != nil {
		t.Fatal(err)
	}
	for name, files := range map[string]map[string]string{
		"otel/opentelemetry-collector-contrib": {"/program": h.programs["collector"]},
		"jaegertracing/jaeger":                 {"/program": h.programs["jaeger"], "/bin/wget": h.programs["busybox"]},
		"prom/prometheus":                      {"/program": h.programs["prometheus"], "/bin/promtool": h.programs["promtool"]},
	} {
		full := regexp.MustCompile(regexp.QuoteMeta(name) + `:\S+`).FindString(config)
		if full == "" {
			t.Fatalf("docker-compose.yml has no image %s", name)
		}
		e.image(t, full, files, "ENTRYPOINT [\"/program\"]\n")
	}
}

const maxImage = 40_000_000

func (e *engine) checkImage(t *testing.T) {
	t.Helper()
	out, err := e.docker(t.Context(), "image", "inspect", "--format", "{{.Size}} {{.Config.User}}", "wsproxy:local")
	if err != nil {
		t.Fatal(err)
	}
	size, user, _ := strings.Cut(out, " ")
	if n, err := strconv.Atoi(size); err != nil || n > maxImage {
		t.Errorf("got an image of %s bytes, want at most %d", size, maxImage)
	}
	if user == "" || strings.HasPrefix(user, "0") {
		t.Errorf("got user %q, want one that is not root", user)
	}
}

func (e *engine) container(service string) string { return "wsproxy_" + service + "_1" }

// awaitHealth waits until a service's own health check passes; one without only has to run.
func (e *engine) awaitHealth(t *testing.T, service string) {
	t.Helper()
	eventuallyWithin(t, time.Minute, service+" is healthy", func(ctx context.Context) error {
		out, err := e.docker(ctx, "inspect", "--format", "{{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{end}}", e.container(service))
		if err == nil && out != "running" && out != "running healthy" {
			err = fmt.Errorf("it is %s", out)
		}
		return err
	})
}

func (e *engine) client(t *testing.T) *websocket.Conn {
	t.Helper()
	d := websocket.Dialer{NetDialContext: e.dial, HandshakeTimeout: patience}
	c, resp, err := d.DialContext(t.Context(), "ws://127.0.0.1:8080/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	t.Cleanup(func() { c.Close() })
	return c
}

// seen looks where the head of docker-compose.yml says.
func (e *engine) seen(t *testing.T) {
	t.Helper()
	eventually(t, "Jaeger has the handshake", func(ctx context.Context) error {
		var found struct {
			Data []struct {
				Spans []struct{ OperationName string }
			}
		}
		if err := e.ask(ctx, "http://127.0.0.1:16686/api/traces?service=wsproxy&operation="+url.QueryEscape("websocket upgrade"), &found); err != nil {
			return err
		}
		if len(found.Data) != 1 || len(found.Data[0].Spans) < 3 {
			return fmt.Errorf("got %+v, want one trace", found.Data)
		}
		return nil
	})
	eventuallyWithin(t, time.Minute, "Prometheus has the messages", func(ctx context.Context) error {
		var found struct {
			Data struct{ Result []struct{ Value [2]any } }
		}
		query := url.QueryEscape(`sum by (wsproxy_direction) (wsproxy_messages_total{wsproxy_route_name="demo"})`)
		if err := e.ask(ctx, "http://127.0.0.1:9090/api/v1/query?query="+query, &found); err != nil {
			return err
		}
		if r := found.Data.Result; len(r) != 2 || r[0].Value[1] != "3" || r[1].Value[1] != "3" {
			return fmt.Errorf("got %+v, want 3 each way", r)
		}
		return nil
	})
}

func (e *engine) ask(ctx context.Context, url string, into any) error {
	body, err := getWith(ctx, e.web, url)
	if err != nil {
		return err
	}
	return json.Unmarshal(body, into)
}

// stopsByDraining stops the container as an engine does: the client gets its Close and the program ends by itself.
func (e *engine) stopsByDraining(t *testing.T, c *websocket.Conn) {
	t.Helper()
	closed := make(chan error, 1)
	go func() {
		_, _, err := c.ReadMessage() // answers the Close
		closed <- err
	}()
	if _, err := e.compose(t.Context(), "stop", "wsproxy"); err != nil {
		t.Fatal(err)
	}
	if err := <-closed; !websocket.IsCloseError(err, websocket.CloseServiceRestart) {
		t.Errorf("the client got %v, want a Close with 1012", err)
	}
	out, err := e.docker(t.Context(), "inspect", "--format", "{{.State.ExitCode}}", e.container("wsproxy"))
	if err != nil || out != "0" {
		t.Errorf("got exit code %s, %v, want 0", out, err)
	}
}
