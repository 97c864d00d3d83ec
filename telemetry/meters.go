package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/contrib/instrumentation/runtime"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"
)

// meters holds the meter provider of our own instruments. Views are fixed when a provider is built, so
// policies that change have it replaced. What libraries count has a provider that stays.
type meters struct {
	settings  *Settings
	resource  *resource.Resource
	sizes     *sizes
	libraries *libraries
	push      func(context.Context, *rules) ([]sdkmetric.Reader, error) // readers that export; made anew for each provider
	exclusive bool                                                      // two sets of them can't be there at once
	attach    func(metric.MeterProvider) error                          // puts instruments on a provider to use

	handler atomic.Pointer[http.Handler] // serves what Prometheus scrapes

	mu       sync.Mutex
	rules    *rules
	provider *sdkmetric.MeterProvider
}

// ServeHTTP serves the metrics of the provider in use.
func (m *meters) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	(*m.handler.Load()).ServeHTTP(w, r)
}

// readers are those of one provider.
type readers struct {
	push    []sdkmetric.Reader
	handler http.Handler
}

// build makes a provider under r. It is not in use yet.
func (m *meters) build(ctx context.Context, r *rules) (*sdkmetric.MeterProvider, *readers, error) {
	scraped, handler, err := newPrometheus(m.sizes, m.libraries)
	if err != nil {
		return nil, nil, err
	}
	push, err := m.push(ctx, r)
	if err != nil {
		return nil, nil, fmt.Errorf("metrics exporter: %w", err)
	}
	opts := append(meterOptions(m.settings), sdkmetric.WithResource(m.resource), sdkmetric.WithReader(scraped), sdkmetric.WithView(r.view))
	for _, p := range push {
		opts = append(opts, sdkmetric.WithReader(p))
	}
	return sdkmetric.NewMeterProvider(opts...), &readers{push, handler}, nil
}

// use makes a provider under r the one in use and ends the one before it.
func (m *meters) use(ctx context.Context, r *rules) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.rules != nil && m.rules.equal(r) {
		return nil
	}
	former := m.provider
	if former != nil && m.exclusive {
		if err := former.Shutdown(ctx); err != nil {
			return err
		}
		former = nil
	}
	provider, readers, err := m.build(ctx, r)
	if err != nil {
		return err
	}
	if err := m.attach(provider); err != nil {
		return errors.Join(err, provider.Shutdown(ctx))
	}
	m.sizes.rules.Store(r)
	m.libraries.rules.Store(r)
	m.handler.Store(&readers.handler)
	m.provider, m.rules = provider, r
	if former == nil {
		return nil
	}
	if err := readers.baseline(ctx); err != nil {
		return err
	}
	former.Shutdown(ctx) // its last export may fail: that is counted, and the policies hold all the same
	return nil
}

// baseline collects once without exporting: with delta temporality what was counted so far must not be
// exported again.
func (r *readers) baseline(ctx context.Context) error {
	for _, p := range r.push {
		var unused metricdata.ResourceMetrics
		if err := p.Collect(ctx, &unused); err != nil {
			return fmt.Errorf("collect metrics: %w", err)
		}
	}
	return nil
}

func (m *meters) shutdown(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.provider == nil {
		return nil
	}
	return errors.Join(m.provider.Shutdown(ctx), m.libraries.provider.Shutdown(ctx))
}

// libraries collects the metrics of the Go runtime and of the SDK itself, and hands them to the readers of
// whatever provider of ours is in use.
type libraries struct {
	provider *sdkmetric.MeterProvider
	reader   *sdkmetric.ManualReader
	rules    atomic.Pointer[rules]
}

func newLibraries(s *Settings, r *rules) (*libraries, error) {
	l := &libraries{reader: sdkmetric.NewManualReader()}
	l.provider = sdkmetric.NewMeterProvider(append(meterOptions(s), sdkmetric.WithReader(l.reader), sdkmetric.WithView(r.view))...)
	return l, observeLibraries(l.provider)
}

// observeLibraries makes p the provider of the libraries' metrics.
func observeLibraries(p metric.MeterProvider) error {
	otel.SetMeterProvider(p)
	if err := runtime.Start(runtime.WithMeterProvider(p)); err != nil {
		return fmt.Errorf("runtime metrics: %w", err)
	}
	return nil
}

// Produce implements sdkmetric.Producer.
func (l *libraries) Produce(ctx context.Context) ([]metricdata.ScopeMetrics, error) {
	var data metricdata.ResourceMetrics
	if err := l.reader.Collect(ctx, &data); err != nil {
		return nil, err
	}
	rules := l.rules.Load()
	for i := range data.ScopeMetrics {
		s := &data.ScopeMetrics[i]
		s.Metrics = slices.DeleteFunc(s.Metrics, func(m metricdata.Metrics) bool { return rules.of(m.Name).Drop })
	}
	return data.ScopeMetrics, nil
}
