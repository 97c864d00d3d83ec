package telemetry

import (
	"context"
	"fmt"
	"os"
	"slices"

	"go.opentelemetry.io/contrib/otelconf"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// fromFile builds the providers as OTEL_CONFIG_FILE says. /metrics stays. The file's exporters and
// sampler are otelconf's own: message sizes are on /metrics only, what it drops is counted by the
// SDK's otel.sdk.* metrics only, linked roots are sampled like any other, and its views stand for policies.
func (p *providers) fromFile(ctx context.Context, file string, s *Settings, z *sizes) error {
	prometheus, handler, err := newPrometheus(z)
	if err != nil {
		return err
	}
	p.prometheus = handler
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("OTEL_CONFIG_FILE: %w", err)
	}
	conf, err := otelconf.ParseYAML(text)
	if err != nil {
		return fmt.Errorf("OTEL_CONFIG_FILE %s: %w", file, err)
	}
	if conf.MeterProvider == nil {
		conf.MeterProvider = new(otelconf.MeterProvider)
	}
	describe(conf, s)
	sdk, err := otelconf.NewSDK(otelconf.WithContext(ctx), otelconf.WithOpenTelemetryConfiguration(*conf),
		otelconf.WithMeterProviderOptions(append(meterOptions(s), sdkmetric.WithReader(prometheus))...))
	if err != nil {
		return fmt.Errorf("OTEL_CONFIG_FILE %s: %w", file, err)
	}
	// Each provider is shut down by itself; the SDK's own Shutdown lets one use up the others' time.
	if m, ok := sdk.MeterProvider().(*sdkmetric.MeterProvider); ok {
		p.stops = append(p.stops, m.Shutdown)
		p.metrics = m
		if err := observeLibraries(m); err != nil {
			return err
		}
	}
	if t, ok := sdk.TracerProvider().(*sdktrace.TracerProvider); ok {
		p.traces, p.stops = t, append(p.stops, t.Shutdown)
	}
	if l, ok := sdk.LoggerProvider().(*sdklog.LoggerProvider); ok {
		p.logs, p.stops = l, append(p.stops, l.Shutdown)
	}
	if conf.Propagator != nil {
		p.propagator = sdk.Propagator()
	}
	return nil
}

// describe adds what the file does not say about the service itself.
func describe(conf *otelconf.OpenTelemetryConfiguration, s *Settings) {
	if conf.Resource == nil {
		conf.Resource = new(otelconf.Resource)
	}
	for _, a := range serviceAttributes(s) {
		if !slices.ContainsFunc(conf.Resource.Attributes, func(have otelconf.AttributeNameValue) bool { return have.Name == string(a.Key) }) {
			conf.Resource.Attributes = append(conf.Resource.Attributes, otelconf.AttributeNameValue{Name: string(a.Key), Value: a.Value.AsString()})
		}
	}
}
