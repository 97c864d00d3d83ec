package egress

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"wsproxy/lifecycle"
)

// recorder writes down every phase of a connection, one line each.
type recorder struct {
	mu      sync.Mutex
	running string
	lines   []string
	steps   []*lifecycle.Step
}

func (r *recorder) Watch(*lifecycle.Connection) lifecycle.Watcher { return r }

func (r *recorder) Begin(ctx context.Context, s *lifecycle.Step) context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running != "" {
		r.lines = append(r.lines, "OVERLAP "+s.Phase.String()+" in "+r.running)
	}
	r.running = s.Phase.String()
	return context.WithValue(ctx, phaseKey{}, s.Phase)
}

// phaseKey is where a phase's context names the phase.
type phaseKey struct{}

func (r *recorder) End(ctx context.Context, s *lifecycle.Step) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running = ""
	r.steps = append(r.steps, s)
	if s.Phase == lifecycle.PhaseRequest || s.Phase == lifecycle.PhaseRoute {
		return
	}
	line := describe(s)
	if ctx.Value(phaseKey{}) != s.Phase {
		line += " ENDED UNDER ANOTHER CONTEXT"
	}
	r.lines = append(r.lines, line)
}

func (r *recorder) Done(lifecycle.Outcome) {}

// text is the phases so far.
func (r *recorder) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	lines := r.lines
	if r.running != "" {
		lines = append(lines, r.running+" RUNS ON")
	}
	return strings.Join(lines, "\n")
}

func (r *recorder) phase() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.running
}

// step is the last one of phase p.
func (r *recorder) step(t *testing.T, p lifecycle.Phase) *lifecycle.Step {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := len(r.steps) - 1; i >= 0; i-- {
		if r.steps[i].Phase == p {
			return r.steps[i]
		}
	}
	t.Fatalf("no phase %s", p)
	return nil
}

func describe(s *lifecycle.Step) string {
	line := fmt.Sprintf("%-7s", s.Phase)
	if s.Phase != lifecycle.PhaseProxy {
		line += " " + s.Hop.String()
	}
	add := func(name, value string) {
		if value != "" {
			line += " " + name + "=" + value
		}
	}
	add("host", s.Host)
	add("answers", strings.Join(slices.Sorted(slices.Values(s.Answers)), ",")) // their order is the machine's
	for _, t := range s.Tries {
		add("try", t.Address+"("+verdict(t)+")")
	}
	add("peer", s.Peer)
	add("egress", strings.Trim(s.EgressType+"/"+s.EgressName, "/"))
	if s.Status != 0 {
		add("status", fmt.Sprint(s.Status))
	}
	if s.TLS != nil {
		add("tls", strings.TrimRight(s.TLS.Version+" "+s.TLS.ServerName+" "+s.TLS.ALPN+s.TLS.ClientSubject, " "))
	}
	if s.Failure != nil {
		line += " FAILED " + s.Reason().String()
		if s.Failure.Status != 0 {
			line += fmt.Sprintf(" (%d)", s.Failure.Status)
		}
	}
	return line
}

func verdict(t lifecycle.Try) string {
	switch {
	case t.Won:
		return "won"
	case t.Err != nil:
		return t.Reason().String()
	case t.Ended.IsZero():
		return "lost, under way"
	}
	return "lost"
}

// record opens a connection that has come as far as a dial, and returns a context that carries it.
func record(ctx context.Context) (context.Context, *recorder) {
	r := new(recorder)
	registry := &lifecycle.Registry{Observers: []lifecycle.Observer{r}}
	return onRegistry(ctx, registry), r
}

func onRegistry(ctx context.Context, registry *lifecycle.Registry) context.Context {
	c := registry.Open("client", time.Now())
	for _, p := range []lifecycle.Phase{lifecycle.PhaseRequest, lifecycle.PhaseRoute} {
		ctx, s := c.Begin(ctx, &lifecycle.Step{Phase: p})
		s.End(ctx, nil)
	}
	return lifecycle.NewContext(ctx, c)
}
