package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// command runs the program as a shell would.
func command(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(ctx, args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestCommandLine(t *testing.T) {
	t.Chdir(t.TempDir())
	valid := "listeners: [{address: '127.0.0.1:0'}]\nroutes: [{name: a, match: /, upstream: u}]\nupstreams: [{name: u, targets: ['ws://127.0.0.1:1']}]\n"
	for name, text := range map[string]string{
		"valid.yaml":   valid,
		"wrong.yaml":   strings.ReplaceAll(valid, "upstream: u", "upstrem: u, framing: lax"),
		"cert.yaml":    strings.ReplaceAll(valid, "'127.0.0.1:0'}", "'127.0.0.1:0', tls: {certificates: [{cert: bad.pem, key: bad.pem}]}}"),
		"conflict.yml": strings.ReplaceAll(valid, "routes: [", "routes: [{name: b, match: /, upstream: u}, "),
		"policy.yaml":  valid + "telemetry: {metrics: {policies: [{match: wsproxy.iq}, {match: wsproxy.io, attributes: [direction]}]}}\n",
		"policies.yaml": valid + "telemetry: {metrics: {policies: [{match: 'a[', buckets: [2, 1], histogram: exponential}, {match: wsproxy.io, drop: true, interval: 1s}]}}\n" +
			"log: {components: {porxy: debug}, routes: {b: loud}}\n",
		"bad.pem": "not a certificate",
	} {
		if err := os.WriteFile(filepath.Join(".", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name string
		args []string
		code int
		out  string // a part of standard output
		err  []string
	}{
		{name: "version", args: []string{"version"}, out: "wsproxy "},
		{name: "help", args: []string{"--help"}, out: "Available Commands"},
		{name: "unknown command", args: []string{"sevre"}, code: exitUsage, err: []string{"unknown command"}},
		{name: "unknown flag", args: []string{"serve", "--lisen"}, code: exitUsage, err: []string{"unknown flag: --lisen"}},
		{name: "nothing to serve", args: []string{"serve"}, code: exitUsage, err: []string{"there is no wsproxy.yaml here"}},
		{name: "half of the flags", args: []string{"serve", "--listen", ":0"}, code: exitUsage, err: []string{"go together"}},
		{name: "file and flags", args: []string{"serve", "-c", "valid.yaml", "-l", ":0"}, code: exitUsage, err: []string{"not both"}},
		{name: "bad flag value", args: []string{"serve", "-l", "nowhere", "-u", "htp://x"}, code: exitUsage, err: []string{"--listen", "--upstream"}},
		{name: "no such file", args: []string{"check", "none.yaml"}, code: exitUsage, err: []string{"none.yaml"}},
		{name: "check without file", args: []string{"check"}, code: exitUsage, err: []string{"accepts 1 arg"}},
		{name: "valid", args: []string{"check", "valid.yaml"}, out: "valid.yaml is valid"},
		{name: "every problem at once", args: []string{"check", "wrong.yaml"}, code: exitUsage,
			err: []string{"wrong.yaml:2", "routes[0].upstrem", "framing"}},
		{name: "conflicting routes", args: []string{"check", "conflict.yml"}, code: exitUsage, err: []string{"routes[1].match"}},
		{name: "policies of no metric", args: []string{"check", "policy.yaml"}, code: exitUsage,
			err: []string{"telemetry.metrics.policies[0].match: no metric", "policies[1].attributes[0]: no metric that wsproxy.io matches has direction"}},
		{name: "policies against themselves", args: []string{"check", "policies.yaml"}, code: exitUsage, err: []string{
			"policies[0].match", "policies[0].buckets", "policies[1].drop", `log.components.porxy`, `(did you mean "proxy"?)`, "log.routes.b"}},
		{name: "bad certificate", args: []string{"check", "cert.yaml"}, code: exitUsage, err: []string{"listeners[0].tls", "bad.pem"}},
		{name: "not ready", args: []string{"ready", "--admin", "127.0.0.1:1"}, code: exitFailed, err: []string{"not ready"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, out, errs := command(t.Context(), tc.args...)
			if code != tc.code {
				t.Errorf("got exit code %d, want %d; %s", code, tc.code, errs)
			}
			if !strings.Contains(out, tc.out) {
				t.Errorf("got output %q, want %q in it", out, tc.out)
			}
			for _, want := range tc.err {
				if !strings.Contains(errs, want) {
					t.Errorf("got errors %q, want %q in them", errs, want)
				}
			}
		})
	}
}

// TestDemo plays the whole demo: every scenario must go as its script says.
func TestDemo(t *testing.T) {
	code, out, errs := command(t.Context(), "demo", "--exit")
	if code != 0 || errs != "" {
		t.Fatalf("got exit code %d and errors %q, want 0 and none", code, errs)
	}
	for _, want := range []string{"Through an HTTP CONNECT proxy", "cause client_close", "reason connection_refused", "reason dns_not_found", "cause upstream_reset"} {
		if !strings.Contains(out, want) {
			t.Errorf("got no %q in the pictures", want)
		}
	}
}
