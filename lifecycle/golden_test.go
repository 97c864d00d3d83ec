package lifecycle

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "renew the golden files under testdata")

func golden(t *testing.T, file, got string) {
	t.Helper()
	path := filepath.Join("testdata", file)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (renew with -update)\ngot:\n%s\nwant:\n%s", path, got, want)
	}
}

// table prints what follows each value of an enum, a line each.
func table[E, F fmt.Stringer](all []E, next func(E) []F) string {
	var b strings.Builder
	for _, e := range all {
		var names []string
		for _, f := range next(e) {
			names = append(names, f.String())
		}
		fmt.Fprintln(&b, strings.TrimRight(fmt.Sprintf("%-18s → %s", e, strings.Join(names, ", ")), " "))
	}
	return b.String()
}
