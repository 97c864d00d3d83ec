//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// alertTests has promtool run the alerts' own tests: what makes each fire, and what does not.
func (h *house) alertTests(t *testing.T) {
	if h.missing(t, "promtool") {
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	files, err := filepath.Glob(configuration("alerting/testdata/*.test.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("got %q, %v, want tests", files, err)
	}
	out, err := exec.CommandContext(ctx, h.programs["promtool"], append([]string{"test", "rules"}, files...)...).CombinedOutput()
	if err != nil {
		t.Errorf("promtool test rules: %v\n%s", err, out)
	}
}

// rules asks Prometheus how it fares with every rule, once it has evaluated them.
func (h *house) rules(t *testing.T) {
	var answer struct {
		Groups []struct {
			Name  string
			Rules []struct{ Name, Health, LastError string }
		}
	}
	eventually(t, "every rule was evaluated", func(ctx context.Context) error {
		if err := h.stack.prometheus.ask(ctx, "rules", nil, &answer); err != nil {
			return err
		}
		for _, g := range answer.Groups {
			for _, r := range g.Rules {
				if r.Health == "unknown" {
					return fmt.Errorf("%s: %s was not evaluated yet", g.Name, r.Name)
				}
			}
		}
		return nil
	})
	evaluated := 0
	for _, g := range answer.Groups {
		for _, r := range g.Rules {
			if evaluated++; r.Health != "ok" {
				t.Errorf("%s: %s is %s: %s", g.Name, r.Name, r.Health, r.LastError)
			}
		}
	}
	if evaluated == 0 {
		t.Error("got no rules")
	}
}

// wantFired waits until exactly these alerts have fired at some time, each told by its name and its own labels.
func (p *prometheus) wantFired(t *testing.T, want ...string) {
	t.Helper()
	slices.Sort(want)
	target := regexp.MustCompile(`ws://\S+`)
	eventually(t, "the alerts", func(ctx context.Context) error {
		found, err := p.query(ctx, `max_over_time(ALERTS{alertstate="firing"}[1h])`)
		if err != nil {
			return err
		}
		var got []string
		for _, s := range found {
			words := []string{s.labels["alertname"]}
			for _, name := range slices.Sorted(maps.Keys(s.labels)) {
				if !slices.Contains([]string{"alertname", "alertstate", "severity", "job"}, name) {
					words = append(words, name+"="+target.ReplaceAllString(s.labels[name], "TARGET"))
				}
			}
			got = append(got, strings.Join(words, " "))
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			return fmt.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		return nil
	})
}

// dashboard is what is read of one.
type dashboard struct{ Panels []panel }

type panel struct {
	Title   string
	Targets []struct {
		Expr, LegendFormat string
		Exemplar           bool
	}
	FieldConfig struct{ Defaults struct{ NoValue string } } // for a panel that may be empty
}

// readDashboards are all of them by file.
func readDashboards(t *testing.T) map[string]dashboard {
	t.Helper()
	files, err := filepath.Glob(configuration("grafana/dashboards/*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("got %q, %v, want dashboards", files, err)
	}
	boards := make(map[string]dashboard)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var board dashboard
		if err := json.Unmarshal(text, &board); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		boards[filepath.Base(file)] = board
	}
	return boards
}

// wholeRun is long enough for the rates of a test.
const wholeRun = "10m"

// filled is a panel's query with Grafana's variables put in.
func filled(query, instance, route string) string {
	return strings.NewReplacer("$__rate_interval", wholeRun, "$__range", wholeRun, "$instance", instance, "$route", route).Replace(query)
}

// dashboards asks what the panels ask, after all the traffic of the tests: everything must be answered, and
// what is not about rare events must have data.
func (h *house) dashboards(t *testing.T) {
	for file, board := range readDashboards(t) {
		for _, p := range board.Panels {
			for _, target := range p.Targets {
				t.Run(file+"/"+p.Title, func(t *testing.T) {
					h.panel(t, target.Expr, p.FieldConfig.Defaults.NoValue != "")
				})
			}
		}
	}
}

func (h *house) panel(t *testing.T, query string, rare bool) {
	query = filled(query, ".*", ".*")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	got, err := h.stack.prometheus.query(ctx, query)
	if err != nil {
		t.Error(err)
	} else if len(got) == 0 && !rare {
		t.Errorf("%s: got no data", query)
	}
}
