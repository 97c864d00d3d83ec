package proxy

import (
	"strings"
	"testing"
)

func TestParseDestination(t *testing.T) {
	long := strings.Repeat("a", 63)
	for text, want := range map[string]string{
		"a.example:443":                    "a.example:443",
		"A.Example.:443":                   "a.example:443",
		"my_host:1":                        "my_host:1",
		"a.example":                        "a.example:80",
		"192.0.2.1:65535":                  "192.0.2.1:65535",
		"[2001:DB8::1]:443":                "[2001:db8::1]:443",
		"[2001:db8::1]":                    "[2001:db8::1]:80",
		"[::ffff:127.0.0.1]:80":            "127.0.0.1:80",
		"bücher.example:80":                "xn--bcher-kva.example:80",
		"BÜCHER.example:80":                "xn--bcher-kva.example:80",
		"xn--bcher-kva.example:80":         "xn--bcher-kva.example:80",
		"日本語。jp:80":                        "xn--wgv71a119e.jp:80",
		"2130706433:80":                    "2130706433:80", // for the rules to judge by what it resolves to
		long + ".example:80":               long + ".example:80",
		"":                                 "",
		":80":                              "",
		"a.example:":                       "a.example:80",
		"a.example:0":                      "",
		"a.example:65536":                  "",
		"a.example:+1":                     "",
		"a.example:http":                   "",
		"a..example:80":                    "",
		".example:80":                      "",
		"a example:80":                     "",
		"a\r\nb:80":                        "",
		"a%2eb:80":                         "",
		"user@a.example:80":                "",
		"2001:db8::1:80":                   "",
		"[a.example]:80":                   "a.example:80",
		"[fe80::1%eth0]:80":                "",
		"[::1":                             "",
		"a\u0000b:80":                      "",
		"\xff\xfe:80":                      "",
		long + "a.example:80":              "",
		strings.Repeat("a.", 130) + "a:80": "",
	} {
		got, err := parseDestination(text, 80)
		if want == "" && err == nil {
			t.Errorf("%q: got %s, want an error", text, got)
		}
		if want != "" && (err != nil || got.String() != want) {
			t.Errorf("%q: got %s, %v, want %s", text, got, err, want)
		}
	}
}
