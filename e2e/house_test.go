//go:build e2e

package e2e

import (
	"bufio"
	"crypto/tls"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"wsproxy/internal/selfca"
)

// house is what all tests share.
type house struct {
	binary   string            // wsproxy
	programs map[string]string // by the name that servers/get gives them
	ports    *ports
	folder   string     // for files
	ca       *selfca.CA // of every certificate here
	caFile   string
	cert     string // for 127.0.0.1 and localhost
	key      string
	pair     tls.Certificate // the same
	stack    *stack          // nil before it is started
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{programs: programs(t), ports: &ports{taken: make(map[int]bool)}, folder: t.TempDir()}
	h.binary = os.Getenv("WSPROXY_BINARY")
	if h.binary == "" {
		h.binary = build(t)
	}
	var err error
	if h.ca, err = selfca.New("wsproxy end-to-end tests"); err != nil {
		t.Fatal(err)
	}
	if h.caFile, err = h.ca.Write(h.folder, "ca"); err != nil {
		t.Fatal(err)
	}
	leaf, err := h.ca.Issue(selfca.Leaf{Names: []string{"localhost", "127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	if h.cert, h.key, err = leaf.Write(h.folder, "cert"); err != nil {
		t.Fatal(err)
	}
	h.pair = leaf.TLS()
	return h
}

// build makes the binary as a release is made, but for its version.
func build(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "wsproxy")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", binary, "wsproxy/cmd/wsproxy")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build wsproxy: %v\n%s", err, out)
	}
	return binary
}

// programs reads where the peers are: NAME=PATH lines.
func programs(t *testing.T) map[string]string {
	t.Helper()
	found := make(map[string]string)
	file := os.Getenv("WSPROXY_SERVERS")
	if file == "" {
		t.Log("WSPROXY_SERVERS names no file: e2e/servers/get makes one")
		return found
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, path, ok := strings.Cut(lines.Text(), "="); ok {
			found[name] = path
		}
	}
	if os.Geteuid() != 0 {
		delete(found, "danted") // it changes its user
	}
	return found
}

// missing says that a peer is not there, and tells the test so: a skip, or a failure when strict.
func (h *house) missing(t *testing.T, names ...string) bool {
	t.Helper()
	var absent []string
	for _, n := range names {
		if path := h.programs[n]; path == "" {
			absent = append(absent, n)
		} else if _, err := os.Stat(path); err != nil {
			absent = append(absent, n)
		}
	}
	if len(absent) == 0 {
		return false
	}
	what := "not obtained: " + strings.Join(absent, ", ") + " (see e2e/servers/get)"
	if os.Getenv("WSPROXY_TEST_STRICT") == "1" {
		t.Error(what)
		return true
	}
	t.Run("left out", func(t *testing.T) { t.Skip(what) })
	return true
}
