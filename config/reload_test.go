package config

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func TestSame(t *testing.T) {
	of := func(text, secret string) *Config {
		cfg := mustParse(t, text, nil)
		if err := cfg.ReadFiles(fstest.MapFS{"dir/token": {Data: []byte(secret)}}.Open); err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	const withToken = minimal + "admin: { token: file:token }\n"
	base := of(withToken, "one")
	for _, tc := range []struct {
		name, text, secret string
		want               bool
	}{
		{"itself", withToken, "one", true},
		{"a comment and a default spelt out", "# new\n\n" + withToken + "engine: auto\n", "one", true},
		{"another value", withToken + "log: { level: debug }\n", "one", false},
		{"another secret in the same file", withToken, "two", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := base.Same(of(tc.text, tc.secret)); got != tc.want {
				t.Errorf("got %t, want %t", got, tc.want)
			}
		})
	}
	if got := base.SecretFiles(); !slices.Equal(got, []string{"dir/token"}) {
		t.Errorf("got secret files %q, want dir/token", got)
	}
}

func TestCheckReload(t *testing.T) {
	const otlp = "telemetry: { otlp: { endpoint: 'http://a:4317', headers: { k: \"${KEY}\" } } }\n"
	for _, tc := range []struct {
		name, former, next string
		want               []string // paths of problems
	}{
		{"nothing", minimal, minimal, nil},
		{"what a reload is for", minimal, strings.Replace(minimal, "8080", "8081", 1) + "log: { level: debug }\ndrain: { code: 4000 }\n", nil},
		{"what needs a restart", minimal,
			minimal + "engine: goroutines\nadmin: { address: '127.0.0.1:9901' }\n" + otlp, []string{"engine", "telemetry.otlp", "admin.address"}},
		{"below such a key", minimal, minimal + "telemetry: { traces: { ratio: 0.5 } }\n", []string{"telemetry.traces"}},
		{"the same with a secret", minimal + otlp, minimal + otlp, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			key := map[string]string{"KEY": "v"}
			err := mustParse(t, tc.former, key).CheckReload(mustParse(t, tc.next, key))
			problems, _ := err.(Problems)
			var got []string
			for _, p := range problems {
				got = append(got, p.Path)
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("got problems at %q, want %q: %v", got, tc.want, err)
			}
		})
	}
}
