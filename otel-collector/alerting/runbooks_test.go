package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// pages are the runbooks by file name.
func pages(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "docs/runbooks/*.md"))
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(f)] = string(text)
	}
	return all
}

func TestEveryAlertHasItsRunbook(t *testing.T) {
	texts := pages(t)
	about := map[string]bool{"README.md": true, "closes.md": true, "failures.md": true}
	for _, a := range alerts() {
		name := filepath.Base(a.runbook())
		about[name] = true
		if !strings.HasPrefix(texts[name], "# "+a.name+"\n") {
			t.Errorf("%s: got no page that begins with its name", a.runbook())
		}
		if !strings.Contains(texts["README.md"], "["+a.name+"]("+name+")") {
			t.Errorf("%s is not in the list of runbooks", a.name)
		}
	}
	for name := range texts {
		if !about[name] {
			t.Errorf("%s is about no alert", name)
		}
	}
}

// Every value of a closed set is explained, and nothing that is none.
func TestEveryCauseAndReasonIsExplained(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "telemetry/schema.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Attributes []struct {
			Name   string
			Values []string
		}
	}
	if err := yaml.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	sets := make(map[string][]string)
	for _, a := range schema.Attributes {
		sets[a.Name] = a.Values
	}
	texts := pages(t)
	var causes []string
	for _, m := range regexp.MustCompile(`(?m)^## (\w+)$`).FindAllStringSubmatch(texts["closes.md"], -1) {
		causes = append(causes, m[1])
	}
	if want := sets["wsproxy.close.cause"]; len(want) == 0 || !slices.Equal(causes, want) {
		t.Errorf("closes.md: got %q, want the schema's %q", causes, want)
	}
	missing := slices.DeleteFunc(slices.Clone(sets["error.type"]), func(reason string) bool {
		return strings.Contains(texts["failures.md"], "`"+reason+"`") || strings.HasPrefix(reason, "socks_")
	})
	if len(missing) > 0 || len(sets["error.type"]) == 0 {
		t.Errorf("failures.md: %q of %d are not explained", missing, len(sets["error.type"]))
	}
}
