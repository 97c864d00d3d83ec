// Package catalog knows what can be asked of Prometheus about wsproxy: its metrics, their labels and the closed sets of
// values, by the names that the stack's Prometheus gives them. Tests hold queries to it.
package catalog

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/prometheus/otlptranslator"
	"go.yaml.in/yaml/v3"
)

// Catalog holds the labels of each metric.
type Catalog struct {
	metrics map[string]map[string]bool
	values  map[string][]string // of labels with a closed set
	names   map[string]bool     // of everything, as the schema and as Prometheus spells it
	foreign []string            // what names of libraries begin with
}

// schema is what is read of wsproxy's.
type schema struct {
	Attributes []struct {
		Name         string
		Values, Also []string
	}
	Metrics []struct {
		Name, Instrument, Unit string
		Attributes             []string
	}
	Libraries []struct{ Prefix string }
	Events    []struct{ Name string }
}

// server is what is read of Prometheus' configuration.
type server struct {
	OTLP struct {
		Strategy otlptranslator.TranslationStrategyOption `yaml:"translation_strategy"`
		Promoted []string                                 `yaml:"promote_resource_attributes"`
	}
}

// Read translates wsproxy's schema as the stack's Prometheus does. root is the repository's.
func Read(root string) (*Catalog, error) {
	var s schema
	var p server
	if err := read(filepath.Join(root, "telemetry", "schema.yaml"), &s); err != nil {
		return nil, err
	}
	if err := read(filepath.Join(root, "otel-collector", "prometheus.yaml"), &p); err != nil {
		return nil, err
	}
	if len(s.Metrics) == 0 || p.OTLP.Strategy == "" {
		return nil, fmt.Errorf("%d metrics and strategy %q", len(s.Metrics), p.OTLP.Strategy)
	}
	c := &Catalog{metrics: make(map[string]map[string]bool), values: make(map[string][]string)}
	for _, a := range s.Attributes {
		label, err := Label(a.Name)
		if err != nil {
			return nil, err
		}
		if len(a.Values) > 0 {
			c.values[label] = append(a.Values, a.Also...)
		}
	}
	if err := c.metricsOf(&s, &p); err != nil {
		return nil, err
	}
	return c, c.namesOf(&s, &p)
}

func (c *Catalog) metricsOf(s *schema, p *server) error {
	namer := otlptranslator.NewMetricNamer("", p.OTLP.Strategy)
	for _, m := range s.Metrics {
		kind, ok := kinds()[m.Instrument]
		if !ok {
			return fmt.Errorf("%s: unknown instrument %q", m.Name, m.Instrument)
		}
		name, err := namer.Build(otlptranslator.Metric{Name: m.Name, Unit: m.Unit, Type: kind})
		if err != nil {
			return fmt.Errorf("%s: %w", m.Name, err)
		}
		labels := map[string]bool{"job": true, "instance": true}
		for _, a := range append(m.Attributes, p.OTLP.Promoted...) {
			label, err := Label(a)
			if err != nil {
				return err
			}
			labels[label] = true
		}
		c.translated(name, kind, labels)
	}
	return nil
}

func kinds() map[string]otlptranslator.MetricType {
	return map[string]otlptranslator.MetricType{
		"counter":       otlptranslator.MetricTypeMonotonicCounter,
		"updowncounter": otlptranslator.MetricTypeNonMonotonicCounter,
		"gauge":         otlptranslator.MetricTypeGauge,
		"histogram":     otlptranslator.MetricTypeHistogram,
	}
}

func (c *Catalog) translated(name string, kind otlptranslator.MetricType, labels map[string]bool) {
	if kind != otlptranslator.MetricTypeHistogram {
		c.metrics[name] = labels
		return
	}
	c.metrics[name+"_count"], c.metrics[name+"_sum"] = labels, labels
	buckets := maps.Clone(labels)
	buckets["le"] = true
	c.metrics[name+"_bucket"] = buckets
}

// Add makes a metric known that is not wsproxy's: one that Prometheus records from others.
func (c *Catalog) Add(metric string, labels ...string) {
	known := make(map[string]bool)
	for _, l := range labels {
		known[l] = true
	}
	c.metrics[metric] = known
}

// Check says what a metric with these labels lacks.
func (c *Catalog) Check(metric string, labels ...string) error {
	known, ok := c.metrics[metric]
	if !ok {
		return fmt.Errorf("wsproxy has no metric %s", metric)
	}
	for _, l := range labels {
		if !known[l] {
			return fmt.Errorf("%s has no label %s", metric, l)
		}
	}
	return nil
}

// checkValue says that a label never has a value. The empty one means that the label is absent.
func (c *Catalog) checkValue(label, value string) error {
	if known := c.values[label]; len(known) > 0 && value != "" && !slices.Contains(known, value) {
		return fmt.Errorf("%s is never %q", label, value)
	}
	return nil
}

// Label is Prometheus' name of an attribute.
func Label(attribute string) (string, error) {
	namer := otlptranslator.LabelNamer{}
	label, err := namer.Build(attribute)
	if err != nil {
		return "", fmt.Errorf("attribute %s: %w", attribute, err)
	}
	return label, nil
}

func read(file string, into any) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}
