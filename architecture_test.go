// Package wsproxy_test holds the house to its plan: who may import whom.
package wsproxy_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "wsproxy"

// house says, of each top folder, which others the packages in it may import besides their own. What is
// not listed here does not exist yet: give a new folder its line.
//
//	                 cmd                                 e2e, bench → the built binary
//	 ┌───────┬───────┬──┴────┬────────┬────────┬────────┬─────────┐
//	config  tlsconf  admin  proxy  upstream  access   egress  telemetry    siblings never import each other
//	                   └──────┴───────┴────┬───┴────────┴────────┘
//	                                   lifecycle                      → standard library only
var house = map[string][]string{
	"lifecycle": {},
	"filewatch": {}, // tells when files change
	"memory":    {}, // gives back what a busy time has left

	"access":    {"lifecycle"},
	"admin":     {"lifecycle"},
	"config":    {"lifecycle"},
	"egress":    {"lifecycle"},
	"proxy":     {"lifecycle"},
	"telemetry": {"lifecycle"},
	"tlsconf":   {"filewatch", "lifecycle"},
	"upstream":  {"lifecycle"},

	"cmd": {"access", "admin", "config", "egress", "filewatch", "internal", "lifecycle", "memory", "proxy", "telemetry", "tlsconf", "upstream"},

	"internal": {}, // what tests and the demo need
	"e2e":      {"internal"},
	"bench":    {"internal"},
}

// inTests is what tests may import besides.
var inTests = []string{"internal"}

// standardOnly are the folders that import nothing but the standard library and, if house says so, our
// own packages. Their tests may.
var standardOnly = []string{"lifecycle", "internal"}

// alsoInTests are siblings that a feature's tests may see: what a listener tells of a failed handshake
// depends on the configuration that tlsconf makes for it, and what a handshake costs, on egress' dial.
var alsoInTests = map[string][]string{"proxy": {"egress", "tlsconf"}}

// kept says where a library stays. Tests and programs that are no part of wsproxy (generators and
// tools, which are named main outside cmd) may use it anywhere.
var kept = map[string]string{
	"go.opentelemetry.io/": "telemetry",
	"go.yaml.in/":          "config",
	"gopkg.in/yaml":        "config",
	"sigs.k8s.io/yaml":     "config",
}

// source is what the files of a folder import.
type source struct {
	ImportPath, Name     string
	Imports, TestImports []string
}

func TestImportsFlowOneWay(t *testing.T) {
	packages := read(t)
	if packages[module+"/lifecycle"] == nil || packages[module+"/proxy"] == nil {
		t.Fatalf("found only %q", slices.Sorted(maps.Keys(packages)))
	}
	for _, path := range slices.Sorted(maps.Keys(packages)) {
		for _, problem := range problems(*packages[path]) {
			t.Error(problem)
		}
	}
}

// read parses the imports of every file of the module, whatever system it is for. It reads them itself
// because go test would take an older result for good if another process did.
func read(t *testing.T) map[string]*source {
	t.Helper()
	packages := make(map[string]*source)
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && foreign(file, d.Name()):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(file) != ".go":
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		importPath := path.Join(module, filepath.ToSlash(filepath.Dir(file)))
		p := packages[importPath]
		if p == nil {
			p = &source{ImportPath: importPath}
			packages[importPath] = p
		}
		p.add(file, parsed)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return packages
}

// foreign says of a folder that the go command leaves it out of the module.
func foreign(folder, name string) bool {
	if folder == "." {
		return false
	}
	_, err := os.Stat(filepath.Join(folder, "go.mod"))
	return err == nil || name == "testdata" || name == "node_modules" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_")
}

func (p *source) add(file string, parsed *ast.File) {
	imports := &p.Imports
	if strings.HasSuffix(file, "_test.go") {
		imports = &p.TestImports
	} else {
		p.Name = parsed.Name.Name
	}
	for _, spec := range parsed.Imports {
		*imports = append(*imports, strings.Trim(spec.Path.Value, "\"`"))
	}
}

// problems lists what is wrong with a package's imports.
func problems(p source) []string {
	var all []string
	if top := folder(p.ImportPath); top != "" && house[top] == nil {
		return []string{fmt.Sprintf("%s: the house has no folder %s", p.ImportPath, top)}
	}
	for _, imported := range p.Imports {
		if why := objection(p, imported, false); why != "" {
			all = append(all, fmt.Sprintf("%s imports %s: %s", p.ImportPath, imported, why))
		}
	}
	for _, imported := range p.TestImports {
		if why := objection(p, imported, true); why != "" {
			all = append(all, fmt.Sprintf("a test of %s imports %s: %s", p.ImportPath, imported, why))
		}
	}
	return all
}

