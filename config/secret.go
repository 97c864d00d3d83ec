package config

import (
	"log/slog"
	"strings"

	"go.yaml.in/yaml/v4"
)

// maxSecretSize bounds the file that a secret is read from.
const maxSecretSize = 64 << 10

const secretShown = "[secret]"

// Secret is a text that is never printed: not by fmt, encoding/json, YAML or slog. Only Value gives it away.
// The zero value is no secret.
type Secret struct {
	value   *string // a pointer, since fmt prints unexported fields of other structs; filled by ReadFiles where file is set
	file    string
	literal bool // value stands in the configuration itself
}

// Value is the secret; empty where there is none, and before ReadFiles where it is in a file.
func (s Secret) Value() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsZero reports whether the configuration has no such secret.
func (s Secret) IsZero() bool { return s.value == nil }

// unread reports whether the secret's file is yet to be read.
func (s Secret) unread() bool { return s.file != "" && s.Value() == "" }

// String and GoString make every verb of fmt that shows texts print the same.
func (Secret) String() string   { return secretShown }
func (Secret) GoString() string { return secretShown }

// MarshalText implements encoding.TextMarshaler, which encoding/json and YAML go by.
func (Secret) MarshalText() ([]byte, error) { return []byte(secretShown), nil }

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue(secretShown) }

// secret decodes what is `file:PATH`, has a ${NAME}, or is the secret itself. Only the file's own text can name a file:
// a variable's value is taken as it is.
func (d *decoder) secret(node *yaml.Node, at string, secret *Secret) {
	text, ok := d.expand(node, at)
	if !ok {
		return
	}
	path, isFile := strings.CutPrefix(text, "file:")
	isFile = isFile && strings.HasPrefix(node.Value, "file:")
	switch {
	case text == "" || isFile && path == "":
		d.add(at, "", "is empty; write file:PATH or ${NAME}, or remove the key")
	case isFile:
		*secret = Secret{value: new(string), file: d.absolute(path)}
		d.files = append(d.files, fileUse{path: at, line: d.line(at), file: secret.file, secret: secret.value})
	default:
		*secret = Secret{value: &text, literal: d.marks[at].raw == ""}
	}
}
