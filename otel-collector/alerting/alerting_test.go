package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"wsproxy/otel-collector/internal/catalog"
)

const root = "../.."

func TestFileIsGenerated(t *testing.T) {
	want, err := generate(tempo{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join("../rules", file))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("rules/%s is not what the generator makes; in otel-collector: go run ./alerting rules", file)
	}
}

func TestTempo(t *testing.T) {
	text, err := generate(tempo{hold: time.Second, interval: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(string(text), "for: 1s\n"); got != len(alerts()) {
		t.Errorf("got %d alerts that hold for 1 s, want %d", got, len(alerts()))
	}
	if got := strings.Count(string(text), "interval: 2s\n"); got != 2 {
		t.Errorf("got %d groups that are evaluated each 2 s, want 2", got)
	}
}

// known is what the rules may ask for: wsproxy's metrics, the labels that Prometheus gives them, and what is recorded.
func known(t *testing.T) *catalog.Catalog {
	t.Helper()
	c, err := catalog.Read(root)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Recorded(root); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRulesAskForWhatExists(t *testing.T) {
	c := known(t)
	for _, r := range recorded() {
		if err := c.Query(r.Expr, ""); err != nil {
			t.Errorf("%s: %v", r.Record, err)
		}
	}
	for _, a := range alerts() {
		if strings.Contains(a.query, "__name__") { // over all metrics at once
			continue
		}
		if err := c.Query(a.query, ""); err != nil {
			t.Errorf("%s: %v", a.name, err)
		}
	}
}

// A label in a text that the alert does not have would be empty.
func TestTextsHaveTheirLabels(t *testing.T) {
	label := regexp.MustCompile(`\$labels\.(\w+)`)
	for _, a := range alerts() {
		for _, m := range label.FindAllStringSubmatch(a.summary+a.detail, -1) {
			if !strings.Contains(a.query, m[1]) && !strings.Contains(a.query, "job_route:") && !strings.Contains(a.query, "job_phase:") {
				t.Errorf("%s: its text has %s, its query does not", a.name, m[1])
			}
		}
	}
}

// promtool runs them end to end; here it is seen that none was forgotten: each alert fires in one and keeps quiet in another, each recorded
// series has a value.
func TestEveryRuleHasItsTests(t *testing.T) {
	fires, quiet, valued := tested(t)
	for _, a := range alerts() {
		if !fires[a.name] {
			t.Errorf("%s: no test in which it fires", a.name)
		}
		if !quiet[a.name] {
			t.Errorf("%s: no test in which it does not fire", a.name)
		}
	}
	for _, r := range recorded() {
		if !valued[r.Record] {
			t.Errorf("%s: no test of its value", r.Record)
		}
	}
}

// tested reads which rules promtool's tests judge.
func tested(t *testing.T) (fires, quiet, valued map[string]bool) {
	t.Helper()
	files, err := filepath.Glob("testdata/*.test.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("got %q, %v, want tests", files, err)
	}
	fires, quiet, valued = make(map[string]bool), make(map[string]bool), make(map[string]bool)
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var file struct {
			Tests []struct {
				Alerts []struct {
					Name string      `yaml:"alertname"`
					Want []yaml.Node `yaml:"exp_alerts"`
				} `yaml:"alert_rule_test"`
				Queries []struct {
					Expr string
					Want []yaml.Node `yaml:"exp_samples"`
				} `yaml:"promql_expr_test"`
			}
		}
		if err := yaml.Unmarshal(text, &file); err != nil {
			t.Fatal(err)
		}
		for _, test := range file.Tests {
			for _, a := range test.Alerts {
				fires[a.Name] = fires[a.Name] || len(a.Want) > 0
				quiet[a.Name] = quiet[a.Name] || len(a.Want) == 0
			}
			for _, q := range test.Queries {
				valued[q.Expr] = valued[q.Expr] || len(q.Want) > 0
			}
		}
	}
	return fires, quiet, valued
}

// The collector's tail sampling and the alert mean the same by a close that nobody wanted.
func TestTailSamplingKnowsWantedCloses(t *testing.T) {
	text, err := os.ReadFile("../tail-sampling.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), `"^(`+normal+`)$"`) {
		t.Errorf("tail-sampling.yaml does not leave out %s", normal)
	}
}
