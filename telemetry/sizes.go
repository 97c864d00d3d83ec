package telemetry

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"wsproxy/lifecycle"
)

// sizes produces the histogram of message sizes from lifecycle's own bucket counts: a Record per
// message would cost more than relaying it. It applies the policies that views can't.
type sizes struct {
	settings  *Settings
	started   time.Time
	snapshots snapshots
	rules     atomic.Pointer[rules]
}

// Produce implements sdkmetric.Producer. Readers call it after the callbacks, so that it finds the
// snapshot of the same collection.
func (z *sizes) Produce(context.Context) ([]metricdata.ScopeMetrics, error) {
	policy := z.rules.Load().of(metricMessageSize)
	snapshot, taken := z.snapshots.last()
	if !taken || policy.Drop {
		return nil, nil
	}
	sums := z.sums(snapshot, policy)
	data := z.explicit(sums, policy.Buckets)
	if policy.Exponential {
		data = z.exponential(sums)
	}
	return []metricdata.ScopeMetrics{{
		Scope:   instrumentation.Scope{Name: scopeName, Version: z.settings.Version, SchemaURL: schemaURL},
		Metrics: []metricdata.Metrics{{Name: metricMessageSize, Unit: metricMessageSizeUnit, Description: metricMessageSizeBrief, Data: data}},
	}}, nil
}

// sums adds up by the attributes that the policy keeps.
func (z *sizes) sums(s lifecycle.Snapshot, p Policy) map[attribute.Set]*lifecycle.Counts {
	names := newKnown(z.settings)
	keeps := func(attribute.KeyValue) bool { return true }
	if p.Attributes != nil {
		keeps = p.keeps()
	}
	sums := make(map[attribute.Set]*lifecycle.Counts)
	for k, t := range s.Totals {
		for _, d := range []lifecycle.Direction{lifecycle.Upstream, lifecycle.Downstream} {
			set, _ := attribute.NewSetWithFiltered([]attribute.KeyValue{keyDirection.String(d.String()), keyRouteName.String(names.route(k.Route))}, keeps)
			if sums[set] == nil {
				sums[set] = new(lifecycle.Counts)
			}
			sums[set].Add(&t.Flows[d])
		}
	}
	return sums
}

// explicit makes a histogram with bounds, or with all of lifecycle's. A bound that lifecycle does not
// count by is raised to the next that it does.
func (z *sizes) explicit(sums map[attribute.Set]*lifecycle.Counts, bounds []float64) metricdata.Aggregation {
	uppers, into := coarser(bounds)
	h := metricdata.Histogram[int64]{Temporality: metricdata.CumulativeTemporality}
	for set, c := range sums {
		p := metricdata.HistogramDataPoint[int64]{
			Attributes: set, StartTime: z.started, Time: time.Now(), Sum: int64(c.MessageBytes),
			Bounds: uppers, BucketCounts: make([]uint64, len(uppers)+1),
		}
		for i, n := range c.Sizes {
			p.BucketCounts[into[i]] += n
			p.Count += n
		}
		h.DataPoints = append(h.DataPoints, p)
	}
	return h
}

// coarser returns the bounds that can be had instead of those wanted (nil: all), and which bucket each of
// lifecycle's goes into.
func coarser(wanted []float64) (uppers []float64, into []int) {
	counted := lifecycle.MessageSizeBounds()
	for _, b := range counted {
		into = append(into, len(uppers))
		upper := float64(b)
		below := slices.ContainsFunc(wanted, func(w float64) bool { return w <= upper && (len(uppers) == 0 || w > uppers[len(uppers)-1]) })
		if wanted == nil || below {
			uppers = append(uppers, upper)
		}
	}
	return uppers, append(into, len(uppers))
}

// The counted bounds are powers of four: exponential buckets of scale -1, of which the first counted,
// up to 64, is the third. It holds what is smaller, too; and the last, what is larger.
const (
	sizeScale  = -1
	sizeOffset = 2
)

func (z *sizes) exponential(sums map[attribute.Set]*lifecycle.Counts) metricdata.Aggregation {
	h := metricdata.ExponentialHistogram[int64]{Temporality: metricdata.CumulativeTemporality}
	for set, c := range sums {
		p := metricdata.ExponentialHistogramDataPoint[int64]{
			Attributes: set, StartTime: z.started, Time: time.Now(), Sum: int64(c.MessageBytes),
			Scale: sizeScale, ZeroCount: c.Sizes[0],
			PositiveBucket: metricdata.ExponentialBucket{Offset: sizeOffset, Counts: slices.Clone(c.Sizes[1:])},
		}
		for _, n := range c.Sizes {
			p.Count += n
		}
		h.DataPoints = append(h.DataPoints, p)
	}
	return h
}
