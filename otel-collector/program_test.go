package stack_test

import (
	"os/exec"
	"path/filepath"
	"slices"
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
