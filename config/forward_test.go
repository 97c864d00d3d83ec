package config

import (
	"strings"
	"testing"
)

func TestForwardAlone(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"on loopback":        {`listeners: [{ address: "127.0.0.1:3128", mode: forward }]`, ""},
		"beyond":             {`listeners: [{ address: ":3128", mode: forward }]`, "listeners[0].address: is reached from elsewhere"},
		"open":               {"listeners: [{ address: ':3128', mode: forward }]\nforward: { open: true }", ""},
		"for some":           {"listeners: [{ address: ':3128', mode: forward }]\nforward: { clients: [10.0.0.0/8] }", ""},
		"for who is known":   {"listeners: [{ address: ':3128', mode: forward }]\nforward: { auth: { htpasswd: file:users } }", ""},
		"wrong clients":      {"listeners: [{ address: ':3128', mode: forward }]\nforward: { clients: [10] }", "forward.clients[0]"},
		"and reverse":        {"listeners: [{ address: '127.0.0.1:1', mode: forward }, { address: ':2' }]", "routes: is missing"},
		"reverse without it": {"listeners: [{ address: ':2' }]\nforward: { allow: [a] }", "forward: no listener has mode: forward"},
	} {
		_, err := Parse("wsproxy.yaml", []byte(c.text), nil)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: got %v, want no problem", name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func TestQuickForward(t *testing.T) {
	for listen, open := range map[string]bool{"127.0.0.1:3128": false, ":3128": true, "localhost:3128": false} {
		if c, err := QuickForward(listen, open); err != nil || c.Listeners[0].Mode != ModeForward || c.Forward.Timeouts.Handshake == 0 {
			t.Errorf("%s: got %v", listen, err)
		}
	}
	for _, listen := range []string{":3128", "", "3128", "127.0.0.1:9900"} {
		if _, err := QuickForward(listen, false); err == nil {
			t.Errorf("%q: got no problem", listen)
		}
	}
}
