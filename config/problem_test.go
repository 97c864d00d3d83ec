package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each file under testdata/problems is a class of mistakes, beside the text that the user gets to read.
func TestProblems(t *testing.T) {
	files, err := filepath.Glob("testdata/problems/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("got %d files (%v), want some", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Parse("wsproxy.yaml", data, envOf(map[string]string{"EMPTY": "", "PORT": "8080"}))
			if err == nil {
				t.Fatal("got no problem, want some")
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".txt", err.Error()+"\n")
		})
	}
}

// golden compares got with a file, or with -update makes it the file.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s (renew with -update): got\n%s\nwant\n%s", file, got, want)
	}
}

func TestProblemsAreBounded(t *testing.T) {
	var text strings.Builder
	text.WriteString(minimal)
	for i := range 1000 {
		fmt.Fprintf(&text, "key%d: 1\n", i)
	}
	_, err := Parse("wsproxy.yaml", []byte(text.String()), noEnv)
	problems, _ := errors.AsType[Problems](err)
	if got, want := len(problems), maxProblems+1; got != want {
		t.Fatalf("got %d problems, want %d", got, want)
	}
	if got, want := problems[maxProblems].String(), "wsproxy.yaml: file: 900 more problems"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Few lines of aliases can stand for billions of values.
func TestAliasesAreBounded(t *testing.T) {
	many := func(element string) string { return "[" + strings.Repeat(element+",", 1000) + "]" }
	text := "routes:\n- &r { name: a, origins: &o " + many("same-origin") + " }\n" + strings.Repeat("- *r\n", 1000)
	_, err := Parse("wsproxy.yaml", []byte(text), noEnv)
	if err == nil || !strings.HasPrefix(err.Error(), "wsproxy.yaml: file: stands for more than 200000 values") {
		t.Errorf("got %.200v, want more than 200000 values", err)
	}
}

func TestClosest(t *testing.T) {
	known := []string{"preserve_host", "timeouts", "tls", "ca", "upstream"}
	tests := []struct{ text, want string }{
		{"preserve-host", "preserve_host"}, {"preserveHost", "preserve_host"}, {"tsl", "tls"}, {"upstreams", "upstream"},
		{"timeout", "timeouts"}, {"preserve", "preserve_host"}, {"up", ""}, {"c", ""}, {"xy", ""}, {"limits", ""}, {"", ""}, {strings.Repeat("x", 1000), ""},
	}
	for _, tt := range tests {
		if got := closest(tt.text, known); got != tt.want {
			t.Errorf("closest(%.20q): got %q, want %q", tt.text, got, tt.want)
		}
	}
}
