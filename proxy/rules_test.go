package proxy

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
)

func TestHeaderRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.targets[0].script = accepting("", "Server: secret/1", "X-Keep: 1")
		w.listener.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		w.route.Auth = admitting(Admission{Identity: "ann\r\nX-Evil: 1", Hash: "5f0a"})
		w.route.RequestHeaders = HeaderRules{
			Set:    map[string]string{"x-user": "{identity}", "X-Hash": "h={identity_hash}", "X-Client": "{client_address}", "X-Subject": "{tls_subject_hash}"},
			Add:    map[string]string{"X-Tag": `{"route":"{route}"}`},
			Remove: []string{"x-debug"},
		}
		w.route.ResponseHeaders = HeaderRules{Set: map[string]string{"X-Scheme": "{scheme}://{host}"}, Remove: []string{"Server"}}
		w.start()
		p := w.send(request("X-User: root", "X-Subject: root", "X-Debug: 1", "X-Tag: mine", "X-Forwarded-For: 192.0.2.7"))
		up, down := w.received(), p.String()
		for _, want := range []string{"X-Hash: h=5f0a\r\n", "X-Client: 192.0.2.7\r\n", "X-Tag: mine\r\nX-Tag: {\"route\":\"all\"}\r\n"} {
			if !strings.Contains(up, want) {
				t.Errorf("upstream: got %q, want %q in it", up, want)
			}
		}
		for _, not := range []string{"root", "X-Debug", "X-Evil", "X-Subject"} {
			if strings.Contains(up, not) {
				t.Errorf("upstream: got %q, want no %s in it", up, not)
			}
		}
		if !strings.Contains(down, "X-Scheme: http://example.com\r\n") || strings.Contains(down, "Server:") || !strings.Contains(down, "X-Keep: 1") {
			t.Errorf("client: got %q", down)
		}
	})
}

func TestPlainHeaderRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.targets[0].script = replyingAndClosing(head("HTTP/1.1 200 OK", "Content-Length: 0", "Server: secret/1", "Connection: close"))
		w.route.RequestHeaders.Set = map[string]string{"X-Route": "{route}"}
		w.route.ResponseHeaders.Remove = []string{"Server"}
		w.start()
		got := w.send(head("GET / HTTP/1.1", "Host: example.com", "X-Route: mine")).String()
		if !strings.HasPrefix(got, "HTTP/1.1 200 ") || strings.Contains(got, "secret") {
			t.Errorf("client: got %q, want a 200 without Server", got)
		}
		if up := w.received(); !strings.Contains(up, "X-Route: all\r\n") || strings.Contains(up, "mine") {
			t.Errorf("upstream: got %q", up)
		}
	})
}

func TestHeaderRulesRefused(t *testing.T) {
	for name, rules := range map[string]HeaderRules{
		"unknown variable": {Set: map[string]string{"X": "{nobody}"}},
		"a new line":       {Set: map[string]string{"X": "a\r\nb"}},
		"Host":             {Set: map[string]string{"host": "x"}},
		"of the handshake": {Add: map[string]string{"Sec-WebSocket-Key": "x"}},
		"of one hop":       {Remove: []string{"connection"}},
		"no name":          {Remove: []string{"a b"}},
	} {
		t.Run(name, func(t *testing.T) {
			if err := rules.compile(); err == nil {
				t.Error("got no error")
			}
		})
	}
}
