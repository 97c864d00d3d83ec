package telemetry

import (
	"errors"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"wsproxy/lifecycle"
)

func TestLevelsOfComponentsAndRoutes(t *testing.T) {
	h := newHarness(t, Settings{Log: Log{Components: map[string]slog.Level{"proxy": slog.LevelError, "relay": slog.LevelDebug}}})
	chatty := h.registry.Open("", h.open().c.Accepted)
	chatty.Update(func(f *lifecycle.Facts) { f.Route = "chat" })
	inChat := lifecycle.NewContext(t.Context(), chatty)
	play := func() (said []string) {
		h.console.Reset()
		h.Component("proxy").Warn("proxy warns")
		h.Component("relay").Debug("relay debugs")
		h.Logger().Debug("someone debugs")
		h.Logger().Info("someone informs")
		h.Component("proxy").Debug("about chat", "route", "chat")
		h.Component("proxy").With("route", "chat").Debug("of chat")
		h.Component("proxy").DebugContext(inChat, "in chat")
		h.Component("proxy").Debug("about quiet", "route", "quiet")
		h.Component("proxy").WithGroup("g").Debug("another route", "route", "chat")
		for _, l := range h.lines(t) {
			said = append(said, l["msg"].(string))
		}
		return said
	}
	for _, test := range []struct {
		name   string
		levels Levels
		want   []string
	}{
		{"as set at the start", h.Levels(), []string{"relay debugs", "someone informs"}},
		{"general", Levels{General: slog.LevelDebug}, []string{"proxy warns", "relay debugs", "someone debugs", "someone informs", "about chat", "of chat", "in chat", "about quiet", "another route"}},
		{"a route", Levels{Routes: map[string]slog.Level{"chat": slog.LevelDebug}}, []string{"proxy warns", "someone informs", "about chat", "of chat", "in chat"}},
		{"a route over a component", Levels{General: slog.LevelError, Components: map[string]slog.Level{"proxy": slog.LevelDebug}, Routes: map[string]slog.Level{"chat": slog.LevelError}},
			[]string{"proxy warns", "about quiet", "another route"}},
	} {
		h.SetLevels(test.levels)
		if got := play(); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
	changed := h.Levels()
	changed.Routes["chat"] = slog.LevelDebug
	if h.Levels().Routes["chat"] != slog.LevelError {
		t.Error("a copy of the levels changed them")
	}
	h.close()
}

// TestPhasesAreToldToWhoDebugs has the phases of one route only.
func TestPhasesAreToldToWhoDebugs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Settings{Routes: chat, Log: Log{Routes: map[string]slog.Level{"chat": slog.LevelDebug}, Level: slog.LevelError}})
		s := h.accept("203.0.113.7:51000")
		s.head()
		s.dial()
		fail(s, lifecycle.Step{Phase: lifecycle.PhaseUpgrade, Host: "backend:9000"}, lifecycle.ReasonUpgradeRejected, 502)
		var got []string
		for _, l := range h.lines(t) {
			if l["msg"] == "phase ended" {
				got = append(got, strings.TrimSpace(l["phase"].(string)+" "+str(l["reason"])))
			}
		}
		if want := []string{"route", "dns", "connect", "upgrade upgrade_rejected"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q: the request's route was not known yet", got, want)
		}
		h.close()
	})
}

func str(v any) string {
	s, _ := v.(string)
	return s
}

func TestSecretsInLinesAreRedacted(t *testing.T) {
	const canary = "c4nary"
	for in, want := range map[string]string{
		"nothing to hide": "nothing to hide",
		"what? nothing":   "what? nothing",
		`Get "https://user:c4nary@host:1/path?token=c4nary#x": refused`: `Get "https://[redacted]@host:1/path?[redacted]": refused`,
		"GET /chat?token=c4nary HTTP/1.1":                               "GET /chat?[redacted] HTTP/1.1",
		"socks5://u:c4nary@proxy:1080 and ws://host/?a=c4nary":          "socks5://[redacted]@proxy:1080 and ws://host/?[redacted]",
		`read: malformed HTTP response "c4nary \"and\" c4nary": gone`:   `read: malformed HTTP response [redacted]: gone`,
		`malformed MIME header: missing colon: "c4nary"`:                `malformed MIME header: missing colon [redacted]`,
		`malformed HTTP status code "c4nary`:                            `malformed HTTP status code [redacted]`,
		`malformed chunked encoding`:                                    `malformed chunked encoding`,
		"mail me@example.com":                                           "mail me@example.com",
	} {
		if got := redactText(in); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	h := newHarness(t, Settings{})
	failed := &url.Error{Op: "Get", URL: "http://host/?key=" + canary, Err: errors.New("refused")}
	l := h.Logger().With("cookie", canary, "url", "http://host/?key="+canary)
	l.Warn("failed http://u:"+canary+"@host", "error", failed, "authorization", canary, "headers", slog.GroupValue(slog.String("Proxy-Authorization", canary)))
	l.WithGroup("g").Warn("again", "Token", canary, "target", "ws://host/x?"+canary)
	if strings.Contains(h.console.String(), canary) || strings.Count(h.console.String(), "refused") != 1 {
		t.Errorf("console: got %s", h.console)
	}
	for _, r := range h.records.records {
		var text strings.Builder
		text.WriteString(r.Body().String())
		for kv := range r.WalkAttributes {
			text.WriteString(kv.Value.String())
		}
		if strings.Contains(text.String(), canary) {
			t.Errorf("exported: got %s", text.String())
		}
	}
	if n := len(h.records.records); n != 2 {
		t.Errorf("exported: got %d records, want 2", n)
	}
	h.close()
}
