package config

import (
	"bytes"
	"errors"
	"io"

	"go.yaml.in/yaml/v4"
)

// smallest is the file to start from, shown to whoever has an empty one.
const smallest = `write at least
  listeners: [{ address: ":8080" }]
  routes: [{ name: default, match: /, upstream: default }]
  upstreams: [{ name: default, targets: ["ws://localhost:9000"] }]`

// document is the root of the file's only document, or nil after a problem.
func document(src *source, data []byte) *yaml.Node {
	if len(data) > maxFileSize {
		src.add(wholeFile, "", "is larger than 1 MiB")
		return nil
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err != nil {
		src.add(wholeFile, "", "can't be read: %v", err)
		return nil
	}
	var doc, second yaml.Node
	switch err := loader.Load(&doc); {
	case errors.Is(err, io.EOF) || err == nil && empty(&doc):
		src.add(wholeFile, "", "is empty; %s", smallest)
		return nil
	case err != nil:
		syntaxProblem(src, err)
		return nil
	}
	switch err := loader.Load(&second); {
	case err == nil:
		src.addAt(second.Line, wholeFile, "", "a second document begins here; put everything into one")
	case !errors.Is(err, io.EOF):
		syntaxProblem(src, err)
	}
	return doc.Content[0]
}

func empty(doc *yaml.Node) bool {
	return len(doc.Content) == 0 || doc.Content[0].Tag == "!!null"
}

// syntaxProblem keeps of the library's error what a user can act on.
func syntaxProblem(src *source, err error) {
	load, ok := errors.AsType[*yaml.LoadError](err)
	if !ok {
		src.add(wholeFile, "", "is not YAML: %v", err)
		return
	}
	message := "is not YAML: " + load.Message
	if load.ContextMsg != "" {
		message += ", " + load.ContextMsg
	}
	src.addAt(load.Mark.Line, wholeFile, "", abridge(message))
}
