package config

import (
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// maxValues bounds how many values a file stands for: aliases can make few lines stand for any number.
const maxValues = 200_000

// decoder turns the tree of a YAML document into a Config. It goes on after a problem, so that all are found at once.
type decoder struct {
	*source
	env    func(string) (string, bool)
	dir    string // of the file: the paths in it are relative to it
	values int
	files  []fileUse
}

// value gives v, which stands at path at, what node says.
func (d *decoder) value(node *yaml.Node, at string, f field, v reflect.Value) {
	for node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if d.values++; d.values > maxValues {
		d.addAt(0, wholeFile, "", "stands for more than 200000 values")
		return
	}
	switch {
	case node.Kind == yaml.ScalarNode && !knownTag(node.Tag):
		d.add(at, "", "the YAML tag %s is not supported", abridge(node.Tag))
	case node.Kind == yaml.ScalarNode && node.Tag == "!!null":
		d.add(at, "", "has no value; write one, or remove the key")
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		setDefaults(v.Elem())
		d.value(node, at, f, v.Elem())
	case isScalar(v):
		d.scalar(node, at, f, v)
	case v.Kind() == reflect.Slice:
		d.list(node, at, f, v)
	case v.Kind() == reflect.Map:
		d.table(node, at, v)
	default:
		d.mapping(node, at, v)
	}
}

func knownTag(tag string) bool {
	return slices.Contains([]string{"!!str", "!!int", "!!float", "!!bool", "!!null", "!!timestamp"}, tag)
}

func (d *decoder) scalar(node *yaml.Node, at string, f field, v reflect.Value) {
	if node.Kind != yaml.ScalarNode {
		d.add(at, "", "got %s, want %s", kind(node), kindOf(v))
		return
	}
	if secret, ok := v.Addr().Interface().(*Secret); ok {
		d.secret(node, at, secret)
		return
	}
	text, ok := d.expand(node, at)
	switch {
	case !ok:
	case text == "" && f.required:
		d.add(at, "", "is empty")
	case text == "":
		d.unset(at, v)
	default:
		d.set(node, at, f, v, text)
	}
}

// unset handles an empty text, which says that an optional text is not wanted.
func (d *decoder) unset(at string, v reflect.Value) {
	switch to := v.Addr().Interface().(type) {
	case *string:
		*to = ""
	case *File:
		*to = ""
	default:
		d.add(at, "", "is empty; write a value, or remove the key")
	}
}

func (d *decoder) set(node *yaml.Node, at string, f field, v reflect.Value, text string) {
	if file, ok := v.Addr().Interface().(*File); ok {
		*file = File(d.absolute(strings.TrimPrefix(text, "file:")))
		d.files = append(d.files, fileUse{path: at, line: d.line(at), file: string(*file)})
		return
	}
	if s, ok := v.Addr().Interface().(*Source); ok && s.UnmarshalText([]byte(text)) == nil && s.File != "" {
		s.File = d.absolute(s.File)
		d.files = append(d.files, fileUse{path: at, line: d.line(at), file: s.File})
		return
	}
	if w, ok := f.set(v, text).(*wanted); ok {
		if text != node.Value || strings.Contains(text, "@") {
			w.suggestion = "" // it may repeat a secret
		}
		d.add(at, w.suggestion, "got %s, want %s", d.quote(at, text), w.what)
	}
}

// expand replaces the ${NAME}s of a scalar and remembers what it was before.
func (d *decoder) expand(node *yaml.Node, at string) (text string, ok bool) {
	text, used, err := expand(node.Value, d.env)
	if err != nil {
		d.add(at, "", "%v", err)
		return "", false
	}
	if used {
		d.marks[at] = mark{line: d.line(at), raw: node.Value}
	}
	return text, true
}

func (d *decoder) absolute(file string) string {
	if filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(d.dir, file)
}

func (d *decoder) list(node *yaml.Node, at string, f field, v reflect.Value) {
	if node.Kind != yaml.SequenceNode {
		d.add(at, "", "got %s, want %s", kind(node), kindOf(v))
		return
	}
	if len(node.Content) == 0 && (f.required || f.hasPreset) {
		d.add(at, "", "is empty")
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(node.Content), len(node.Content)))
	for i, content := range node.Content {
		path, element := item(at, i), v.Index(i)
		d.marks[path] = mark{line: content.Line}
		if !isScalar(element) {
			setDefaults(element)
		}
		d.value(content, path, field{required: true}, element)
	}
}

