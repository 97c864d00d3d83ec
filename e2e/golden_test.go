//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// golden compares a text with the one in testdata, or with -update writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Errorf("%v (go test -tags e2e ./e2e -update writes it)", err)
		return
	}
	if got != string(want) {
		t.Errorf("%s differs:\ngot\n%s\nwant\n%s", file, got, want)
	}
}

func fileName(name string) string {
	return strings.NewReplacer(" ", "_", ",", "", "'", "").Replace(strings.ToLower(name)) + ".txt"
}

// changing are the attributes that are others in every run, or on another machine.
var changing = map[string]bool{
	"client.port": true, "network.peer.port": true, "server.port": true, "wsproxy.connection.id": true, "tls.cipher": true, "tls.curve": true,
	"wsproxy.segment.upstream.stall": true, "wsproxy.segment.downstream.stall": true,
	"wsproxy.total.upstream.stall": true, "wsproxy.total.downstream.stall": true,
}

var (
	counted = regexp.MustCompile(`^wsproxy\.(segment|total)\.\w+\.(bytes|messages)$`)
	port    = regexp.MustCompile(`:\d{4,5}\b`)
)

// normal is the waterfall without what changes from run to run: times, ids, ports; if rough without numbers.
func (t *trace) normal(rough bool) string {
	var b strings.Builder
	for _, s := range t.spans {
		fmt.Fprintf(&b, "%s%s  %s%s\n", indent(s), s.name, s.kind, s.state())
		for _, l := range s.links {
			fmt.Fprintf(&b, "%s    link to %s\n", indent(s), l)
		}
		for _, k := range slices.Sorted(maps.Keys(s.attributes)) {
			v := port.ReplaceAllString(fmt.Sprint(s.attributes[k]), ":PORT")
			if changing[k] || rough && counted.MatchString(k) {
				v = "*"
			}
			fmt.Fprintf(&b, "%s    %s=%s\n", indent(s), k, v)
		}
	}
	return b.String()
}
