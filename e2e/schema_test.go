//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/otlptranslator"
	"go.yaml.in/yaml/v4"
)

// schema is telemetry/schema.yaml: the names that wsproxy promises.
type schema struct {
	Attributes []struct {
		Name, Type string
		Values     []string
		Also       []string
	}
	Metrics       []metric
	Libraries     []struct{ Prefix string }
	Spans, Events []named
}

type metric struct {
	Name, Unit, Instrument string
	Attributes             []string
}

// named is a span or an event.
type named struct {
	Name, Kind string
	Attributes []string
}

func readSchema(t *testing.T) *schema {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "telemetry", "schema.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	s := &schema{}
	if err := yaml.Unmarshal(text, s); err != nil {
		t.Fatal(err)
	}
	if len(s.Attributes) == 0 || len(s.Metrics) == 0 || len(s.Spans) == 0 || len(s.Events) == 0 {
		t.Fatal("the schema is not as this test reads it")
	}
	return s
}

// promise is what may and must be seen: things by name, each with its attributes, and whether it was seen.
type promise map[string]map[string]bool

func (p promise) add(name string, attributes []string) {
	p[name] = make(map[string]bool)
	for _, a := range attributes {
		p[name][a] = false
	}
}

// seen notes a thing with attributes and returns what was not promised.
func (p promise) seen(name string, attributes []string) []string {
	promised, ok := p[name]
	if !ok {
		return []string{name}
	}
	p[name][""] = true
	var surprises []string
	for _, a := range attributes {
		if _, ok := promised[a]; !ok {
			surprises = append(surprises, name+" with "+a)
			continue
		}
		promised[a] = true
	}
	return surprises
}

// broken are the things and attributes that were not seen.
func (p promise) broken() []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(p)) {
		if !p[name][""] {
			all = append(all, name)
			continue
		}
		for _, a := range slices.Sorted(maps.Keys(p[name])) {
			if !p[name][a] {
				all = append(all, name+" with "+a)
			}
		}
	}
	return all
}

func promiseOf(list []named) promise {
	p := make(promise)
	for _, n := range list {
		p.add(n.Name, n.Attributes)
	}
	return p
}

var types = map[string]otlptranslator.MetricType{
	"histogram": otlptranslator.MetricTypeHistogram, "counter": otlptranslator.MetricTypeMonotonicCounter,
	"updowncounter": otlptranslator.MetricTypeNonMonotonicCounter, "gauge": otlptranslator.MetricTypeGauge,
}

// metrics are the promised metrics as Prometheus names them: underscores, with unit and suffix.
func (s *schema) metrics(t *testing.T) promise {
	t.Helper()
	p := make(promise)
	namer := otlptranslator.NewMetricNamer("", otlptranslator.UnderscoreEscapingWithSuffixes)
	for _, m := range s.Metrics {
		name, err := namer.Build(otlptranslator.Metric{Name: m.Name, Unit: m.Unit, Type: types[m.Instrument]})
		if err != nil {
			t.Fatal(err)
		}
		p.add(name, underscored(m.Attributes))
	}
	return p
}

func underscored(names []string) []string {
	labels := make([]string, len(names))
	for i, n := range names {
		labels[i] = strings.ReplaceAll(n, ".", "_")
	}
	return labels
}

// library says whether a metric is one that a library emits.
func (s *schema) library(metric string) bool {
	for _, l := range s.Libraries {
		if strings.HasPrefix(metric, strings.ReplaceAll(l.Prefix, ".", "_")) {
			return true
		}
	}
	return false
}

// values are the closed sets, by attribute.
func (s *schema) values() map[string][]string {
	sets := make(map[string][]string)
	for _, a := range s.Attributes {
		if len(a.Values) > 0 {
			sets[a.Name] = append(a.Values, a.Also...)
		}
	}
	return sets
}

// checkValue holds an attribute's value against its closed set, if it has one.
func checkValue(t *testing.T, sets map[string][]string, attribute string, value any) {
	t.Helper()
	set, closed := sets[attribute]
	text := fmt.Sprint(value)
	if attribute == "error.type" && len(text) == 3 && text[0] == '5' {
		text = "5xx"
	}
	if closed && !slices.Contains(set, text) {
		t.Errorf("%s has the value %q, which the schema does not know", attribute, text)
	}
}