// table decodes a mapping whose keys are the user's.
func (d *decoder) table(node *yaml.Node, at string, v reflect.Value) {
	v.Set(reflect.MakeMap(v.Type()))
	d.entries(node, at, kindOf(v), func(name, path string, value *yaml.Node) {
		element := reflect.New(v.Type().Elem()).Elem()
		d.value(value, path, field{required: true}, element)
		v.SetMapIndex(reflect.ValueOf(name), element)
	})
}

// switchable is a block that can be written as off.
type switchable interface{ turnOff() }

func (d *decoder) mapping(node *yaml.Node, at string, v reflect.Value) {
	if s, ok := v.Addr().Interface().(switchable); ok && node.Kind == yaml.ScalarNode && node.Value == "off" {
		s.turnOff()
		return
	}
	fields := fieldsOf(v.Type())
	meant := map[string]bool{}
	d.entries(node, at, kindOf(v), func(name, path string, value *yaml.Node) {
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
		if i < 0 {
			meant[d.unknown(name, path, names(fields))] = true
			return
		}
		d.value(value, path, fields[i], v.Field(fields[i].index))
	})
	if node.Kind != yaml.MappingNode {
		return
	}
	for _, f := range fields {
		path := key(at, f.name)
		switch {
		case d.given(path):
		case meant[f.name]:
			d.wrong[path] = true // said already: the key is there, misspelt
		case f.required && !f.hasPreset:
			d.add(path, "", "is missing")
		}
	}
}

// unknown notes an unknown key and returns the one that was probably meant.
func (d *decoder) unknown(name, path string, known []string) (meant string) {
	if !d.crowded() {
		meant = closest(name, known)
	}
	if meant == "" && len(known) <= 12 {
		d.add(path, "", "unknown key; known here: %s", strings.Join(known, ", "))
		return ""
	}
	d.add(path, meant, "unknown key")
	return meant
}

// entries calls each for the entries of a mapping that have a proper key, and marks where they stand.
func (d *decoder) entries(node *yaml.Node, at, want string, each func(name, path string, value *yaml.Node)) {
	if node.Kind != yaml.MappingNode {
		d.add(at, "", "got %s, want %s", kind(node), want)
		return
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		name, value := node.Content[i], node.Content[i+1]
		switch path := key(at, name.Value); {
		case name.Tag == "!!merge":
			d.addAt(name.Line, path, "", "merge keys are not supported; repeat the keys")
		case name.Kind != yaml.ScalarNode || name.Value == "":
			d.addAt(name.Line, key(at, "?"), "", "a key must be text")
		case d.given(path):
			d.add(path, "", "stands here and again on line %d", name.Line)
		default:
			d.marks[path] = mark{line: name.Line}
			each(name.Value, path, value)
		}
	}
}

// kind names what a node is, for a message. The text of a scalar is not shown: it may be a secret in the wrong place.
func kind(node *yaml.Node) string {
	switch node.Kind {
	case yaml.SequenceNode:
		return "a list"
	case yaml.MappingNode:
		return "a mapping"
	}
	return "a single value"
}

// kindOf names what a value must be, for a message.
func kindOf(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Slice:
		return "a list"
	case reflect.Map:
		return "a mapping"
	}
	if isScalar(v) {
		return "a single value"
	}
	want := "a mapping with keys such as " + fieldsOf(v.Type())[0].name
	if _, ok := v.Addr().Interface().(switchable); ok {
		want += ", or off"
	}
	return want
}
