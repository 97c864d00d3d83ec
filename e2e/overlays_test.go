//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.yaml.in/yaml/v4"
)

// overlays runs collectors with what compose.tail-sampling.yml and compose.tls.yml give theirs.
func (h *house) overlays(t *testing.T) {
	t.Run("tail sampling", h.tailSampling)
	t.Run("TLS", h.exportsByTLS)
	t.Run("both", h.bothOverlays)
}

const (
	decisionWait  = time.Second // behind the handshake
	waitingTraces = 50          // num_traces
	crowd         = 4 * waitingTraces
)

// tailSampling keeps what fails, is slow or soon ends badly, and here nothing else. Two connections stay open past their
// decision and past many more traces than the collector has in its memory: what comes of them late must share the fate of
// their handshakes, also where it would be judged differently.
func (h *house) tailSampling(t *testing.T) {
	t.Setenv("COLLECTOR_KEPT_PERCENT", "0")
	tail := "yaml:processors::tail_sampling::"
	own := h.stack.newCollector(t, "--config", configuration("tail-sampling.yaml"),
		"--config", tail+"decision_wait_after_root_received: "+decisionWait.String(), "--config", fmt.Sprint(tail, "num_traces: ", waitingTraces))
	s := h.newSettings(t)
	quick, slow := startEcho(t, h), startEcho(t, h)
	slow.delay = 2200 * time.Millisecond
	s.route("chat", nil, "ws://"+quick.plain)
	s.route("slow", nil, "ws://"+slow.plain)
	s.route("refused", nil, "ws://"+h.ports.address(t))
	s.telemetry["otlp"] = object{"endpoint": "http://" + own.grpc}
	w := h.serve(t, s)

	kept := map[string]string{"refused": h.refusedAt(t, w, "first")}
	rude := h.open(t, w, "/chat/rude", request{})
	rude.Close()
	kept["rude"] = w.traceOf(t, func(l line) bool { return l.Path == "/chat/rude" })
	patient := h.open(t, w, "/slow/patient", request{})
	kept["patient"] = w.awaitPhase(t, patient.address(), "transfer")
	stays := h.open(t, w, "/chat/stays", request{})
	dropped := w.awaitPhase(t, stays.address(), "transfer")
	for name, id := range kept {
		if trace := h.stack.jaeger.await(t, id, spansNamed()); trace.root() == nil {
			t.Errorf("%s: no root:\n%s", name, trace)
		}
	}

	h.traffic(t, w, crowd, 1)
	stays.Close() // without a Close: what is decided anew is kept
	patient.leave(t, websocket.CloseNormalClosure)
	h.stack.jaeger.await(t, kept["patient"], spansNamed(spanUpgrade, spanTransfer, spanClose))
	h.stack.jaeger.await(t, kept["rude"], spansNamed(spanUpgrade, spanTransfer, spanClose))
	w.traceOf(t, func(l line) bool { return l.Path == "/chat/stays" && l.Cause == "client_gone" })
	kept["last"] = h.refusedAt(t, w, "last")
	h.stack.jaeger.await(t, kept["last"], spansNamed())
	w.stop(t)
	own.stop(t) // what was undecided is decided
	h.wantKept(t, w, kept, dropped)
	// What is counted is not sampled.
	h.stack.prometheus.want(t, "sum("+w.of("wsproxy_connection_opened_total")+")", crowd+3)
	h.stack.prometheus.want(t, "sum("+w.of("traces_span_metrics_calls_total", "span_name", spanUpgrade)+")", crowd+3)
}

// refusedAt is the trace of a client that can't be served.
func (h *house) refusedAt(t *testing.T, w *wsproxy, name string) string {
	t.Helper()
	path := "/refused/" + name
	if _, no := h.dial(t, w, path, request{}); no == nil || no.status != 502 {
		t.Fatalf("got %+v, want a 502", no)
	}
	return w.traceOf(t, func(l line) bool { return l.Path == path })
}

// wantKept wants Jaeger to have certain traces of wsproxy's and no other.
func (h *house) wantKept(t *testing.T, w *wsproxy, kept map[string]string, dropped string) {
	t.Helper()
	ids, _, err := h.stack.jaeger.documents(t.Context(), w.service)
	if err != nil {
		t.Fatal(err)
	}
	want := slices.Sorted(maps.Values(kept))
	if slices.Sort(ids); !slices.Equal(ids, want) {
		t.Errorf("Jaeger has %q, want %q", ids, kept)
	}
	if slices.Contains(ids, dropped) {
		t.Errorf("of the trace %s, which was not kept, something came late", dropped)
	}
}

