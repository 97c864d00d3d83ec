package config

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
)

// checkMatches asks a ServeMux, which knows best, whether the routes' patterns are valid and go together.
func (c *Config) checkMatches(src *source) {
	mux := http.NewServeMux()
	for i, r := range c.Routes {
		path := key(item("routes", i), "match")
		if r.Match == "" || src.wrong[path] {
			continue
		}
		if err := checkPattern(r.Match); err != nil {
			src.add(path, "", "got %s, want %v", src.quote(path, r.Match), err)
			continue
		}
		if err := register(mux, r.Match); err != nil && !src.crowded() {
			c.blameConflict(src, i, path)
		}
	}
}

// checkPattern refuses what a ServeMux would, and what it takes but would never match.
func checkPattern(pattern string) error {
	host, _, _ := strings.Cut(pattern, "/")
	switch {
	case strings.ContainsAny(pattern, " \t"):
		return errors.New("a pattern without method and spaces")
	case strings.ContainsAny(pattern, "?#"):
		return errors.New("a pattern without query and fragment")
	case strings.Contains(host, ":"):
		return errors.New("a host without port")
	case strings.ToLower(host) != host:
		return errors.New("a host in lower case")
	}
	if err := register(http.NewServeMux(), "GET "+pattern); err != nil { // the method makes it refuse what only CONNECT can match
		return fmt.Errorf("a pattern such as /chat/{room} or chat.example.com/: %s", grammar(err))
	}
	return nil
}

// grammar is what a ServeMux has against a pattern, without the pattern, which the problem quotes already.
func grammar(err error) string {
	if inner := errors.Unwrap(err); inner != nil {
		err = inner
	}
	return err.Error()
}

// blameConflict finds the earlier route that routes[i] can't stand beside.
func (c *Config) blameConflict(src *source, i int, path string) {
	for j, other := range c.Routes[:i] {
		mux, otherPath := http.NewServeMux(), key(item("routes", j), "match")
		if other.Match == "" || src.wrong[otherPath] || register(mux, other.Match) != nil {
			continue
		}
		if err := register(mux, c.Routes[i].Match); err != nil {
			src.add(path, "", "conflicts with %s %s: %s", otherPath, src.quote(otherPath, other.Match), overlap(err))
			return
		}
	}
}

// overlap says how two patterns conflict, with the example of the ServeMux where it gives one.
func overlap(err error) string {
	example := regexp.MustCompile(`both match some paths, like ("[^"]*")`).FindStringSubmatch(err.Error())
	if example == nil {
		return "they match the same requests"
	}
	return "both match " + example[1] + " and neither is more specific"
}

// register adds a pattern to mux and returns as an error what makes mux panic.
func register(mux *http.ServeMux, pattern string) (err error) {
	defer func() {
		if p := recover(); p != nil {
			var ok bool
			if err, ok = p.(error); !ok {
				err = fmt.Errorf("%v", p)
			}
		}
	}()
	mux.Handle(pattern, http.NotFoundHandler())
	return nil
}
