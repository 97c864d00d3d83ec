package proxy

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"

	"wsproxy/lifecycle"
)

// routes makes a compiled Server with a route for each pattern, which is its name, too.
func routes(patterns ...string) (*Server, error) {
	s := &Server{}
	pick := func(Choice) (Target, Lease, bool) { return Target{}, nil, false }
	for _, p := range patterns {
		s.Routes = append(s.Routes, &Route{Name: p, Match: p, Upstream: Upstream{Name: "up", Pick: pick}})
	}
	return s, s.Compile()
}

func TestRoute(t *testing.T) {
	s, err := routes("/chat", "/rooms/{room}", "/rooms/lobby", "/rooms/{room}/files/{path...}", "/tree/", "/end/{$}",
		"example.com/", "example.com/chat", "api.example.com/{version}/socket")
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		host, target string
		want         string // none: no route
	}{
		"exact":                       {"other.test", "/chat", "/chat"},
		"query is not looked at":      {"other.test", "/chat?x=/rooms/1", "/chat"},
		"deeper than exact":           {"other.test", "/chat/x", ""},
		"path in other case":          {"other.test", "/Chat", ""},
		"nothing":                     {"other.test", "/", ""},
		"wildcard":                    {"other.test", "/rooms/7", "/rooms/{room}"},
		"wildcard loses to literal":   {"other.test", "/rooms/lobby", "/rooms/lobby"},
		"wildcard takes one segment":  {"other.test", "/rooms/7/8", ""},
		"wildcard takes no empty one": {"other.test", "/rooms/", ""},
		"wildcard, escaped":           {"other.test", "/rooms/a%20b", "/rooms/{room}"},
		"an escaped slash is a slash": {"other.test", "/rooms%2Flobby", "/rooms/lobby"},
		"rest":                        {"other.test", "/rooms/7/files/a/b/c", "/rooms/{room}/files/{path...}"},
		"empty rest":                  {"other.test", "/rooms/7/files/", "/rooms/{room}/files/{path...}"},
		"rest without its slash":      {"other.test", "/rooms/7/files", ""},
		"tree":                        {"other.test", "/tree/a/b", "/tree/"},
		"tree itself":                 {"other.test", "/tree/", "/tree/"},
		"tree without its slash":      {"other.test", "/tree", ""},
		"end":                         {"other.test", "/end/", "/end/{$}"},
		"behind the end":              {"other.test", "/end/x", ""},
		"two slashes":                 {"other.test", "//chat", "/chat"},
		"slashes inside":              {"other.test", "/tree///a", "/tree/"},
		"dot":                         {"other.test", "/./chat", "/chat"},
		"dots":                        {"other.test", "/tree/../chat", "/chat"},
		"dots beyond the root":        {"other.test", "/../../chat", "/chat"},
		"dots, escaped":               {"other.test", "/tree/%2e%2e/chat", "/chat"},
		"dots out of a tree":          {"other.test", "/tree/a/../../secret", ""},
		"host":                        {"example.com", "/anything", "example.com/"},
		"host and path":               {"example.com", "/chat", "example.com/chat"},
		"host with port":              {"example.com:8080", "/chat", "example.com/chat"},
		"host in capitals":            {"EXAMPLE.com", "/chat", "example.com/chat"},
		"host above generic":          {"example.com", "/rooms/lobby", "example.com/"},
		"host beneath":                {"www.example.com", "/chat", "/chat"},
		"host and wildcard":           {"api.example.com", "/v1/socket", "api.example.com/{version}/socket"},
		"host falls back":             {"api.example.com", "/chat", "/chat"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			u, err := url.ParseRequestURI(c.target)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if r := s.table.Load().route(&http.Request{Method: http.MethodGet, Host: c.host, URL: u}); r != nil {
				got = r.Name
			}
			if got != c.want {
				t.Errorf("%s%s: got %q, want %q", c.host, c.target, got, c.want)
			}
		})
	}
}

func TestCompile(t *testing.T) {
	cases := map[string]struct {
		patterns []string
		want     string // in the error; none: nil
	}{
		"apart":                    {[]string{"/a", "/b", "h.test/a", "/{x}/y"}, ""},
		"one within the other":     {[]string{"/", "/{x}", "/a"}, ""},
		"the same twice":           {[]string{"/a", "/a"}, `route /a: match "/a": `},
		"the same by another name": {[]string{"/{x}", "/{y}"}, `route /{y}: match "/{y}": `},
		"overlapping":              {[]string{"/{x}/b", "/a/{y}"}, `route /a/{y}: match "/a/{y}": `},
		"no slash":                 {[]string{"a"}, `route a: match "a": `},
		"empty":                    {[]string{""}, `route : match "": `},
		"wildcard in a segment":    {[]string{"/a{x}"}, `route /a{x}: match "/a{x}": `},
		"rest in the middle":       {[]string{"/{x...}/a"}, `route /{x...}/a: match "/{x...}/a": `},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := routes(c.patterns...)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestCompileWithoutUpstream(t *testing.T) {
	err := (&Server{Routes: []*Route{{Name: "chat", Match: "/"}}}).Compile()
	if want := "route chat: no upstream"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestPattern(t *testing.T) {
	for match, want := range map[string]string{"/": "/", "/a/{b}": "/a/{b}", "example.com/": "/", "example.com/a/": "/a/"} {
		s, err := routes(match)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Routes[0].Pattern(); got != want {
			t.Errorf("%s: got %s, want %s", match, got, want)
		}
	}
}

// What net/http would redirect is refused: browsers follow no redirect of an upgrade.
func TestNoRedirect(t *testing.T) {
	cases := map[string]struct {
		target string
		status int
	}{
		"missing slash": {"/tree", http.StatusNotFound},
		"unclean":       {"/a/..//tree/./x", http.StatusSwitchingProtocols},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.route.Match = "/tree/"
				w.start()
				raw := w.send(strings.Replace(request(), "/chat", c.target, 1)).String()
				if c.status == http.StatusNotFound {
					wantProblem(t, raw, c.status, lifecycle.PhaseRoute, lifecycle.ReasonNoRoute)
					return
				}
				if !strings.HasPrefix(raw, "HTTP/1.1 101 ") || !strings.HasPrefix(w.received(), "GET "+c.target+" HTTP/1.1\r\n") {
					t.Errorf("client got %q, upstream %q; want a 101 and %s", raw, w.received(), c.target)
				}
			})
		})
	}
}
