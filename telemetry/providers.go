package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/contrib/propagators/autoprop"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
)

// providers is what New built. A signal that is off has no provider.
type providers struct {
	traces     trace.TracerProvider
	recording  *recording // past which traces' spans need not go; nil: they do
	metrics    metric.MeterProvider
	logs       log.LoggerProvider
	blanks     *blanks // past which logs' events need not go; nil: they do
	propagator propagation.TextMapPropagator
	prometheus http.Handler
	meters     *meters // nil: the provider of metrics is fixed

	stops []func(context.Context) error
	kill  context.CancelFunc // ends exports under way; nil: there are none
	hurry context.CancelFunc // ends waits for a collector
}

// shutdown flushes and ends every provider side by side. Exports still under way after that are cut
// off, so that nothing of ours waits on a collector any more.
func (p *providers) shutdown(ctx context.Context, each time.Duration) error {
	if p == nil {
		return nil
	}
	if p.kill != nil {
		p.hurry()
		defer p.kill()
		defer time.AfterFunc(each, p.kill).Stop()
	}
	return sideBySide(ctx, each, p.stops)
}

// newProviders builds them in the order that New promises. What it returns beside an error is to be
// shut down, too.
func newProviders(ctx context.Context, s *Settings, l *losses, z *sizes, c *console) (*providers, error) {
	p := &providers{prometheus: http.NotFoundHandler(), propagator: propagation.NewCompositeTextMapPropagator()}
	if s.disabled() {
		return p, nil
	}
	life, kill := context.WithCancel(context.Background())
	hold, hurry := context.WithCancel(life)
	p.kill, p.hurry = kill, hurry
	// The SDK reports errors, its own log lines and its self-metrics to process-wide places and to no
	// other.
	otel.SetErrorHandler(&errorHandler{console: c})
	otel.SetLogger(sdkLogger(c, s.Env("OTEL_LOG_LEVEL")))
	p.propagator = autoprop.NewTextMapPropagator()

	if file := s.Env("OTEL_CONFIG_FILE"); file != "" {
		return p, p.fromFile(ctx, file, s, z)
	}
	b := builder{settings: s, losses: l, sizes: z, lifetime: lifetime{life: life, hold: hold, settings: s}}
	return p, b.build(ctx, p)
}

// builder makes the providers that neither file nor OTEL_SDK_DISABLED decided on.
type builder struct {
	settings  *Settings
	losses    *losses
	sizes     *sizes
	lifetime  lifetime
	libraries *libraries
	resource  *resource.Resource
	collector *collector // of the block; nil without
}

func (b *builder) build(ctx context.Context, p *providers) error {
	var err error
	if b.resource, err = newResource(ctx, b.settings); err != nil {
		return err
	}
	if b.settings.OTLP.Endpoint != "" {
		if b.collector, err = b.settings.OTLP.collector(); err != nil {
			return err
		}
	}
	// Metrics first: the other signals' parts look up the meter provider as they are built.
	return errors.Join(b.metrics(p), b.traces(ctx, p), b.logs(ctx, p))
}

// metrics makes what the provider of metrics will be built from.
func (b *builder) metrics(p *providers) error {
	rules, err := compile(b.settings.Policies, b.settings.Interval)
	if err != nil {
		return err
	}
	if b.libraries, err = newLibraries(b.settings, rules); err != nil {
		return err
	}
	kind := b.settings.exporter(signalMetrics)
	p.meters = &meters{
		settings: b.settings, resource: b.resource, sizes: b.sizes, libraries: b.libraries, push: b.readers,
		exclusive: kind != "" && kind != "otlp",
	}
	p.prometheus = p.meters
	p.stops = append(p.stops, p.meters.shutdown)
	return nil
}

// readers push metrics to the collector, one for each interval; none if there is no collector.
func (b *builder) readers(ctx context.Context, r *rules) ([]sdkmetric.Reader, error) {
	if b.settings.origin(signalMetrics) == originNone {
		return nil, nil
	}
	kind := b.settings.exporter(signalMetrics)
	if b.settings.origin(signalMetrics) == originEnvironment && kind != "" && kind != "otlp" { // console and prometheus
		autoexport.WithFallbackMetricProducer(func(context.Context) (sdkmetric.Producer, error) {
			return producers{b.sizes, b.libraries}, nil
		})
		reader, err := autoexport.NewMetricReader(ctx)
		return []sdkmetric.Reader{reader}, err
	}
	var all []sdkmetric.Reader
	for _, interval := range r.intervals(b.settings.Interval) {
		exporter, err := b.metricExporter(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, b.reader(exporter, interval, r.due(interval, b.settings.Interval)))
	}
	return all, nil
}

// producers are several as one.
type producers []sdkmetric.Producer

func (p producers) Produce(ctx context.Context) ([]metricdata.ScopeMetrics, error) {
	var all []metricdata.ScopeMetrics
	var errs []error
	for _, one := range p {
		made, err := one.Produce(ctx)
		all, errs = append(all, made...), append(errs, err)
	}
	return all, errors.Join(errs...)
}

func (b *builder) metricExporter(ctx context.Context) (sdkmetric.Exporter, error) {
	a := b.lifetime.followed().attempts
	if b.settings.origin(signalMetrics) == originBlock {
		return b.collector.metrics(ctx, a)
	}
	return environmentMetrics(ctx, a, b.settings.environmentProtocol(signalMetrics)) // as autoexport does it, whose reader takes no filter
}

