package config

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// keyDoc is a key of the file with all that the reference says of it.
type keyDoc struct {
	field
	path string
	t    reflect.Type // without pointers
	doc  string
}

// keysOf lists the keys of a struct type and of the blocks in it. A path has [] for each list.
func keysOf(t reflect.Type, at string) []keyDoc {
	var keys []keyDoc
	for _, f := range fieldsOf(t) {
		sf := t.Field(f.index)
		k := keyDoc{field: f, path: key(at, f.name), t: sf.Type, doc: t.Name() + "." + sf.Name}
		if k.t.Kind() == reflect.Pointer {
			k.t = k.t.Elem()
		}
		keys = append(keys, k)
		if block, below := blockOf(k.t); block != nil {
			inside := keysOf(block, k.path+below)
			for i := range inside {
				inside[i].restart = inside[i].restart || k.restart
			}
			keys = append(keys, inside...)
		}
	}
	return keys
}

// reloadText says whether a running process takes over another value.
func reloadText(k keyDoc) string {
	if k.restart {
		return "restart"
	}
	return "yes"
}

// blockOf is the struct that a key's value has keys of, or nil.
func blockOf(t reflect.Type) (block reflect.Type, below string) {
	if t.Kind() == reflect.Slice {
		t, below = t.Elem(), "[]"
	}
	if t.Kind() == reflect.Struct && !isScalar(reflect.New(t).Elem()) {
		return t, below
	}
	return nil, ""
}

// documentedKeys are all keys with the comments of their fields.
func documentedKeys(t *testing.T) []keyDoc {
	t.Helper()
	comments := fieldComments(t)
	keys := keysOf(reflect.TypeFor[Config](), "")
	for i, k := range keys {
		keys[i].doc = comments[k.doc]
		if keys[i].doc == "" {
			t.Errorf("%s: got no comment on its field, want one", k.path)
		}
	}
	return keys
}

