package stack_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"wsproxy/otel-collector/internal/catalog"
)

// texts are all files that tell people or programs to look at names of wsproxy's telemetry.
func texts(t *testing.T) map[string]string {
	t.Helper()
	found := make(map[string]string)
	for _, place := range []string{"README.md", "docs", "deploy", "otel-collector", "docker-compose.yml", "wsproxy.example.yaml"} {
		err := filepath.WalkDir(filepath.Join(root, place), func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() && slices.Contains([]string{"build", "testdata"}, e.Name()) {
				return skip(err)
			}
			if !e.IsDir() && slices.Contains([]string{".md", ".yaml", ".yml", ".json"}, filepath.Ext(path)) {
				found[strings.TrimPrefix(path, root+"/")] = string(readFile(t, path))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}

func skip(err error) error {
	if err != nil {
		return err
	}
	return filepath.SkipDir
}

// known is what may be asked of the stack's Prometheus.
func known(t *testing.T) *catalog.Catalog {
	t.Helper()
	c, err := catalog.Read(root)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Recorded(root); err != nil {
		t.Fatal(err)
	}
	return c
}

// ofTemplates are the chart's own names.
var ofTemplates = regexp.MustCompile(`(include|define) "wsproxy\.\w+"`)

func TestNamesAreInTheSchema(t *testing.T) {
	c, all := known(t), texts(t)
	keys := all["docs/configuration.md"]
	if len(all) < 40 || keys == "" {
		t.Fatalf("got only %d files", len(all))
	}
	for file, text := range all {
		for _, name := range c.Strange(ofTemplates.ReplaceAllString(text, "")) {
			if !strings.Contains(keys, name) { // a key of the configuration, as tls.client_ca
				t.Errorf("%s: the schema has no %s", file, name)
			}
		}
	}
}

func TestQueriesInPagesAskForWhatExists(t *testing.T) {
	c, queries := known(t), 0
	forms := strings.NewReplacer(`"ROUTE"`, `"chat"`, `"PHASE"`, `"proxy"`)
	for file, text := range texts(t) {
		if filepath.Ext(file) != ".md" {
			continue
		}
		for _, q := range catalog.Quoted(text) {
			queries++
			if strings.Contains(q, "__name__") { // over all metrics at once
				continue
			}
			if err := c.Query(forms.Replace(q), ""); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
	if queries < 7 {
		t.Errorf("got %d queries, want more: they are not found", queries)
	}
}

// Links between pages lead to files that are there, and to headings that they have.
func TestLinksLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	links := 0
	for file, text := range texts(t) {
		if filepath.Ext(file) != ".md" {
			continue
		}
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target, heading, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			links++
			path := filepath.Join(root, filepath.Dir(file), target)
			if target == "" {
				path = filepath.Join(root, file)
			}
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s: %s is not there", file, m[1])
			} else if heading != "" && !slices.Contains(catalog.Headings(string(readFile(t, path))), heading) {
				t.Errorf("%s: %s has no heading #%s", file, target, heading)
			}
		}
	}
	if links < 20 {
		t.Errorf("got %d links, want more: they are not found", links)
	}
}
