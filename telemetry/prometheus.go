package telemetry

import (
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/otlptranslator"
	exporter "go.opentelemetry.io/otel/exporters/prometheus"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
)

// newPrometheus returns a reader and the handler that serves what it reads: with exemplars where the
// scraper asks for OpenMetrics or protobuf, and exponential histograms as native ones where it asks for
// protobuf.
func newPrometheus(producers ...sdkmetric.Producer) (sdkmetric.Reader, http.Handler, error) {
	registry := prometheus.NewRegistry()
	opts := []exporter.Option{exporter.WithRegisterer(registry), exporter.WithTranslationStrategy(otlptranslator.UnderscoreEscapingWithSuffixes)}
	for _, p := range producers {
		opts = append(opts, exporter.WithProducer(p))
	}
	reader, err := exporter.New(opts...)
	if err != nil {
		return nil, nil, fmt.Errorf("prometheus exporter: %w", err)
	}
	return reader, promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		EnableOpenMetrics:   true,
		MaxRequestsInFlight: 4, // each collects anew
	}), nil
}
