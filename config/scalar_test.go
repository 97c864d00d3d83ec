package config

import (
	"encoding"
	"log/slog"
	"reflect"
	"testing"
	"time"
)

func TestExpand(t *testing.T) {
	env := envOf(map[string]string{"A": "1", "_b2": "two", "NEST": "${A}", "EMPTY": ""})
	tests := []struct {
		name, text, want string
		used, fails      bool
	}{
		{"none", "plain $x {y}", "plain $x {y}", false, false},
		{"one", "a${A}b", "a1b", true, false},
		{"two", "${A}${_b2}", "1two", true, false},
		{"escaped", "$${A} $$${A}", "${A} $${A}", false, false},
		{"escaped after one", "${A}$${A}", "1${A}", true, false},
		{"not looked at again", "${NEST}", "${A}", true, false},
		{"empty", "${EMPTY}", "", true, false},
		{"missing", "${NONE}", "", false, true},
		{"unclosed", "${A", "", false, true},
		{"no name", "${}", "", false, true},
		{"not a name", "${1A}", "", false, true},
		{"default of shells", "${A:-x}", "", false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, used, err := expand(tt.text, env)
			if (err != nil) != tt.fails || err == nil && (got != tt.want || used != tt.used) {
				t.Errorf("got %q, %v, %v, want %q, %v, fails %v", got, used, err, tt.want, tt.used, tt.fails)
			}
		})
	}
}

func TestTarget(t *testing.T) {
	tests := []struct {
		text string
		want Target
	}{
		{"ws://h", Target{Network: "tcp", Address: "h:80"}},
		{"wss://h.example:8443", Target{Network: "tcp", Address: "h.example:8443", TLS: true}},
		{"http://10.0.0.1/", Target{Network: "tcp", Address: "10.0.0.1:80"}},
		{"https://[::1]", Target{Network: "tcp", Address: "[::1]:443", TLS: true}},
		{"ws://[fe80::1]:9000", Target{Network: "tcp", Address: "[fe80::1]:9000"}},
		{"unix:/run/app.sock", Target{Network: "unix", Address: "/run/app.sock"}},
	}
	for _, tt := range tests {
		tt.want.Text = tt.text
		var got Target
		if err := got.UnmarshalText([]byte(tt.text)); err != nil || got != tt.want {
			t.Errorf("%s: got %+v, %v, want %+v", tt.text, got, err, tt.want)
		}
	}
}

func TestRefusedTexts(t *testing.T) {
	tests := []struct {
		into  encoding.TextUnmarshaler
		texts []string
	}{
		{new(Target), []string{"ws://", "ws://h:0", "ws://h:65536", "ws://h:080", "ws://h:x", "ws://::1", "ws://a b", "ws://h?q", "ws://h#f", "://h", "ftp://h", "unix:", "unix:a", "unix://a"}},
		{new(EgressURL), []string{"ws://h", "socks4://h", "socks5://", "http://u@h", "http://h/p"}},
		{new(Address), []string{"h", "1.2.3.4", ":65536", ":-1", ":http", "a b:1", "[::1]", "::1:80x"}},
		{new(Network), []string{"", "10.0.0.0/33", "10.1.0.0/8", "h", "fe80::1%eth0"}},
		{new(Origin), []string{"null", "h.example", "https://", "https://h/", "https://h/p", "https://*", "https://a.*.b", "HTTPS://h", "//h", "https://u@h"}},
		{new(Endpoint), []string{"h:4317", "grpc://h", "http://", "http://u:p@h", "http://h?q=1", "http://h#f", "http://h:x", "%"}},
	}
	for _, tt := range tests {
		for _, text := range tt.texts {
			if err := tt.into.UnmarshalText([]byte(text)); err == nil {
				t.Errorf("%T %q: got %v, want an error", tt.into, text, tt.into)
			}
		}
	}
}

func TestAcceptedTexts(t *testing.T) {
	tests := []struct {
		into  encoding.TextUnmarshaler
		texts []string
	}{
		{new(EgressURL), []string{"http://h", "https://h:1", "socks5://127.0.0.1:1080", "socks5h://[::1]:1080"}},
		{new(Address), []string{":0", ":8080", "h:1", "127.0.0.1:65535", "[::1]:80", "[::]:80"}},
		{new(Network), []string{"10.0.0.0/8", "10.0.0.1", "::1", "fe80::/10"}},
		{new(Origin), []string{"same-origin", "*", "https://h", "https://*.h.example:8443", "chrome-extension://abcdef", "http://[::1]:80"}},
		{new(Endpoint), []string{"http://h", "https://h:4318/otlp", "http://[::1]:4317"}},
	}
	for _, tt := range tests {
		for _, text := range tt.texts {
			if err := tt.into.UnmarshalText([]byte(text)); err != nil {
				t.Errorf("%T %q: got %v, want no error", tt.into, text, err)
			}
		}
	}
}

func TestDurationString(t *testing.T) {
	tests := []struct {
		d    time.Duration
		want string
	}{{0, "off"}, {time.Hour, "1h"}, {90 * time.Minute, "1h30m"}, {time.Minute, "1m"}, {10 * time.Second, "10s"}, {time.Hour + time.Second, "1h0m1s"}}
	for _, tt := range tests {
		if got := Duration(tt.d).String(); got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
}

// The values of a choice are its constants, and each has a meaning where it is turned into something else.
func TestChoices(t *testing.T) {
	levels, _ := LogLevel("").choices()
	for i, name := range levels[1:] {
		if LogLevel(name).Slog() >= LogLevel(levels[i]).Slog() {
			t.Errorf("got %s not below %s, want it so", name, levels[i])
		}
	}
	if got, want := LogLevelNotice.Slog(), slog.Level(1); got != want {
		t.Errorf("notice: got %v, want %v", got, want)
	}
	lost, _ := UpstreamLost("").choices()
	for _, name := range lost {
		if code := UpstreamLost(name).Code(); (code == 0) != (name == "fin") {
			t.Errorf("%s: got code %d, want 0 only for fin", name, code)
		}
	}
	if TLSVersion13.Uint16() <= TLSVersion12.Uint16() {
		t.Error("got TLS 1.3 not above 1.2, want it so")
	}
}

// A tag that can't be read would panic at a user's.
func TestTagsAreValid(t *testing.T) {
	for _, k := range keysOf(reflect.TypeFor[Config](), "") {
		v := reflect.New(k.t).Elem()
		if k.hasPreset && isScalar(v) {
			mustSet(k.field, v)
		}
		if _, isDuration := v.Interface().(Duration); isDuration {
			limits(k.field, time.ParseDuration)
		}
		if _, isSize := v.Interface().(Size); isSize {
			limits(k.field, parseSize)
		}
	}
}
