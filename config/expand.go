package config

import (
	"fmt"
	"strings"
)

// expand replaces each ${NAME} in text by its value from env; "$${" stands for "${". used tells whether any was there.
// A value from the environment is not looked at again.
func expand(text string, env func(string) (string, bool)) (expanded string, used bool, err error) {
	var b strings.Builder
	for {
		at := strings.Index(text, "${")
		if at < 0 {
			return b.String() + text, used, nil
		}
		if at > 0 && text[at-1] == '$' {
			b.WriteString(text[:at-1] + "${")
			text = text[at+2:]
			continue
		}
		name, rest, closed := strings.Cut(text[at+2:], "}")
		if !closed || !variable(name) {
			return "", used, fmt.Errorf("${ must be followed by a variable's name and }; write $${ for the characters themselves")
		}
		value, ok := env(name)
		if !ok {
			return "", used, fmt.Errorf("the environment has no variable %s", name)
		}
		b.WriteString(text[:at] + value)
		text, used = rest, true
	}
}

// variable reports whether name is one that a shell could set.
func variable(name string) bool {
	return name != "" && len(name) <= 256 && !('0' <= name[0] && name[0] <= '9') &&
		!strings.ContainsFunc(name, func(r rune) bool { return r != '_' && !alphanumeric(r) })
}
