package main

import (
	"fmt"
	"os"
	"testing"

	"github.com/prometheus/otlptranslator"
	"go.yaml.in/yaml/v3"
)

// catalog holds the labels of each metric, by the names that Prometheus gives it.
type catalog map[string]map[string]bool

// readCatalog translates wsproxy's schema as the stack's Prometheus does.
func readCatalog(t *testing.T) catalog {
	t.Helper()
	var schema struct {
		Metrics []struct {
			Name, Instrument, Unit string
			Attributes             []string
		}
	}
	read(t, "../../telemetry/schema.yaml", &schema)
	var server struct {
		OTLP struct {
			Strategy string   `yaml:"translation_strategy"`
			Promoted []string `yaml:"promote_resource_attributes"`
		}
	}
	read(t, "../prometheus.yaml", &server)
	strategy := otlptranslator.TranslationStrategyOption(server.OTLP.Strategy)
	if len(schema.Metrics) == 0 || strategy == "" {
		t.Fatalf("got %d metrics and strategy %q", len(schema.Metrics), strategy)
	}
	namer := otlptranslator.NewMetricNamer("", strategy)
	c := make(catalog)
	for _, m := range schema.Metrics {
		kind, ok := kinds()[m.Instrument]
		if !ok {
			t.Fatalf("%s: unknown instrument %q", m.Name, m.Instrument)
		}
		name, err := namer.Build(otlptranslator.Metric{Name: m.Name, Unit: m.Unit, Type: kind})
		if err != nil {
			t.Fatalf("%s: %v", m.Name, err)
		}
		labels := labelsOf(t, append(m.Attributes, server.OTLP.Promoted...))
		labels["job"], labels["instance"] = true, true
		c.add(name, kind, labels)
	}
	return c
}

func kinds() map[string]otlptranslator.MetricType {
	return map[string]otlptranslator.MetricType{
		"counter":       otlptranslator.MetricTypeMonotonicCounter,
		"updowncounter": otlptranslator.MetricTypeNonMonotonicCounter,
		"gauge":         otlptranslator.MetricTypeGauge,
		"histogram":     otlptranslator.MetricTypeHistogram,
	}
}

func labelsOf(t *testing.T, attributes []string) map[string]bool {
	t.Helper()
	labels := make(map[string]bool)
	namer := otlptranslator.LabelNamer{}
	for _, a := range attributes {
		label, err := namer.Build(a)
		if err != nil {
			t.Fatalf("%s: %v", a, err)
		}
		labels[label] = true
	}
	return labels
}

func (c catalog) add(name string, kind otlptranslator.MetricType, labels map[string]bool) {
	if kind != otlptranslator.MetricTypeHistogram {
		c[name] = labels
		return
	}
	c[name+"_count"], c[name+"_sum"] = labels, labels
	buckets := map[string]bool{"le": true}
	for l := range labels {
		buckets[l] = true
	}
	c[name+"_bucket"] = buckets
}

// check says what a metric with these labels lacks.
func (c catalog) check(metric string, labels ...string) error {
	known, ok := c[metric]
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

func read(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// What the end-to-end tests see in a real Prometheus, to know that this catalog is the truth.
func TestCatalogHasPrometheusNames(t *testing.T) {
	c := readCatalog(t)
	for metric, labels := range map[string][]string{
		"wsproxy_io_bytes_total":                   {"wsproxy_direction", "service_instance_id", "job"},
		"wsproxy_phase_duration_seconds_bucket":    {"le", "wsproxy_phase_name", "error_type"},
		"wsproxy_connection_active":                {"wsproxy_route_name"},
		"wsproxy_system_status":                    {"wsproxy_system_state"},
		"http_server_request_duration_seconds_sum": {"http_response_status_code"},
		"process_uptime_seconds":                   {},
	} {
		if err := c.check(metric, labels...); err != nil {
			t.Error(err)
		}
	}
}
