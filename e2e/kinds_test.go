//go:build e2e

package e2e

import (
	"slices"
	"strings"
	"testing"

	collectorlogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	collectormetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	otlpcommon "go.opentelemetry.io/proto/otlp/common/v1"
	otlpmetrics "go.opentelemetry.io/proto/otlp/metrics/v1"
	otlpresource "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/protobuf/proto"

	"wsproxy/internal/otlpsink"
)

// withSink is how a collector hands on all that it gets.
func withSink(s *sink) []string {
	return []string{
		"--config", "yaml:exporters::otlp_http/sink::endpoint: http://" + s.address,
		"--config", "yaml:service::pipelines::traces::exporters: [otlp_grpc/jaeger, otlp_http/sink]",
		"--config", "yaml:service::pipelines::metrics::exporters: [otlp_http/prometheus, otlp_http/sink]",
		"--config", "yaml:service::pipelines::logs::exporters: [debug/logs, otlp_http/sink]",
	}
}

// checkKinds holds what a sink got of a service against the schema, both ways: the unit and the kind of every metric, and the
// type of every attribute.
func checkKinds(t *testing.T, service string, schema *schema, got *sink) {
	promised := make(promise)
	for _, m := range schema.Metrics {
		promised.add(m.Name, m.Attributes)
	}
	kinds := schema.attributeTypes()
	of := func(r *otlpresource.Resource) bool {
		return slices.ContainsFunc(r.GetAttributes(), func(a *otlpcommon.KeyValue) bool {
			return a.Key == "service.name" && a.Value.GetStringValue() == service
		})
	}
	var metrics collectormetrics.ExportMetricsServiceRequest
	var logs collectorlogs.ExportLogsServiceRequest
	for path, m := range map[string]proto.Message{otlpsink.Metrics: &metrics, otlpsink.Logs: &logs} {
		if err := proto.Unmarshal(got.Got(path), m); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range metrics.ResourceMetrics {
		for _, scope := range r.ScopeMetrics {
			for _, m := range scope.Metrics {
				if of(r.Resource) && !schema.ofLibrary(m.Name) {
					schema.checkMetric(t, m, promised, kinds)
				}
			}
		}
	}
	for _, r := range logs.ResourceLogs {
		for _, scope := range r.ScopeLogs {
			for _, record := range scope.LogRecords {
				if of(r.Resource) && record.EventName != "" {
					checkTypes(t, record.EventName, record.Attributes, kinds)
				}
			}
		}
	}
	spans := got.spans(t)
	for _, s := range spans {
		checkTypes(t, s.Name, s.Attributes, kinds)
	}
	t.Logf("%d metrics of the schema, %d spans", len(promised), len(spans))
	wantSeen(t, promised)
}

// checkMetric looks at one export of a metric.
func (s *schema) checkMetric(t *testing.T, m *otlpmetrics.Metric, promised promise, kinds map[string]string) {
	t.Helper()
	i := slices.IndexFunc(s.Metrics, func(p metric) bool { return p.Name == m.Name })
	if i < 0 {
		t.Errorf("the schema has no %s", m.Name)
		return
	}
	kind, sets := kindOf(m)
	want := s.Metrics[i]
	if m.Unit != want.Unit || kind != want.Instrument {
		t.Errorf("%s is a %s of %s, want a %s of %s", m.Name, kind, m.Unit, want.Instrument, want.Unit)
	}
	for _, set := range sets {
		var keys []string
		for _, a := range set {
			keys = append(keys, a.Key)
		}
		for _, surprise := range promised.seen(m.Name, keys) {
			t.Errorf("the schema has no %s", surprise)
		}
		checkTypes(t, m.Name, set, kinds)
	}
}

// kindOf is the instrument that makes such a metric, and the attributes of its points.
func kindOf(m *otlpmetrics.Metric) (kind string, sets [][]*otlpcommon.KeyValue) {
	numbers := func(points []*otlpmetrics.NumberDataPoint) {
		for _, p := range points {
			sets = append(sets, p.Attributes)
		}
	}
	switch data := m.Data.(type) {
	case *otlpmetrics.Metric_Histogram:
		for _, p := range data.Histogram.DataPoints {
			sets = append(sets, p.Attributes)
		}
		return "histogram", sets
	case *otlpmetrics.Metric_Gauge:
		numbers(data.Gauge.DataPoints)
		return "gauge", sets
	case *otlpmetrics.Metric_Sum:
		numbers(data.Sum.DataPoints)
		if data.Sum.IsMonotonic {
			return "counter", sets
		}
		return "updowncounter", sets
	}
	return "of a kind that the schema has not", nil
}

// attributeTypes are the types by name, of our attributes and of the conventions' that we use.
func (s *schema) attributeTypes() map[string]string {
	all := make(map[string]string)
	for _, a := range s.Attributes {
		all[a.Name] = a.Type
	}
	return all
}

// checkTypes wants each attribute to be of the schema's type.
func checkTypes(t *testing.T, of string, attributes []*otlpcommon.KeyValue, want map[string]string) {
	t.Helper()
	for _, a := range attributes {
		if got := typeOf(a.Value); got != want[a.Key] {
			t.Errorf("%s: %s is a %s, want a %q", of, a.Key, got, want[a.Key])
		}
	}
}

// typeOf is what the schema calls the type of a value.
func typeOf(v *otlpcommon.AnyValue) string {
	switch v.Value.(type) {
	case *otlpcommon.AnyValue_StringValue:
		return "string"
	case *otlpcommon.AnyValue_BoolValue:
		return "boolean"
	case *otlpcommon.AnyValue_IntValue:
		return "int"
	case *otlpcommon.AnyValue_DoubleValue:
		return "double"
	case *otlpcommon.AnyValue_ArrayValue:
		return "string[]"
	}
	return "value of no type"
}

// ofLibrary says whether a metric, by its own name, is one that a library emits.
func (s *schema) ofLibrary(name string) bool {
	for _, l := range s.Libraries {
		if strings.HasPrefix(name, l.Prefix) {
			return true
		}
	}
	return false
}
