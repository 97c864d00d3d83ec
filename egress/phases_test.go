package egress

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"wsproxy/lifecycle"
)

var update = flag.Bool("update", false, "renew the golden files")

// TestPhases dials in every way and compares the phases with the golden text.
func TestPhases(t *testing.T) {
	runScenarios(t, "phases.golden", slices.Concat(directScenarios, tlsScenarios, connectScenarios, socksScenarios))
}

func runScenarios(t *testing.T, golden string, all []scenario) {
	t.Helper()
	file := filepath.Join("testdata", golden)
	text, err := os.ReadFile(file)
	if err != nil && !*update {
		t.Fatal(err)
	}
	want := sections(string(text))
	var renewed strings.Builder
	for _, s := range all {
		t.Run(s.name, func(t *testing.T) {
			f := newFixture(t)
			d, target := s.dial(f)
			got := f.run(t.Context(), d, target)
			fmt.Fprintf(&renewed, "# %s\n%s\n\n", s.name, got)
			if got != want[s.name] && !*update {
				t.Errorf("got:\n%s\nwant:\n%s", got, want[s.name])
			}
		})
	}
	if *update {
		if err := os.WriteFile(file, []byte(renewed.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// sections splits golden text at its titles.
func sections(text string) map[string]string {
	all := make(map[string]string)
	for part := range strings.SplitSeq(text, "\n\n") {
		if title, body, ok := strings.Cut(part, "\n"); ok {
			all[strings.TrimPrefix(title, "# ")] = body
		}
	}
	return all
}

// TestPhasesWhenTheClientLeaves cancels in the middle of each phase.
func TestPhasesWhenTheClientLeaves(t *testing.T) {
	tests := []struct {
		phase lifecycle.Phase
		dial  func(f *fixture) (*Dialer, Target)
	}{
		{lifecycle.PhaseDNS, func(f *fixture) (*Dialer, Target) { return f.dialer(nil), Target{Address: "silent.test:80"} }},
		{lifecycle.PhaseProxy, func(f *fixture) (*Dialer, Target) {
			return f.dialer(f.proxy(TypeHTTP, silent)), Target{Address: "chat.test:80"}
		}},
		{lifecycle.PhaseProxy, func(f *fixture) (*Dialer, Target) {
			return f.dialer(f.proxy(TypeSOCKS5H, silent)), Target{Address: "chat.test:80"}
		}},
		{lifecycle.PhaseTLS, func(f *fixture) (*Dialer, Target) {
			return f.dialer(nil), Target{Address: "chat.test:" + f.serve("target", silent), TLS: anyTLS}
		}},
	}
	for _, tt := range tests {
		for _, end := range []struct {
			cause error
			want  lifecycle.Reason
		}{
			{nil, lifecycle.ReasonClientGone},
			{lifecycle.Failf(lifecycle.ReasonCanceled, "shutdown"), lifecycle.ReasonCanceled},
		} {
			t.Run(tt.phase.String()+" "+end.want.String(), func(t *testing.T) {
				f := newFixture(t)
				d, target := tt.dial(f)
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				registry := &lifecycle.Registry{Observers: []lifecycle.Observer{beginHook{tt.phase, func() { cancel(end.cause) }}}}
				_, err := d.Dial(onRegistry(ctx, registry), target)
				if got := failureIn(t, err); got.Phase != tt.phase || got.Reason != end.want {
					t.Errorf("got %s in %s, want %s in %s", got.Reason, got.Phase, end.want, tt.phase)
				}
				if n := f.openSockets(); n != 0 {
					t.Errorf("got %d sockets left open, want 0", n)
				}
			})
		}
	}
}
