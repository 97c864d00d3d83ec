//go:build e2e

package e2e

import (
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// interception has wsproxy make a CA, and clients that trust it have their wss seen. What is no WebSocket passes.
func (h *house) interception(t *testing.T) {
	ca, key := h.interceptionCA(t)
	e := startEcho(t, h)
	s := h.newSettings(t)
	s.forward = object{
		"allow": []string{"127.0.0.0/8"},
		"intercept": object{
			"hosts": []string{"localhost", "127.0.0.1"}, "ca": object{"cert": ca, "key": key}, "upstream_ca": h.caFile,
		},
	}
	w := h.serve(t, s)
	wss := strings.Replace("wss://"+e.secure, "127.0.0.1", "localhost", 1)
	for _, c := range h.travellers(t) {
		for _, scheme := range c.schemes {
			t.Run(c.name+" by "+scheme, func(t *testing.T) {
				path := "/" + c.name + "-" + scheme
				if got, want := c.visit(t, wss+path, &url.URL{Scheme: scheme, Host: w.plain}, ca), (journey{"hello", 1000}); got != want {
					t.Errorf("got %+v, want %+v", got, want)
				}
				w.traceOf(t, func(l line) bool { return l.Path == path && l.Tunnel == "websocket" && l.Intercepted })
			})
		}
	}
	t.Run("curl", func(t *testing.T) { h.curlIntercepted(t, w, e, ca) })
	t.Run("in Jaeger", func(t *testing.T) { h.checkIntercepted(t, w, wss, ca) })
}

// interceptionCA is one for localhost that wsproxy has made.
func (h *house) interceptionCA(t *testing.T) (cert, key string) {
	t.Helper()
	folder := t.TempDir()
	cert, key = filepath.Join(folder, "ca.pem"), filepath.Join(folder, "ca-key.pem")
	if code, out := h.run(t, folder, "ca", "--cert", cert, "--key", key, "--domain", "localhost"); code != 0 || !strings.Contains(out, cert) {
		t.Fatalf("wsproxy ca: got %d and %s", code, out)
	}
	return cert, key
}

// curlIntercepted sends what is no upgrade, and TLS to a name that the CA can't vouch for.
func (h *house) curlIntercepted(t *testing.T, w *wsproxy, e *echo, ca string) {
	if h.missing(t, "curl") {
		return
	}
	port := e.secure[strings.LastIndex(e.secure, ":"):]
	for name, c := range map[string]struct {
		args []string
		code string
		exit int
	}{
		"a request":                   {[]string{"--cacert", ca, "https://localhost" + port + "/"}, "200", 0},
		"two on one connection":       {[]string{"--cacert", ca, "https://localhost" + port + "/", "-o", "/dev/null", "https://localhost" + port + "/"}, "200200", 0},
		"without the CA":              {[]string{"--cacert", h.caFile, "https://localhost" + port + "/"}, "000", 60},
		"a host that is not its CA's": {[]string{"--cacert", ca, "https://127.0.0.1" + port + "/"}, "000", 60},
	} {
		cmd := exec.CommandContext(t.Context(), h.programs["curl"], append([]string{"-x", "http://" + w.plain, "-m", "20", "-sS", "-o", "/dev/null", "-w", "%{http_code}"}, c.args...)...)
		out, err := cmd.Output()
		if string(out) != c.code || cmd.ProcessState.ExitCode() != c.exit {
			t.Errorf("%s: got %s, %v, want %s and exit code %d", name, out, err, c.code, c.exit)
		}
	}
}

// checkIntercepted looks at the traces of a WebSocket, and of a client that does not trust the CA.
func (h *house) checkIntercepted(t *testing.T, w *wsproxy, wss, ca string) {
	proxy := &url.URL{Scheme: "http", Host: w.plain}
	gorillaThrough(t, wss+"/seen", proxy, ca)
	trace := h.stack.jaeger.await(t, w.traceOf(t, func(l line) bool { return l.Path == "/seen" }),
		spansNamed("CONNECT", spanConnect, spanTLSAccept, spanTLS, spanUpgrade, spanTransfer, spanClose))
	root := trace.root()
	if intercepted, _ := root.attributes["wsproxy.tunnel.intercepted"].(bool); !intercepted || root.text("wsproxy.tunnel.protocol") != "websocket" {
		t.Errorf("got %v", root.attributes)
	}
	wantNumber(t, trace.span(spanClose), "wsproxy.total.upstream.messages", 1)
	wantNumber(t, trace.span(spanClose), "wsproxy.close.code", 1000)
	checkTimes(t, trace)
	for _, s := range trace.spans {
		if s.failed {
			t.Errorf("%s has status Error", s.name)
		}
		if s != root && s.parent != root.id {
			t.Errorf("%s is not under %s", s.name, root.name)
		}
	}
	t.Logf("%s", trace)

	distrusted := w.traceOf(t, func(l line) bool { return l.Phase == "tls_accept" && l.Intercepted })
	trace = h.stack.jaeger.await(t, distrusted, spansNamed("CONNECT", spanTLSAccept))
	if s := trace.span(spanTLSAccept); !s.failed || s.text("error.type") != "tls_protocol" || trace.span(spanTLS) != nil {
		t.Errorf("got\n%s\nwant a failed handshake with the client, and none with the target", trace)
	}
}