// exportsByTLS has wsproxy export with the variables of compose.tls.yml. Who shows no certificate is not let in.
func (h *house) exportsByTLS(t *testing.T) {
	if h.missing(t, "openssl") {
		return
	}
	guarded, env := h.guarded(t, "--config", configuration("nothing.yaml"))
	s := h.newSettings(t)
	delete(s.telemetry, "otlp")
	s.route("chat", nil, "ws://"+startEcho(t, h).plain)
	w := h.serve(t, s, env...)
	h.open(t, w, "/chat/private", request{}).leave(t, websocket.CloseNormalClosure)
	id := w.traceOf(t, func(l line) bool { return l.Path == "/chat/private" })
	h.stack.jaeger.await(t, id, spansNamed(spanUpgrade, spanTransfer, spanClose))
	h.stack.prometheus.want(t, w.of("wsproxy_connection_opened_total", "wsproxy_route_name", "chat"), 1)
	eventually(t, "the collector has the log", func(context.Context) error {
		if !bytes.Contains(guarded.log(t), []byte("url.path=/chat/private")) {
			return errNotYet
		}
		return nil
	})
	for _, l := range slices.Concat(complaints(guarded.log(t)), complaints(w.log(t))) {
		t.Errorf("somebody complains: %s", l)
	}

	t.Run("without a certificate", func(t *testing.T) {
		h.notLetIn(t, slices.DeleteFunc(env, func(v string) bool { return strings.Contains(v, "_CLIENT_") }))
	})
	t.Run("without TLS", func(t *testing.T) {
		h.notLetIn(t, []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://" + guarded.grpc, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"})
	})
}

// guarded is a collector with what compose.tls.yml gives it, and further arguments, and the variables with which wsproxy is let in.
func (h *house) guarded(t *testing.T, args ...string) (c *collector, env []string) {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "tls")
	if out, err := exec.CommandContext(t.Context(), configuration("certificates"), folder).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Setenv("COLLECTOR_TLS_FOLDER", folder)
	c = h.stack.newCollector(t, append([]string{"--config", configuration("tls.yaml")}, args...)...)
	return c, overlayEnvironment(t, "compose.tls.yml", strings.NewReplacer("/etc/wsproxy/tls", folder, "otel-collector:4317", c.grpc))
}

// bothOverlays has what comes by TLS sampled.
func (h *house) bothOverlays(t *testing.T) {
	if h.missing(t, "openssl") {
		return
	}
	t.Setenv("COLLECTOR_KEPT_PERCENT", "0")
	own, env := h.guarded(t, "--config", configuration("tail-sampling.yaml"),
		"--config", "yaml:processors::tail_sampling::decision_wait_after_root_received: "+decisionWait.String())
	s := h.newSettings(t)
	delete(s.telemetry, "otlp")
	s.route("chat", nil, "ws://"+startEcho(t, h).plain)
	s.route("refused", nil, "ws://"+h.ports.address(t))
	w := h.serve(t, s, env...)
	h.open(t, w, "/chat/fine", request{}).leave(t, websocket.CloseNormalClosure)
	dropped := w.traceOf(t, func(l line) bool { return l.Path == "/chat/fine" })
	kept := map[string]string{"refused": h.refusedAt(t, w, "once")}
	h.stack.jaeger.await(t, kept["refused"], spansNamed())
	w.stop(t)
	own.stop(t)
	h.wantKept(t, w, kept, dropped)
}

// notLetIn has a wsproxy lose what it exports, and say so.
func (h *house) notLetIn(t *testing.T, env []string) {
	s := h.newSettings(t)
	delete(s.telemetry, "otlp")
	s.route("chat", nil, "ws://"+startEcho(t, h).plain)
	w := h.serve(t, s, slices.Concat(env, hasty)...)
	h.traffic(t, w, 1, 1)
	for _, signal := range []string{"traces", "metrics", "logs"} {
		eventually(t, "the loss of "+signal+" is told", func(ctx context.Context) error { return w.losing(ctx, signal) })
	}
	services, err := h.stack.jaeger.services(t.Context())
	if err != nil || slices.Contains(services, w.service) {
		t.Errorf("Jaeger has %q, %v", services, err)
	}
}

// overlayEnvironment are wsproxy's variables in an overlay, with places and hosts put in for those of containers.
func overlayEnvironment(t *testing.T, file string, here *strings.Replacer) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", file))
	if err != nil {
		t.Fatal(err)
	}
	var overlay struct {
		Services map[string]struct{ Environment map[string]string }
	}
	err = yaml.Unmarshal(text, &overlay)
	if err == nil && len(overlay.Services["wsproxy"].Environment) == 0 {
		err = errors.New("wsproxy has no environment")
	}
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	var env []string
	for name, value := range overlay.Services["wsproxy"].Environment {
		env = append(env, name+"="+here.Replace(value))
	}
	return env
}
