package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// maxProblems bounds how many problems are returned; whoever has more has another kind of file in hand.
const maxProblems = 100

// wholeFile is the path of a problem that concerns no single key.
const wholeFile = "file"

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	File       string // as it was named; empty for flags
	Line       int    // from 1; 0 where there is none
	Path       string // "routes[2].upstream", or "file" for the file as a whole
	Message    string
	Suggestion string // what was probably meant; empty where nothing is close
}

func (p Problem) String() string {
	var b strings.Builder
	switch {
	case p.File != "" && p.Line > 0:
		fmt.Fprintf(&b, "%s:%d: ", p.File, p.Line)
	case p.File != "":
		fmt.Fprintf(&b, "%s: ", p.File)
	}
	fmt.Fprintf(&b, "%s: %s", p.Path, p.Message)
	if p.Suggestion != "" {
		fmt.Fprintf(&b, " (did you mean %q?)", p.Suggestion)
	}
	return b.String()
}

// Problems is everything that is wrong with a configuration, in the order of the file.
type Problems []Problem

// Error has a line for each problem.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.String()
	}
	return strings.Join(lines, "\n")
}

// source is what is known of a file beside its values: where each key stands and what is wrong.
type source struct {
	name     string
	marks    map[string]mark
	wrong    map[string]bool // paths with a problem: their values can't be trusted in further checks
	problems Problems
}

// mark is where a value stands. raw is its text before ${NAME} was replaced, where it was.
type mark struct {
	line int
	raw  string
}

func newSource(name string) *source {
	return &source{name: name, marks: map[string]mark{}, wrong: map[string]bool{}}
}

// add notes a problem, unless its path already has one: a second check of a value that is wrong says nothing new.
func (s *source) add(path, suggestion, format string, args ...any) {
	s.addAt(s.line(path), path, suggestion, fmt.Sprintf(format, args...))
}

func (s *source) addAt(line int, path, suggestion, message string) {
	path = cmp.Or(path, wholeFile)
	if s.wrong[path] {
		return
	}
	s.wrong[path] = true
	s.problems = append(s.problems, Problem{File: s.name, Line: line, Path: path, Message: message, Suggestion: suggestion})
}

// crowded reports whether there are problems enough that looking for suggestions is no longer worth its time.
func (s *source) crowded() bool { return len(s.problems) >= maxProblems }

// line is the line of path, or of the closest part around it that the file has.
func (s *source) line(path string) int {
	for {
		if m, ok := s.marks[path]; ok || path == "" {
			return m.line
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
}

// given reports whether the file has the key, as opposed to its default.
func (s *source) given(path string) bool {
	_, ok := s.marks[path]
	return ok
}

// quote shows a value as the file has it, without a user and password: what came out of ${NAME} may be a secret.
func (s *source) quote(path, value string) string {
	return fmt.Sprintf("%q", abridge(withoutUser(cmp.Or(s.marks[path].raw, value))))
}

func withoutUser(text string) string {
	at := strings.LastIndex(text, "@")
	if at < 0 {
		return text
	}
	scheme, _, ok := strings.Cut(text[:at], "://")
	if !ok {
		return "…" + text[at:]
	}
	return scheme + "://…" + text[at:]
}

func (s *source) err() error {
	if len(s.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(s.problems, func(x, y Problem) int { return cmp.Compare(x.Line, y.Line) })
	if more := len(s.problems) - maxProblems; more > 0 {
		s.problems = append(s.problems[:maxProblems:maxProblems], Problem{
			File: s.name, Path: wholeFile, Message: fmt.Sprintf("%d more problems", more),
		})
	}
	return s.problems
}

// abridge keeps a message readable when a value is a page long.
func abridge(text string) string {
	const most = 80
	runes := []rune(text)
	if len(runes) <= most {
		return text
	}
	return string(runes[:most]) + "…"
}

// key is the path of a key in the mapping at path at.
func key(at, name string) string {
	if !plainKey(name) {
		return fmt.Sprintf("%s[%q]", at, abridge(name))
	}
	if at == "" {
		return name
	}
	return at + "." + name
}

func plainKey(name string) bool {
	return name != "" && len(name) <= 64 && !strings.ContainsFunc(name, func(r rune) bool {
		return r != '_' && r != '-' && !alphanumeric(r)
	})
}

func alphanumeric(r rune) bool {
	return '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
}

// item is the path of an element of the list at path at.
func item(at string, i int) string { return fmt.Sprintf("%s[%d]", at, i) }
