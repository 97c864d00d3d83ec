package admin

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"wsproxy/internal/memnet"
	"wsproxy/lifecycle"
)

func TestHosts(t *testing.T) {
	listeners := map[string]struct {
		at, configured string
		legal, illegal []string
	}{
		"loopback": {
			"127.0.0.1:9900", "127.0.0.1:9900",
			[]string{"localhost:9900", "LOCALHOST:9900", "127.0.0.1:9900", "[::1]:9900"},
			[]string{"evil.test:9900", "evil.test", "localhost", "127.0.0.1", "localhost:80", "localhost:9900.evil.test",
				"localhost.:9900", "127.0.0.2:9900", "10.0.0.1:9900"},
		},
		"loopback under a configured name": {
			"[::1]:9900", "Admin.Internal:0",
			[]string{"admin.internal:9900", "localhost:9900"},
			[]string{"admin.internal", "admin.internal:0", "internal:9900"},
		},
		"another loopback address": {
			"127.0.0.2:9900", "127.0.0.2:9900",
			[]string{"127.0.0.2:9900"},
			[]string{"127.0.0.3:9900"},
		},
		"beyond loopback": {
			"10.0.0.1:9900", "10.0.0.1:9900",
			[]string{"10.0.0.1:9900", "wsproxy.svc:9900", "anything"},
			nil,
		},
	}
	for name, tc := range listeners {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var n memnet.Network
				l, err := n.Listen(tc.at)
				if err != nil {
					t.Fatal(err)
				}
				s := &Server{Registry: new(lifecycle.Registry), System: new(lifecycle.System), Address: tc.configured}
				s.Start(l)
				defer s.Close()
				for status, hosts := range map[int][]string{200: tc.legal, 403: tc.illegal} {
					for _, host := range hosts {
						for _, path := range []string{"/healthz", "/api/state"} {
							if got := statusOf(t, &n, tc.at, "GET "+path+" HTTP/1.1\r\nHost: "+host); got != status {
								t.Errorf("%s at %s: got %d, want %d", path, host, got, status)
							}
						}
					}
				}
				if got := statusOf(t, &n, tc.at, "GET http://evil.test:9900/healthz HTTP/1.1\r\nHost: localhost:9900"); tc.illegal != nil && got != 403 {
					t.Errorf("another host in the request line: got %d, want 403", got)
				}
			})
		})
	}
}

// statusOf sends a request as it is written.
func statusOf(t *testing.T, n *memnet.Network, at, request string) int {
	t.Helper()
	c, err := n.Dial(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, request+"\r\nConnection: close\r\n\r\n")
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	io.Copy(io.Discard, answer.Body)
	return answer.StatusCode
}

func TestToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{Access: Access{Token: "a secret"}, Metrics: http.NotFoundHandler()}
		v := start(t, s)
		for authorization, admitted := range map[string]bool{
			"Bearer a secret":  true,
			"bearer a secret":  true,
			"":                 false,
			"Bearer":           false,
			"Bearer ":          false,
			"Bearer a secre":   false,
			"Bearer a secret ": true, // net/http trims it
			"Bearer A SECRET":  false,
			"Basic a secret":   false,
			"a secret":         false,
		} {
			for _, p := range append(s.pages(), page{path: "/"}, page{path: "/nowhere"}, page{path: "/healthz/../api/state"}) {
				answer, body := v.get(p.path, func(r *http.Request) { r.Header.Set("Authorization", authorization) })
				want := admitted || p.path == "/healthz" || p.path == "/readyz"
				if got := answer.StatusCode != http.StatusUnauthorized; got != want {
					t.Errorf("%s with %q: got %d, want it admitted: %t", p.path, authorization, answer.StatusCode, want)
				}
				if !want && (answer.Header.Get("WWW-Authenticate") == "" || bytes.Contains(body, []byte("secret"))) {
					t.Errorf("%s with %q: got %v, %s", p.path, authorization, answer.Header, body)
				}
			}
		}
	})
}

func TestOnlyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(Server)
		v := start(t, s)
		for _, p := range append(s.pages(), page{path: "/"}) {
			for _, method := range []string{http.MethodPost, http.MethodDelete, http.MethodPut, http.MethodOptions, "BREW"} {
				answer, body := v.get(p.path, func(r *http.Request) { r.Method = method })
				allow := map[string]string{
					"/api/log-level": "GET, HEAD, PUT", "/api/connections": "GET, HEAD, DELETE", "/api/connections/{id}": "GET, HEAD, DELETE",
				}[p.path]
				if strings.Contains(allow, method) {
					continue
				}
				if answer.StatusCode != http.StatusMethodNotAllowed || answer.Header.Get("Allow") != cmp.Or(allow, "GET, HEAD") {
					t.Errorf("%s %s: got %d, Allow %q: %s", method, p.path, answer.StatusCode, answer.Header.Get("Allow"), body)
				}
			}
		}
		answer, body := v.get("/api/state", func(r *http.Request) { r.Method = http.MethodHead })
		if answer.StatusCode != http.StatusOK || len(body) != 0 || answer.ContentLength <= 0 {
			t.Errorf("HEAD: got %d, %d bytes of %d", answer.StatusCode, len(body), answer.ContentLength)
		}
		if got := answer.Header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("got %q, want no-store", got)
		}
	})
}

// TestPagesOfOtherSitesGetNothing sends what a browser says of who asks (W3C Fetch Metadata).
func TestPagesOfOtherSitesGetNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := start(t, new(Server))
		for name, tc := range map[string]struct {
			site, dest string
			status     int
		}{
			"another program":             {"", "", http.StatusOK},
			"typed by the user":           {"none", "document", http.StatusOK},
			"a page of ours":              {"same-origin", "empty", http.StatusOK},
			"a link followed by the user": {"cross-site", "document", http.StatusOK},
			"a script's fetch":            {"cross-site", "empty", http.StatusForbidden},
			"an image":                    {"cross-site", "image", http.StatusForbidden},
			"a script":                    {"cross-site", "script", http.StatusForbidden},
			"a frame":                     {"cross-site", "iframe", http.StatusForbidden},
			"another port of this host":   {"same-site", "empty", http.StatusForbidden},
		} {
			answer, _ := v.get("/api/state", func(r *http.Request) {
				if tc.site != "" {
					r.Header.Set("Sec-Fetch-Site", tc.site)
					r.Header.Set("Sec-Fetch-Dest", tc.dest)
				}
			})
			if answer.StatusCode != tc.status {
				t.Errorf("%s: got %d, want %d", name, answer.StatusCode, tc.status)
			}
			if got := answer.Header.Get("Cross-Origin-Resource-Policy"); got != "same-origin" {
				t.Errorf("%s: got resource policy %q, want same-origin", name, got)
			}
		}
	})
}
