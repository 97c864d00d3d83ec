package config

import (
	"bytes"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden files and the reference")

const minimal = `
listeners: [{ address: ":8080" }]
routes: [{ name: default, match: /, upstream: default }]
upstreams: [{ name: default, targets: ["ws://localhost:9000"] }]
`

func noEnv(string) (string, bool) { return "", false }

func envOf(vars map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := vars[name]
		return value, ok
	}
}

func mustParse(t *testing.T, text string, vars map[string]string) *Config {
	t.Helper()
	cfg, err := Parse("dir/wsproxy.yaml", []byte(text), envOf(vars))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestDefaults(t *testing.T) {
	cfg := mustParse(t, minimal, nil)
	want := Timeouts{
		Handshake: Duration(10 * time.Second), Connect: Duration(3 * time.Second), Proxy: Duration(5 * time.Second),
		TLS: Duration(5 * time.Second), Close: Duration(5 * time.Second), Write: Duration(30 * time.Second),
		HalfClose: Duration(30 * time.Second),
	}
	route := cfg.Routes[0]
	if route.Timeouts != want {
		t.Errorf("timeouts: got %v, want %v", route.Timeouts, want)
	}
	if !route.PreserveHost || route.Retries != 2 || route.Framing != FramingStrict || route.OnUpstreamLost.Code() != 1012 ||
		route.HTTP != PlainHTTPProxy || route.ServerTiming || !reflect.DeepEqual(route.Origins, []Origin{OriginSame}) {
		t.Errorf("route: got %+v, want the defaults", route)
	}
	if cfg.Listeners[0].Mode != ModeReverse || cfg.Listeners[0].TLS != nil {
		t.Errorf("listener: got %+v, want reverse without TLS", cfg.Listeners[0])
	}
	if cfg.Upstreams[0].Balance != BalanceLeastConnections {
		t.Errorf("balance: got %v, want %v", cfg.Upstreams[0].Balance, BalanceLeastConnections)
	}
	if got, want := cfg.Telemetry.Traces.Segments, (Segments{First: Duration(30 * time.Second), Longest: Duration(time.Hour)}); got != want {
		t.Errorf("segments: got %+v, want %+v", got, want)
	}
	if got, want := cfg.Drain, (Drain{Duration(time.Minute), Duration(30 * time.Second), 1012, "restarting"}); got != want {
		t.Errorf("drain: got %+v, want %+v", got, want)
	}
	if cfg.Admin.Address != "127.0.0.1:9900" || cfg.Telemetry.OTLP != nil || cfg.Telemetry.Traces.Ratio != 1 || !cfg.Telemetry.Logs {
		t.Errorf("got admin %v, telemetry %+v, want the defaults", cfg.Admin.Address, cfg.Telemetry)
	}
}

// An explicit zero, false, empty or off is not the default.
func TestExplicitZero(t *testing.T) {
	cfg := mustParse(t, `
listeners: [{ address: ":8080" }]
routes: [{ name: a, match: /, upstream: b, retries: 0, preserve_host: false, timeouts: { idle: off } }]
upstreams: [{ name: b, targets: ["ws://h"] }]
telemetry: { logs: false, traces: { ratio: 0, segments: off } }
drain: { spread: 0s, reason: "" }
`, nil)
	route := cfg.Routes[0]
	if route.Retries != 0 || route.PreserveHost || route.Timeouts.Idle != 0 {
		t.Errorf("got route %+v, want zeros", route)
	}
	if tel := cfg.Telemetry; tel.Logs || tel.Traces.Ratio != 0 || tel.Traces.Segments != (Segments{Off: true}) {
		t.Errorf("got telemetry %+v, want zeros and segments off", tel)
	}
	if cfg.Drain.Spread != 0 || cfg.Drain.Reason != "" || cfg.Drain.Code != 1012 {
		t.Errorf("got drain %+v, want zeros and code 1012", cfg.Drain)
	}
}

func TestDrainSpreadFollowsShorterTimeout(t *testing.T) {
	cfg := mustParse(t, minimal+"drain: { timeout: 5s }", nil)
	if got, want := cfg.Drain.Spread, Duration(5*time.Second); got != want {
		t.Errorf("got spread %v, want %v", got, want)
	}
}

func TestAliasesShareValues(t *testing.T) {
	cfg := mustParse(t, `
listeners: [{ address: ":8080" }]
routes:
  - { name: a, match: /a, upstream: u, timeouts: &t { idle: 7s } }
  - { name: b, match: /b, upstream: u, timeouts: *t }
upstreams: [{ name: u, targets: ["ws://h"] }]
`, nil)
	if got, want := cfg.Routes[1].Timeouts, cfg.Routes[0].Timeouts; got != want || got.Idle != Duration(7*time.Second) {
		t.Errorf("got %v, want %v with idle 7s", got, want)
	}
}

func TestEnvironmentInValues(t *testing.T) {
	cfg := mustParse(t, `
listeners: [{ address: "${HOST}:${PORT}" }]
routes: [{ name: a, match: /, upstream: b, retries: "${RETRIES}" }]
upstreams: [{ name: b, targets: ["${TARGET}"], egress: c }]
egress: [{ name: c, url: "http://h:1", credentials: "${USER}:${PASSWORD}" }]
telemetry: { resource: { a: "$${x}" } }
`, map[string]string{
		"HOST": "127.0.0.1", "PORT": "8080", "RETRIES": "1", "TARGET": "wss://h", "USER": "u", "PASSWORD": "${HOST}",
	})
	if got, want := cfg.Listeners[0].Address, Address("127.0.0.1:8080"); got != want {
		t.Errorf("address: got %v, want %v", got, want)
	}
	if got, want := cfg.Telemetry.Resource["a"], "${x}"; got != want {
		t.Errorf("resource: got %v, want %v", got, want)
	}
	if got, want := cfg.Routes[0].Retries, 1; got != want {
		t.Errorf("retries: got %v, want %v", got, want)
	}
	if got, want := cfg.Upstreams[0].Targets[0].Address, "h:443"; got != want {
		t.Errorf("target: got %v, want %v", got, want)
	}
	if user, password, ok := cfg.Egress[0].UserPassword(); user != "u" || password != "${HOST}" || !ok {
		t.Errorf("credentials: got %q %q %v, want u and ${HOST} as it is", user, password, ok)
	}
}

// What a variable holds may be a secret: no problem shows it.
func TestProblemsKeepEnvironmentSecret(t *testing.T) {
	const canary = "canary-4711"
	text := `
listeners: [{ address: "${S}", mode: "${S}", trust: { proxies: ["${S}"], trace_context: "${S}" } }]
routes: [{ name: "${T}", match: "${S} ", upstream: "${S}", retries: "${S}", origins: ["${S}"], timeouts: { idle: "${S}" } }]
upstreams: [{ name: a, targets: ["${S}", "ws://${S}:${S}@h", "ws://h/${S}"], tls: { server_name: "${T}" } }]
egress: [{ name: c, url: "http://${S}@h", credentials: "${S}", bypass: ["${T}"] }]
telemetry: { otlp: { endpoint: "http://u:${S}@h", headers: { a: "${N}" } }, resource: "${S}" }
admin: { address: "${S}:1", token: canary-4711 }
`
	vars := map[string]string{"S": canary, "T": canary + " /", "N": canary + "\n"}
	_, err := Parse("wsproxy.yaml", []byte(text), envOf(vars))
	problems, ok := errors.AsType[Problems](err)
	if !ok || len(problems) < 18 {
		t.Errorf("got %d problems, want one for each value:\n%v", len(problems), err)
	}
	if strings.Contains(err.Error(), canary) {
		t.Errorf("a problem shows what a variable holds:\n%v", err)
	}
}

func TestQuick(t *testing.T) {
	got, err := Quick(":8080", "ws://localhost:9000")
	if err != nil {
		t.Fatal(err)
	}
	want := mustParse(t, minimal, nil)
	want.name = ""
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if err := got.ReadFiles(nil); err != nil {
		t.Error(err)
	}
}

func TestQuickNamesFlags(t *testing.T) {
	tests := []struct{ name, listen, upstream, want string }{
		{"port alone", "8080", "ws://h", `--listen: got "8080", want host:port or :port (did you mean ":8080"?)`},
		{"no scheme", ":80", "h:9000", `--upstream: got "h:9000", want a URL with ws://, wss://, http:// or https:// (did you mean "ws://h:9000"?)`},
		{"admin port", "127.0.0.1:9900", "ws://h", `--listen: 127.0.0.1:9900 is the admin port's address`},
		{"password", ":80", "ws://u:p@h", `--upstream: got "ws://…@h", want a URL without user and password`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Quick(tt.listen, tt.upstream); err == nil || err.Error() != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

const withFiles = `
listeners: [{ address: ":8080", tls: { certificates: [{ cert: tls/cert.pem, key: /abs/key.pem }] } }]
routes: [{ name: a, match: /, upstream: b }]
upstreams: [{ name: b, targets: ["ws://h"], egress: c }]
egress: [{ name: c, url: "http://h:1", credentials: file:secret }]
telemetry: { otlp: { endpoint: "http://h:1", headers: { x-api-key: file:key } } }
`

// rooted is a file system for ReadFiles, which opens rooted and relative paths.
func rooted(files fstest.MapFS) func(string) (fs.File, error) {
	return func(path string) (fs.File, error) { return files.Open(strings.TrimPrefix(filepath.ToSlash(path), "/")) }
}

func TestReadFiles(t *testing.T) {
	cfg := mustParse(t, withFiles, nil)
	if got := cfg.Egress[0].Credentials.Value(); got != "" {
		t.Errorf("before ReadFiles: got a secret, want none")
	}
	err := cfg.ReadFiles(rooted(fstest.MapFS{
		"dir/tls/cert.pem": {}, "abs/key.pem": {}, "dir/secret": {Data: []byte("u:p\n\n")[:4]}, "dir/key": {Data: []byte("k\r\n")},
	}))
	if err != nil {
		t.Fatal(err)
	}
	if user, password, _ := cfg.Egress[0].UserPassword(); user != "u" || password != "p" {
		t.Errorf("credentials: got %q %q, want u p", user, password)
	}
	if got, want := cfg.Telemetry.OTLP.Headers["x-api-key"].Value(), "k"; got != want {
		t.Errorf("header: got %q, want %q", got, want)
	}
	if got, want := cfg.Listeners[0].TLS.Certificates[0], (Certificate{"dir/tls/cert.pem", "/abs/key.pem"}); got != want {
		t.Errorf("certificate: got %v, want %v", got, want)
	}
}

func TestReadFilesProblems(t *testing.T) {
	cfg := mustParse(t, withFiles, nil)
	err := cfg.ReadFiles(rooted(fstest.MapFS{
		"abs/key.pem/x": {}, "dir/secret": {Data: []byte("no-colon")}, "dir/key": {Data: bytes.Repeat([]byte("k"), maxSecretSize+1)},
	}))
	want := strings.Join([]string{
		`dir/wsproxy.yaml:2: listeners[0].tls.certificates[0].cert: can't read dir/tls/cert.pem: file does not exist`,
		`dir/wsproxy.yaml:2: listeners[0].tls.certificates[0].key: can't read /abs/key.pem: it is a directory`,
		`dir/wsproxy.yaml:5: egress[0].credentials: want user:password`,
		`dir/wsproxy.yaml:6: telemetry.otlp.headers.x-api-key: dir/key is larger than 64 KiB`,
	}, "\n")
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "wsproxy.yaml")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("wsproxy.yaml", minimal+"admin: { address: \":9900\", token: file:token }\nengin: auto\n")
	_, err := Load(path)
	want := path + ":5: admin.token: can't read " + filepath.Join(dir, "token") + ": no such file or directory\n" +
		path + ":6: engin: unknown key (did you mean \"engine\"?)"
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}

	write("wsproxy.yaml", minimal+"admin: { address: \":9900\", token: file:token }\n")
	write("token", "t0ken\n")
	cfg, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := cfg.Admin.Token.Value(), "t0ken"; got != want {
		t.Errorf("got token %q, want %q", got, want)
	}

	if _, err := Load(filepath.Join(dir, "none.yaml")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want a file that does not exist", err)
	}
	write("wsproxy.yaml", minimal+strings.Repeat("#", maxFileSize))
	if _, err := Load(path); err == nil || !strings.HasSuffix(err.Error(), "file: is larger than 1 MiB") {
		t.Errorf("got %v, want a file that is too large", err)
	}
}
