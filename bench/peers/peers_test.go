//go:build linux

package peers

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestParseLive(t *testing.T) {
	got, err := parseLive([]byte("heap profile: ...\n# Stack = 300 / 400\n# HeapAlloc = 1000\n# HeapSys = 5000\n"))
	if err != nil || got != 1300 {
		t.Errorf("got %v, %v, want 1300", got, err)
	}
	if got, err := parseLive([]byte("# HeapAlloc = 1000\n")); err == nil {
		t.Errorf("without stacks: got %v, want an error", got)
	}
}

func TestConfigurationsAreComplete(t *testing.T) {
	s := Site{
		Dir: t.TempDir(), Upstream: "127.0.0.1:1", Plain: 2, TLS: 3, Admin: 4, Cert: "CERT", Key: "KEY", Chain: "CHAIN",
		Collector: "127.0.0.1:5", Engine: "auto", Files: 1000, Connections: 400,
	}
	names, err := configs.ReadDir("configs")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := s.write(name.Name()); err != nil {
			t.Errorf("%s: %v", name.Name(), err)
			continue
		}
		text, err := os.ReadFile(filepath.Join(s.Dir, name.Name()))
		if err != nil || strings.Contains(string(text), "{{") || strings.Contains(string(text), "<no value>") {
			t.Errorf("%s: %v\n%s", name.Name(), err, text)
		}
	}
}

func TestAll(t *testing.T) {
	programs := Programs{"nginx": "/bin/true", "caddy": "/bin/true"}
	var got []string
	for _, p := range All(programs) {
		got = append(got, p.Name)
	}
	if want := []string{Direct, Nginx, Caddy}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := Missing(programs), []string{HAProxy, ReverseProxy, Traefik}; !slices.Equal(got, want) {
		t.Errorf("missing: got %q, want %q", got, want)
	}
}

func TestFreePorts(t *testing.T) {
	ports, err := FreePorts(5)
	if err != nil || len(slices.Compact(slices.Sorted(slices.Values(ports)))) != 5 {
		t.Errorf("got %v, %v, want 5 different ports", ports, err)
	}
}
