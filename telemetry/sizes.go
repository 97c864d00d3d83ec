package telemetry

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"wsproxy/lifecycle"
)

// sizes produces the histogram of message sizes from lifecycle's own bucket counts: a Record per
// message would cost more than relaying it.
type sizes struct {
	settings  *Settings
	started   time.Time
	snapshots snapshots
}

// sizeKey is a series of the histogram.
type sizeKey struct {
	direction lifecycle.Direction
	route     string
}

// Produce implements sdkmetric.Producer. Readers call it after the callbacks, so that it finds the
// snapshot of the same collection.
func (z *sizes) Produce(context.Context) ([]metricdata.ScopeMetrics, error) {
	snapshot, taken := z.snapshots.last()
	if !taken {
		return nil, nil
	}
	names := newKnown(z.settings)
	sums := make(map[sizeKey]*lifecycle.Counts)
	for k, t := range snapshot.Totals {
		for _, d := range []lifecycle.Direction{lifecycle.Upstream, lifecycle.Downstream} {
			sk := sizeKey{d, names.route(k.Route)}
			if sums[sk] == nil {
				sums[sk] = new(lifecycle.Counts)
			}
			sums[sk].Add(&t.Flows[d])
		}
	}
	points := make([]metricdata.HistogramDataPoint[int64], 0, len(sums))
	for k, c := range sums {
		points = append(points, z.point(k, c))
	}
	return []metricdata.ScopeMetrics{{
		Scope: instrumentation.Scope{Name: scopeName, Version: z.settings.Version, SchemaURL: schemaURL},
		Metrics: []metricdata.Metrics{{
			Name: metricMessageSize, Unit: metricMessageSizeUnit, Description: metricMessageSizeBrief,
			Data: metricdata.Histogram[int64]{Temporality: metricdata.CumulativeTemporality, DataPoints: points},
		}},
	}}, nil
}

func (z *sizes) point(k sizeKey, c *lifecycle.Counts) metricdata.HistogramDataPoint[int64] {
	p := metricdata.HistogramDataPoint[int64]{
		Attributes:   attribute.NewSet(keyDirection.String(k.direction.String()), keyRouteName.String(k.route)),
		StartTime:    z.started,
		Time:         time.Now(),
		Sum:          int64(c.MessageBytes),
		BucketCounts: append([]uint64(nil), c.Sizes[:]...),
	}
	for _, b := range lifecycle.MessageSizeBounds() {
		p.Bounds = append(p.Bounds, float64(b))
	}
	for _, n := range c.Sizes {
		p.Count += n
	}
	return p
}
