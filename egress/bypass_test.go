package egress

import (
	"net"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/http/httpproxy"
)

// bypassLists are tried against every one of bypassTargets.
var bypassLists = []struct {
	entries string
	matches string // which of bypassTargets
}{
	{"", ""},
	{" , ,", ""},
	{"*", strings.Join(bypassTargets, " ")},
	{"chat.test", "chat.test:80 CHAT.test.:443 a.chat.test:80 b.a.chat.test:8080"},
	{".chat.test", "a.chat.test:80 b.a.chat.test:8080"},
	{"*.chat.test", "a.chat.test:80 b.a.chat.test:8080"},
	{"Chat.Test:80", "chat.test:80 a.chat.test:80"},
	{".chat.test:8080", "b.a.chat.test:8080"},
	{"test", "chat.test:80 CHAT.test.:443 a.chat.test:80 b.a.chat.test:8080 notchat.test:80"},
	{"192.0.2.7", "192.0.2.7:80 192.0.2.7:443 [::ffff:192.0.2.7]:80"},
	{"192.0.2.7:443", "192.0.2.7:443"},
	{"192.0.2.0/24", "192.0.2.7:80 192.0.2.7:443 192.0.2.200:80 [::ffff:192.0.2.7]:80"},
	{"192.0.2.7/24", "192.0.2.7:80 192.0.2.7:443 192.0.2.200:80 [::ffff:192.0.2.7]:80"},
	{"2001:db8::1", "[2001:db8::1]:80"},
	{"[2001:db8::1]", "[2001:db8::1]:80"},
	{"[2001:db8::1]:80", "[2001:db8::1]:80"},
	{"[2001:db8::1]:81", ""},
	{"2001:db8::/32", "[2001:db8::1]:80 [2001:db8::2%eth0]:80"},
	{"localhost, 127.0.0.0/8", "localhost:80 127.0.0.1:80"},
	{"192.0.2.200, .chat.test ", "a.chat.test:80 b.a.chat.test:8080 192.0.2.200:80"},
}

var bypassTargets = []string{
	"chat.test:80", "CHAT.test.:443", "a.chat.test:80", "b.a.chat.test:8080", "notchat.test:80", "chat.test.evil:80",
	"192.0.2.7:80", "192.0.2.7:443", "192.0.2.200:80", "[::ffff:192.0.2.7]:80", "[2001:db8::1]:80", "[2001:db8::2%eth0]:80",
	"localhost:80", "127.0.0.1:80",
}

func TestBypass(t *testing.T) {
	for _, tt := range bypassLists {
		t.Run(tt.entries, func(t *testing.T) {
			b, err := ParseBypass(strings.Split(tt.entries, ","))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, target := range bypassTargets {
				if b.Match(target) {
					got = append(got, target)
				}
			}
			if got := strings.Join(got, " "); got != tt.matches {
				t.Errorf("got  %s\nwant %s", got, tt.matches)
			}
		})
	}
}

// The lists are read as golang.org/x/net does, but for loopback targets, final dots, zones and
// addresses in brackets.
func TestBypassReadsLikeHTTPProxy(t *testing.T) {
	for _, tt := range bypassLists {
		if strings.Contains(tt.entries, "[") {
			continue
		}
		b, err := ParseBypass(strings.Split(tt.entries, ","))
		if err != nil {
			t.Fatal(err)
		}
		reference := (&httpproxy.Config{HTTPProxy: "http://proxy.test", NoProxy: tt.entries}).ProxyFunc()
		for _, target := range bypassTargets {
			host, _, _ := net.SplitHostPort(target)
			if host == "localhost" || host == "127.0.0.1" || strings.HasSuffix(host, ".") || strings.Contains(host, "%") {
				continue
			}
			through, err := reference(&url.URL{Scheme: "http", Host: target})
			if err != nil {
				t.Fatal(err)
			}
			if got, want := b.Match(target), through == nil; got != want {
				t.Errorf("%q, %s: got %t, want %t", tt.entries, target, got, want)
			}
		}
	}
}

func TestBypassErrors(t *testing.T) {
	for _, entry := range []string{"10.0.0.0/33", "chat.test:0", "chat.test:http", "chat.test:65536", "chat test", "http://chat.test", "a*.test", "*chat.test", "a..b", ".", "*.", "chätt.test", "10.0.0.0/8:80"} {
		t.Run(entry, func(t *testing.T) {
			b, err := ParseBypass([]string{"ok.test", entry, "10.0.0.0/40"})
			if err == nil {
				t.Fatalf("got %+v, want an error", b)
			}
			for _, want := range []string{`bypass "` + entry + `": `, `bypass "10.0.0.0/40": `} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want every problem, %q too", err, want)
				}
			}
		})
	}
	if (Bypass{}).Match("chat.test:80") || (Bypass{}).Match("no port") {
		t.Error("got a match of nothing, want none")
	}
}