// reader exports every interval what is due then.
func (b *builder) reader(e sdkmetric.Exporter, interval time.Duration, due func(string) bool) sdkmetric.Reader {
	opts := []sdkmetric.PeriodicReaderOption{sdkmetric.WithProducer(b.sizes), sdkmetric.WithProducer(b.libraries)}
	if interval != b.settings.Interval || b.settings.Env("OTEL_METRIC_EXPORT_INTERVAL") == "" {
		opts = append(opts, sdkmetric.WithInterval(interval))
	}
	return sdkmetric.NewPeriodicReader(&metricExporter{Exporter: e, losses: b.losses, life: b.lifetime.life, due: due, started: b.sizes.started}, opts...)
}

func environmentMetrics(ctx context.Context, a *attempts, protocol string) (sdkmetric.Exporter, error) {
	switch protocol {
	case protocolGRPC:
		return otlpmetricgrpc.New(ctx, otlpmetricgrpc.WithDialOption(a.dialOptions()...))
	case "", protocolHTTP:
		return otlpmetrichttp.New(ctx)
	}
	return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL: %q is neither %s nor %s", protocol, protocolGRPC, protocolHTTP)
}

func (b *builder) traces(ctx context.Context, p *providers) error {
	var exporter sdktrace.SpanExporter
	var err error
	life := b.lifetime.followed()
	switch b.settings.origin(signalTraces) {
	case originNone:
		return nil
	case originBlock:
		exporter, err = b.collector.traces(ctx, life.attempts)
	default:
		exporter, err = b.environmentSpans(ctx, life.attempts)
	}
	if err != nil {
		return fmt.Errorf("traces exporter: %w", err)
	}
	sampler, err := b.settings.sampler()
	if err != nil {
		return err
	}
	queue := b.settings.size("OTEL_BSP_MAX_QUEUE_SIZE", spanLimit)
	gate := newSpanGate(exporter, queue, life, b.losses)
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithResource(b.resource),
		sdktrace.WithSampler(linkedSampler{sampler}),
		sdktrace.WithSpanProcessor(gate))
	p.traces, p.recording = provider, newRecording(sampler, gate, b.resource, b.settings.Version)
	if p.recording != nil {
		_, p.recording.written = exporter.(*spansExporter)
	}
	p.stops = append(p.stops, provider.Shutdown)
	return nil
}

// environmentSpans is the exporter that autoexport would make; ours where that is OTLP's.
func (b *builder) environmentSpans(ctx context.Context, a *attempts) (sdktrace.SpanExporter, error) {
	if e := b.settings.exporter(signalTraces); e == "" || e == "otlp" {
		switch b.settings.environmentProtocol(signalTraces) {
		case protocolGRPC:
			return newSpansExporter(ctx, otlptracegrpc.NewClient(otlptracegrpc.WithDialOption(a.dialOptions()...)))
		case "", protocolHTTP:
			return newSpansExporter(ctx, otlptracehttp.NewClient())
		}
	}
	return autoexport.NewSpanExporter(ctx)
}

func (b *builder) logs(ctx context.Context, p *providers) error {
	var exporter sdklog.Exporter
	var err error
	life := b.lifetime.followed()
	switch b.settings.origin(signalLogs) {
	case originNone:
		return nil
	case originBlock:
		exporter, err = b.collector.logs(ctx, life.attempts, b.settings.tuned())
	default:
		exporter, err = b.environmentLogs(ctx, life.attempts)
	}
	if err != nil {
		return fmt.Errorf("logs exporter: %w", err)
	}
	queue := b.settings.size("OTEL_BLRP_MAX_QUEUE_SIZE", recordLimit)
	gate := newLogGate(exporter, queue, life, b.losses)
	provider := sdklog.NewLoggerProvider(sdklog.WithResource(b.resource), sdklog.WithProcessor(gate))
	p.logs, p.blanks = provider, newBlanks(gate, b.resource, b.settings.Version)
	if _, ours := exporter.(*logsExporter); ours && !b.settings.limitsRecords() {
		p.blanks.written = true
	}
	p.stops = append(p.stops, provider.Shutdown)
	return nil
}

// environmentLogs is the exporter that autoexport would make; ours where that is OTLP's over gRPC.
func (b *builder) environmentLogs(ctx context.Context, a *attempts) (sdklog.Exporter, error) {
	if e := b.settings.exporter(signalLogs); (e == "" || e == "otlp") && b.settings.environmentProtocol(signalLogs) == protocolGRPC {
		return newLogsExporter(otlploggrpc.New(ctx, otlploggrpc.WithDialOption(append(a.dialOptions(), grpc.WithUnaryInterceptor(instead))...)))
	}
	return autoexport.NewLogExporter(ctx)
}

// seriesPerRoute bounds what one route adds to one instrument: 23 causes with the close codes, legs
// and initiators that go with each, or every phase's reasons for two kinds of egress, are below it.
const seriesPerRoute = 500

// meterOptions raises the SDK's cardinality limit where the configuration itself, whose names are all
// that labels may hold, makes more series.
func meterOptions(s *Settings) []sdkmetric.Option {
	return []sdkmetric.Option{sdkmetric.WithCardinalityLimit(max(2000, seriesPerRoute*(len(s.Routes)+1)))}
}