// fieldComments maps Type.Field to the comment above it, on one line.
func fieldComments(t *testing.T) map[string]string {
	t.Helper()
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	comments := map[string]string{}
	for _, source := range sources {
		file, err := parser.ParseFile(token.NewFileSet(), source, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for node := range ast.Preorder(file) {
			spec, ok := node.(*ast.TypeSpec)
			if !ok {
				continue
			}
			if s, ok := spec.Type.(*ast.StructType); ok {
				noteComments(comments, spec.Name.Name, s)
			}
		}
	}
	return comments
}

func noteComments(comments map[string]string, name string, s *ast.StructType) {
	for _, f := range s.Fields.List {
		for _, ident := range f.Names {
			comments[name+"."+ident.Name] = strings.Join(strings.Fields(f.Doc.Text()), " ")
		}
	}
}

// typeText is a key's type in the reference.
func typeText(t reflect.Type) string {
	switch reflect.New(t).Interface().(type) {
	case choice:
		return "choice"
	case *Duration:
		return "duration"
	case *Target, *EgressURL, *Endpoint:
		return "URL"
	case *string:
		return "text"
	case *bool:
		return "boolean"
	case *int, *float64:
		return "number"
	}
	if block, below := blockOf(t); block != nil {
		return map[string]string{"": "block", "[]": "list of blocks"}[below]
	}
	switch t.Kind() {
	case reflect.Slice:
		return "list of " + typeText(t.Elem()) + "s"
	case reflect.Map:
		return "mapping to " + typeText(t.Elem())
	}
	return strings.ToLower(t.Name())
}

// rangeText is what a key's value may be.
func rangeText(k keyDoc) string {
	now, _ := choicesOf(k.t)
	parts := slices.Clone(now)
	for i := range parts {
		parts[i] = "`" + parts[i] + "`"
	}
	if k.least != "" {
		parts = append(parts, k.least+" to "+k.most)
	}
	if _, ok := reflect.New(k.t).Interface().(switchable); ok || k.off {
		parts = append(parts, "`off`")
	}
	if k.auto {
		parts = append(parts, "`auto`")
	}
	return strings.Join(parts, ", ")
}

func choicesOf(t reflect.Type) (now, later []string) {
	if c, ok := reflect.New(t).Interface().(choice); ok {
		return c.choices()
	}
	return nil, nil
}

func presetText(k keyDoc) string {
	switch {
	case k.hasPreset:
		return "`" + k.preset + "`"
	case k.required:
		return "required"
	}
	return ""
}

const referenceHead = `<!-- Made from the package config by "go test ./config -update". Do not edit. -->
# Configuration

One YAML file. ` + "`wsproxy.example.yaml`" + ` has every key with a comment, ` + "`docs/wsproxy.schema.json`" + ` is its JSON schema for editors,
and ` + "`wsproxy check FILE`" + ` names everything that is wrong with a file at once.

- An unknown key, a key that stands twice and a key without a value are errors. YAML's aliases work, its merge keys (` + "`<<`" + `) do not.
- ` + "`${NAME}`" + ` in a value is the environment variable of that name, which must exist; ` + "`$${`" + ` stands for ` + "`${`" + `. Keys are taken as they are.
- A *secret* is ` + "`file:PATH`" + `, read without one newline at its end (64 KiB at most), or comes from a ` + "`${NAME}`" + `. Secrets are never shown.
- Paths are relative to the folder of the configuration file.
- A *duration* has a unit: ` + "`500ms`, `10s`, `1h30m`" + `. ` + "`off`" + ` is for keys whose range has it, and no other duration turns a wait off.
- A *size* is in bytes, or has a unit: ` + "`500`, `64KiB`, `1MiB`, `2GiB`" + `.
- The file may have 1 MiB.
- *reload* says what happens to a key whose value has changed when wsproxy reads the file again, which it does on SIGHUP, when the file
  or one of its secrets changes, and when ` + "`POST /api/reload`" + ` asks for it: ` + "`yes`" + ` is taken over, ` + "`restart`" + ` makes it refuse the whole file.
`

func reference(keys []keyDoc) string {
	var b strings.Builder
	b.WriteString(referenceHead)
	section := func(title string, within func(path string) bool) {
		fmt.Fprintf(&b, "\n## %s\n\n| key | type | default | range | reload | |\n|---|---|---|---|---|---|\n", title)
		for _, k := range keys {
			if within(k.path) {
				fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n", k.path, typeText(k.t), presetText(k), rangeText(k), reloadText(k), k.doc)
			}
		}
	}
	section("The file", func(path string) bool { return !strings.ContainsAny(path, ".[") })
	for _, k := range keys {
		if block, _ := blockOf(k.t); block != nil && !strings.ContainsAny(k.path, ".[") {
			section(k.path, func(path string) bool {
				return strings.HasPrefix(path, k.path+".") || strings.HasPrefix(path, k.path+"[")
			})
		}
	}
	return b.String()
}

func TestReferenceIsCurrent(t *testing.T) {
	golden(t, "../docs/configuration.md", reference(documentedKeys(t)))
}

// The example has every key, is valid but for the files it names, and says the defaults that the code has.
func TestExample(t *testing.T) {
	const file = "../wsproxy.example.yaml"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Parse(file, data, noEnv); err != nil {
		t.Errorf("got problems:\n%v", err)
	}
	stated := exampleDefaults(t, data)
	for _, k := range documentedKeys(t) {
		preset, ok := stated[k.path]
		if !ok {
			t.Errorf("%s: got no such key in the example, want every key", k.path)
		}
		if preset != k.preset {
			t.Errorf("%s: got default %q in the example's comment, want %q", k.path, preset, k.preset)
		}
	}
}

// exampleDefaults maps the path of each key in a file to the default that the comment on its line states.
func exampleDefaults(t *testing.T, data []byte) map[string]string {
	t.Helper()
	var doc yaml.Node
	if err := yaml.Load(data, &doc); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(data), "\n")
	statement := regexp.MustCompile(` # .*\bdefault (\S+)$`)
	stated := map[string]string{}
	var walk func(node *yaml.Node, at string)
	walk = func(node *yaml.Node, at string) {
		for i := 0; i+1 < len(node.Content) && node.Kind == yaml.MappingNode; i += 2 {
			name := node.Content[i]
			match := statement.FindStringSubmatch(lines[name.Line-1])
			stated[key(at, name.Value)] = cmp.Or(append(match, "", "")[1], "")
			walk(node.Content[i+1], key(at, name.Value))
		}
		for _, element := range node.Content {
			if node.Kind == yaml.SequenceNode {
				walk(element, at+"[]")
			}
		}
	}
	walk(doc.Content[0], "")
	return stated
}
