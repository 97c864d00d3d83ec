package demo

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
)

// scenario is the one for a path.
func (c *Cast) scenario(t *testing.T, name string) Scenario {
	t.Helper()
	for _, s := range c.Scenarios() {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("got no scenario %s", name)
	return Scenario{}
}

// Without a proxy the upstreams themselves stand in for it: they take any path.
func TestScenarioAgainstAnUpstream(t *testing.T) {
	c := troupe(t, waits{})
	cases := map[string]struct {
		scenario, route string
		want            string
		wrong           bool
	}{
		"client closes":         {"Direct", "direct", "101 Switching Protocols, sent 3, received 6, close 1000", false},
		"upstream closes":       {"Upstream says goodbye", "leaves", "101 Switching Protocols, sent 3, received 2, close 4001 come back tomorrow", false},
		"another close":         {"Upstream dies", "leaves", "101 Switching Protocols, sent 3, received 2, close 4001 come back tomorrow, NOT AS EXPECTED: close 4001, want 1012", true},
		"reset with no proxy":   {"Upstream dies", "dies", "101 Switching Protocols, sent 3, received 2, NOT AS EXPECTED: ", true},
		"opened, not refused":   {"Refused", "direct", "101 Switching Protocols, sent 0, received 0, NOT AS EXPECTED: status 101, want 502", true},
		"nobody at the address": {"Direct", "refused", "NOT AS EXPECTED: dial tcp ", true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			r := c.scenario(t, tc.scenario).Run(t.Context(), "ws://"+c.target(t, tc.route)+"/")
			if got := r.String(); got != tc.want && !(tc.wrong && strings.HasPrefix(got, tc.want)) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			if (r.Err != nil) != tc.wrong {
				t.Errorf("got error %v, want one: %t", r.Err, tc.wrong)
			}
		})
	}
}

func TestScenarioThatIsRefused(t *testing.T) {
	c := troupe(t, waits{})
	var origin string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		origin = r.Header.Get("Origin")
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, `{"title":"Forbidden","status":403,"phase":"route","reason":"origin_denied"}`)
	}))
	defer s.Close()
	r := c.scenario(t, "Foreign origin").Run(t.Context(), strings.Replace(s.URL, "http", "ws", 1))
	if got, want := r.String(), "403 Forbidden, route: origin_denied"; got != want || r.Err != nil {
		t.Errorf("got %q (%v), want %q", got, r.Err, want)
	}
	if want := "https://elsewhere.example"; origin != want {
		t.Errorf("got origin %q, want %q", origin, want)
	}
}

func TestScenarioEndsWithItsContext(t *testing.T) {
	c := troupe(t, waits{})
	ctx, cancel := context.WithCancel(t.Context())
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := new(websocket.Upgrader).Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer conn.Close()
		cancel()
		conn.NextReader()
		conn.NextReader() // and never an echo
	}))
	defer s.Close()
	r := c.scenario(t, "Direct").Run(ctx, strings.Replace(s.URL, "http", "ws", 1))
	if !errors.Is(r.Err, context.Canceled) {
		t.Errorf("got %v, want %v", r.Err, context.Canceled)
	}
}

func TestChatGoesOnUntilItsContextEnds(t *testing.T) {
	c := troupe(t, waits{})
	ctx, cancel := context.WithCancel(t.Context())
	farewell := make(chan error, len(chatting))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := new(websocket.Upgrader).Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer conn.Close()
		_, text, err := conn.ReadMessage()
		if err != nil || string(text) != "still here: 1" {
			t.Errorf("got %q, %v, want a message", text, err)
		}
		cancel()
		_, _, err = conn.ReadMessage()
		farewell <- err
	}))
	defer s.Close()
	c.Chat(ctx, strings.Replace(s.URL, "http", "ws", 1))
	if err := <-farewell; !websocket.IsCloseError(err, websocket.CloseNormalClosure) {
		t.Errorf("got %v, want close %d", err, websocket.CloseNormalClosure)
	}
}
