package config

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// FuzzParse: any text gives either a configuration or problems that can be printed and have a path.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/problems/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range append(files, "../wsproxy.example.yaml") {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(minimal))
	env := envOf(map[string]string{"A": "1", "B": "file:x"})
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, err := Parse("wsproxy.yaml", data, env)
		if err == nil {
			if len(cfg.Listeners) == 0 || len(cfg.Routes) == 0 || len(cfg.Upstreams) == 0 {
				t.Errorf("got %+v without a problem, want every part", cfg)
			}
			return
		}
		problems, ok := errors.AsType[Problems](err)
		if !ok || len(problems) == 0 || len(problems) > maxProblems+1 {
			t.Fatalf("got %T of %d, want Problems", err, len(problems))
		}
		for _, p := range problems {
			if p.Path == "" || p.Message == "" || p.Line < 0 || p.File != "wsproxy.yaml" {
				t.Errorf("got %+v, want a problem with file, path and message", p)
			}
		}
	})
}
