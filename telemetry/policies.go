package telemetry

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
)

// Policy says how the metrics are exported whose names it matches. Of several the first that matches
// holds.
type Policy struct {
	Match       string        // pattern of names, as path.Match reads it: * stands for any text
	Drop        bool          // not exported at all
	Attributes  []string      // those kept, sums being added up over the others; nil: all. A gauge keeps all
	Buckets     []float64     // bounds of a histogram's buckets, ascending; nil: the schema's
	Exponential bool          // a histogram of exponential buckets
	Interval    time.Duration // between exports over OTLP; 0: Settings.Interval
}

// intervalsAtMost bounds the readers: every histogram is aggregated once for each.
const intervalsAtMost = 4

// rules are policies that have been checked. nil has none.
type rules struct{ list []Policy }

// compile checks policies against the schema. Its errors name the path in the configuration.
func compile(policies []Policy, interval time.Duration) (*rules, error) {
	r := &rules{slices.Clone(policies)}
	var problems []error
	for i, p := range policies {
		problems = append(problems, p.problems(fmt.Sprintf("telemetry.metrics.policies[%d]", i))...)
	}
	if n := len(r.intervals(interval)); n > intervalsAtMost {
		problems = append(problems, fmt.Errorf("telemetry.metrics.policies: %d different intervals with telemetry.metrics.interval, want at most %d", n, intervalsAtMost))
	}
	return r, errors.Join(problems...)
}

// CheckPolicies says what is wrong with policies, every problem with its path in the configuration.
func CheckPolicies(policies []Policy, interval time.Duration) error {
	_, err := compile(policies, interval)
	return err
}

func (p Policy) problems(at string) []error {
	if _, err := path.Match(p.Match, ""); err != nil || p.Match == "" {
		return []error{fmt.Errorf("%s.match: %q is not a pattern", at, p.Match)}
	}
	var problems []error
	known, library := p.matched()
	if len(known) == 0 && !library {
		problems = append(problems, fmt.Errorf("%s.match: no metric has a name like %s; docs/telemetry.md lists them", at, p.Match))
	}
	histogram := slices.ContainsFunc(known, func(m described) bool { return m.histogram })
	if (p.Buckets != nil || p.Exponential) && !histogram && !library {
		problems = append(problems, fmt.Errorf("%s: buckets are for histograms, and %s matches none", at, p.Match))
	}
	if p.Buckets != nil && p.Exponential {
		problems = append(problems, fmt.Errorf("%s: buckets and histogram: exponential exclude each other", at))
	}
	if len(p.Buckets) > 0 && !slices.IsSorted(p.Buckets) || len(slices.Compact(slices.Clone(p.Buckets))) != len(p.Buckets) {
		problems = append(problems, fmt.Errorf("%s.buckets: want each larger than the one before", at))
	}
	for i, a := range p.Attributes {
		if !library && !slices.ContainsFunc(known, func(m described) bool { return slices.Contains(m.attributes, a) }) {
			problems = append(problems, fmt.Errorf("%s.attributes[%d]: no metric that %s matches has %s; docs/telemetry.md lists them", at, i, p.Match, a))
		}
	}
	return problems
}

// matched lists what of the schema p matches, and says whether it may match a library's metric.
func (p Policy) matched() (known []described, library bool) {
	for _, m := range describedMetrics() {
		if p.matches(m.name) {
			known = append(known, m)
		}
	}
	literal, _, _ := strings.Cut(p.Match, "*")
	for _, prefix := range libraryPrefixes() {
		library = library || strings.HasPrefix(literal, prefix) || strings.HasPrefix(prefix, literal)
	}
	return known, library
}

func (p Policy) matches(name string) bool {
	ok, _ := path.Match(p.Match, name)
	return ok
}

// of is the policy of a metric; without one, the zero Policy.
func (r *rules) of(name string) Policy {
	if r != nil {
		if i := slices.IndexFunc(r.list, func(p Policy) bool { return p.matches(name) }); i >= 0 {
			return r.list[i]
		}
	}
	return Policy{}
}

// intervals are those that something is exported at, the general one first.
func (r *rules) intervals(general time.Duration) []time.Duration {
	all := []time.Duration{general}
	if r == nil {
		return all
	}
	for _, p := range r.list {
		if p.Interval != 0 && !slices.Contains(all, p.Interval) {
			all = append(all, p.Interval)
		}
	}
	return all
}

// due says what is exported at an interval.
func (r *rules) due(interval, general time.Duration) func(string) bool {
	return func(name string) bool {
		of := r.of(name).Interval
		return of == interval || of == 0 && interval == general
	}
}

func (r *rules) equal(to *rules) bool {
	return slices.EqualFunc(r.list, to.list, func(a, b Policy) bool {
		return a.Match == b.Match && a.Drop == b.Drop && a.Exponential == b.Exponential && a.Interval == b.Interval &&
			slices.Equal(a.Buckets, b.Buckets) && slices.Equal(a.Attributes, b.Attributes) && (a.Attributes == nil) == (b.Attributes == nil)
	})
}

// What an exponential histogram holds at most: the SDK's defaults, which the OTLP and Prometheus take.
const (
	exponentialBuckets = 160
	exponentialScale   = 20
)

// view applies the policies to the instruments of a provider.
func (r *rules) view(i sdkmetric.Instrument) (sdkmetric.Stream, bool) {
	p := r.of(i.Name)
	stream := sdkmetric.Stream{Name: i.Name, Description: i.Description, Unit: i.Unit}
	histogram := i.Kind == sdkmetric.InstrumentKindHistogram
	switch {
	case p.Drop:
		stream.Aggregation = sdkmetric.AggregationDrop{}
	case histogram && p.Exponential:
		stream.Aggregation = sdkmetric.AggregationBase2ExponentialHistogram{MaxSize: exponentialBuckets, MaxScale: exponentialScale}
	case histogram && p.Buckets != nil:
		stream.Aggregation = sdkmetric.AggregationExplicitBucketHistogram{Boundaries: p.Buckets}
	}
	gauge := i.Kind == sdkmetric.InstrumentKindObservableGauge || i.Kind == sdkmetric.InstrumentKindGauge
	if p.Attributes != nil && !gauge {
		stream.AttributeFilter = p.keeps()
	}
	return stream, stream.Aggregation != nil || stream.AttributeFilter != nil
}

func (p Policy) keeps() attribute.Filter {
	keys := make([]attribute.Key, len(p.Attributes))
	for i, a := range p.Attributes {
		keys[i] = attribute.Key(a)
	}
	return attribute.NewAllowKeysFilter(keys...)
}