// objection says what is wrong with an import; nothing if it is empty.
func objection(p source, imported string, test bool) string {
	top := folder(p.ImportPath)
	if ours(imported) {
		other := folder(imported)
		if other == top || slices.Contains(house[top], other) || test && (slices.Contains(inTests, other) || slices.Contains(alsoInTests[top], other)) {
			return ""
		}
		return fmt.Sprintf("%s may import only %q", top, house[top])
	}
	if standard(imported) || test || top == "e2e" || p.Name == "main" && top != "cmd" {
		return ""
	}
	if slices.Contains(standardOnly, top) {
		return "only the standard library here"
	}
	for prefix, home := range kept {
		if strings.HasPrefix(imported, prefix) && top != home {
			return "that stays in " + home
		}
	}
	return ""
}

func ours(path string) bool { return path == module || strings.HasPrefix(path, module+"/") }

// folder is the top folder of one of our packages, empty for the root's.
func folder(path string) string {
	top, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(path, module), "/"), "/")
	return top
}

// standard tells the standard library by its first element, which has no dot.
func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

func TestProblemsAreFound(t *testing.T) {
	const otel, yaml = "go.opentelemetry.io/otel/trace", "go.yaml.in/yaml/v4"
	cases := map[string]struct {
		source
		wrong bool
	}{
		"feature on lifecycle":             {source{ImportPath: "wsproxy/proxy", Imports: []string{"net/http", "wsproxy/lifecycle"}}, false},
		"feature on its own part":          {source{ImportPath: "wsproxy/proxy", Imports: []string{"wsproxy/proxy/frame"}}, false},
		"feature on a library":             {source{ImportPath: "wsproxy/egress", Imports: []string{"golang.org/x/net/proxy"}}, false},
		"cmd on features":                  {source{ImportPath: "wsproxy/cmd/wsproxy", Name: "main", Imports: []string{"wsproxy/proxy", "wsproxy/admin"}}, false},
		"telemetry on OpenTelemetry":       {source{ImportPath: "wsproxy/telemetry", Imports: []string{otel}}, false},
		"config on YAML":                   {source{ImportPath: "wsproxy/config", Imports: []string{yaml}}, false},
		"generator on YAML":                {source{ImportPath: "wsproxy/telemetry/internal/gen", Name: "main", Imports: []string{yaml}}, false},
		"test on tools for tests":          {source{ImportPath: "wsproxy/proxy", TestImports: []string{"wsproxy/internal/memnet", otel}}, false},
		"lifecycle's test on a library":    {source{ImportPath: "wsproxy/lifecycle", TestImports: []string{"go.uber.org/goleak"}}, false},
		"end to end on OpenTelemetry":      {source{ImportPath: "wsproxy/e2e", Imports: []string{otel}}, false},
		"feature on sibling":               {source{ImportPath: "wsproxy/proxy", Imports: []string{"wsproxy/egress"}}, true},
		"part of a feature on sibling":     {source{ImportPath: "wsproxy/proxy/relay", Imports: []string{"wsproxy/telemetry"}}, true},
		"test on sibling":                  {source{ImportPath: "wsproxy/admin", TestImports: []string{"wsproxy/telemetry"}}, true},
		"feature on cmd":                   {source{ImportPath: "wsproxy/admin", Imports: []string{"wsproxy/cmd/wsproxy"}}, true},
		"test on cmd":                      {source{ImportPath: "wsproxy/admin", TestImports: []string{"wsproxy/cmd/wsproxy"}}, true},
		"end to end on a feature":          {source{ImportPath: "wsproxy/e2e", TestImports: []string{"wsproxy/proxy"}}, true},
		"lifecycle on feature":             {source{ImportPath: "wsproxy/lifecycle", Imports: []string{"wsproxy/config"}}, true},
		"lifecycle on library":             {source{ImportPath: "wsproxy/lifecycle", Imports: []string{"github.com/google/uuid"}}, true},
		"lifecycle's test on feature":      {source{ImportPath: "wsproxy/lifecycle", TestImports: []string{"wsproxy/config"}}, true},
		"feature on what tests need":       {source{ImportPath: "wsproxy/proxy", Imports: []string{"wsproxy/internal/memnet"}}, true},
		"OpenTelemetry outside telemetry":  {source{ImportPath: "wsproxy/proxy", Imports: []string{otel}}, true},
		"OpenTelemetry in cmd":             {source{ImportPath: "wsproxy/cmd/wsproxy", Name: "main", Imports: []string{otel}}, true},
		"YAML outside config":              {source{ImportPath: "wsproxy/cmd/wsproxy", Name: "main", Imports: []string{yaml}}, true},
		"a folder that the house has not":  {source{ImportPath: "wsproxy/util"}, true},
		"generator on a sibling's package": {source{ImportPath: "wsproxy/telemetry/internal/gen", Name: "main", Imports: []string{"wsproxy/config"}}, true},
	}
	for name, tc := range cases {
		if got := problems(tc.source); tc.wrong != (len(got) > 0) {
			t.Errorf("%s: got %q, want problems: %t", name, got, tc.wrong)
		}
	}
}
