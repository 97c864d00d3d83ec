package stack_test

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
)

// build makes the program that the images hold.
func build(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "wsproxy")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./cmd/wsproxy")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return program
}

func TestProgramTakesWhatTheStackGivesIt(t *testing.T) {
	program, p := build(t), loadProject(t, whole)
	run := func(t *testing.T, s types.ServiceConfig, arguments ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), program, arguments...)
		for name, value := range s.Environment {
			cmd.Env = append(cmd.Env, name+"="+*value)
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%q: %v: %s", arguments, err, out)
		}
	}
	t.Run("configuration", func(t *testing.T) { run(t, p.Services["wsproxy"], "check", "wsproxy.yaml") })
	for name, s := range p.Services {
		if s.Build == nil {
			continue
		}
		t.Run(name, func(t *testing.T) {
			command, health := imageCommands(t)
			if len(s.Command) > 0 {
				command = s.Command
			}
			if s.HealthCheck != nil {
				health = s.HealthCheck.Test
			}
			// Help comes only after the other flags were understood.
			run(t, s, append(slices.Clone(command), "--help")...)
			run(t, s, append(slices.Clone(health[2:]), "--help")...)
		})
	}
}

// typed are the commands that pages tell to type, without what their output goes to.
var typed = regexp.MustCompile(`(?m)^\$ (?:[A-Z_]+=\S+ )*(?:\./wsproxy|go run \./cmd/wsproxy)((?: [^|>&;\n]+)?)`)

// What pages tell to type is taken: commands, arguments and flags, and the services that are to be started.
func TestProgramTakesWhatPagesTellToType(t *testing.T) {
	program, p := build(t), loadProject(t, whole)
	up := regexp.MustCompile(`(?m)^\$ docker compose up((?: \S+)*)$`)
	for _, page := range []string{"README.md", "docs/first-hour.md"} {
		text := string(readFile(t, filepath.Join(root, page)))
		commands := typed.FindAllStringSubmatch(text, -1)
		if len(commands) < 2 {
			t.Errorf("%s: got %q", page, commands)
		}
		for _, m := range commands {
			arguments := append(strings.Fields(m[1]), "--help") // help comes only after the other flags were understood
			if out, err := exec.CommandContext(t.Context(), program, arguments...).CombinedOutput(); err != nil {
				t.Errorf("%s: %q: %v: %s", page, arguments, err, out)
			}
		}
		for _, m := range up.FindAllStringSubmatch(text, -1) {
			for word := range strings.FieldsSeq(m[1]) {
				if _, ok := p.Services[word]; !ok && !strings.HasPrefix(word, "--") {
					t.Errorf("%s: there is no service %s", page, word)
				}
			}
		}
	}
}

// What pages ask Prometheus for exists.
func TestTypedQueriesAskForWhatExists(t *testing.T) {
	c := known(t)
	queries := regexp.MustCompile(`'query=([^']+)'`).FindAllStringSubmatch(string(readFile(t, filepath.Join(root, "docs/first-hour.md"))), -1)
	if len(queries) < 3 {
		t.Errorf("got %q", queries)
	}
	for _, m := range queries {
		if err := c.Query(m[1], ""); err != nil {
			t.Error(err)
		}
	}
}
