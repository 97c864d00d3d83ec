package telemetry

import (
	"context"
	"errors"
	"slices"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// metricExporter sends what is due at its reader's interval, and counts the metrics that did not arrive.
// Most are sums: the next export makes up for them, but the time between has no points.
type metricExporter struct {
	sdkmetric.Exporter
	losses  *losses
	life    context.Context
	due     func(metric string) bool
	started time.Time // when our own sums began to count, whatever provider observes them
}

func (e *metricExporter) Export(ctx context.Context, data *metricdata.ResourceMetrics) error {
	e.prepare(data)
	n := metricCount(data)
	if n == 0 {
		return nil
	}
	return guarded(ctx, e.life, e.losses, signalMetrics, n, func(inner context.Context) error {
		err := e.Exporter.Export(inner, data)
		// A reader that is shut down cuts off the export under way and then collects once more: no loss.
		if errors.Is(ctx.Err(), context.Canceled) {
			return nil
		}
		return err
	})
}

// prepare leaves out what is not due, and has our sums begin when they did: the SDK knows only when
// their present instruments were made.
func (e *metricExporter) prepare(data *metricdata.ResourceMetrics) {
	for i := range data.ScopeMetrics {
		s := &data.ScopeMetrics[i]
		s.Metrics = slices.DeleteFunc(s.Metrics, func(m metricdata.Metrics) bool { return !e.due(m.Name) })
		if s.Scope.Name != scopeName {
			continue
		}
		for _, m := range s.Metrics {
			switch d := m.Data.(type) {
			case metricdata.Sum[int64]:
				beginAt(d, e.started)
			case metricdata.Sum[float64]:
				beginAt(d, e.started)
			}
		}
	}
	data.ScopeMetrics = slices.DeleteFunc(data.ScopeMetrics, func(s metricdata.ScopeMetrics) bool { return len(s.Metrics) == 0 })
}

func beginAt[N int64 | float64](s metricdata.Sum[N], at time.Time) {
	if s.Temporality != metricdata.CumulativeTemporality {
		return
	}
	for i := range s.DataPoints {
		s.DataPoints[i].StartTime = at
	}
}

func metricCount(data *metricdata.ResourceMetrics) int {
	n := 0
	for _, s := range data.ScopeMetrics {
		n += len(s.Metrics)
	}
	return n
}
