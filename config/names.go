package config

import "strings"

// nameList is the names of a list's elements, for what refers to them.
type nameList struct {
	kind  string // of an element, for messages
	names []string
	known map[string]bool
	whole bool // every element has a name that can be trusted
}

// checkNames holds the names of a list to what telemetry can carry as a label, and to being different.
func checkNames[T any](src *source, list, kind string, elements []T, nameOf func(T) string) nameList {
	l := nameList{kind: kind, known: map[string]bool{}, whole: !src.wrong[list]}
	first := map[string]int{}
	for i, element := range elements {
		name, path := nameOf(element), key(item(list, i), "name")
		if name == "" || src.wrong[path] {
			l.whole = false
			continue
		}
		before, twice := first[name]
		switch {
		case twice:
			src.add(path, "", "%s[%d] has the same name %s", list, before, src.quote(path, name))
			continue
		case !validName(name):
			src.add(path, "", "got %s, want letters, digits, '.', '_' and '-', at most 63, a letter or digit first", src.quote(path, name))
		}
		first[name], l.known[name], l.names = i, true, append(l.names, name)
	}
	return l
}

func validName(name string) bool {
	return len(name) <= 63 && alphanumeric(rune(name[0])) && !strings.ContainsFunc(name, func(r rune) bool {
		return r != '.' && r != '_' && r != '-' && !alphanumeric(r)
	})
}

// checkReference makes sure that the name at path is one of the list's. Where a name there is itself wrong, it may be
// the one that is meant.
func (l nameList) checkReference(src *source, path, name string) {
	if name == "" || l.known[name] || !l.whole {
		return
	}
	suggestion := ""
	if !src.crowded() && src.marks[path].raw == "" {
		suggestion = closest(name, l.names)
	}
	src.add(path, suggestion, "no %s %s", l.kind, src.quote(path, name))
}
