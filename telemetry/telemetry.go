package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"time"

	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/trace"

	"wsproxy/lifecycle"
)

const scopeName = "wsproxy"

// Telemetry is wsproxy's traces, metrics and logs. Shutdown ends it.
type Telemetry struct {
	settings  Settings
	providers *providers
	losses    *losses
	console   *console
	logger    *slog.Logger

	// Lines for the console only: what is exported in another form, or is about the export.
	steps, states, reloads, exports, targets *slog.Logger

	tracer   trace.Tracer // nil: tracing is off
	tracing  *tracing     // of connections; nil as tracer is
	events   *events      // nil: no log records are exported
	metrics  *metrics     // nil: the SDK is disabled
	segments *scheduler
	tellings *tellings
	system   *system
}

// New builds the providers, in this order of precedence: OTEL_SDK_DISABLED, OTEL_CONFIG_FILE, the
// other OTEL_ variables, the settings. Where none of them names a collector, nothing goes out on the
// network. ctx bounds the set-up only.
func New(ctx context.Context, s Settings) (*Telemetry, error) {
	s = s.withDefaults()
	// The SDK counts what it drops only if this is set before its parts are built.
	if err := os.Setenv("OTEL_GO_X_OBSERVABILITY", "true"); err != nil {
		return nil, fmt.Errorf("set up telemetry: %w", err)
	}
	sizes := &sizes{settings: &s, started: time.Now()}
	losses := newLosses()
	console := newConsole(s.Log)
	p, err := newProviders(ctx, &s, losses, sizes, console)
	if err != nil {
		return nil, fmt.Errorf("set up telemetry: %w", errors.Join(err, p.shutdown(ctx, s.Flush)))
	}
	return assemble(s, p, losses, sizes, console)
}

// assemble makes everything that stands on the providers.
func assemble(s Settings, p *providers, l *losses, z *sizes, c *console) (*Telemetry, error) {
	t := &Telemetry{settings: s, providers: p, losses: l, console: c}
	t.steps, t.states, t.reloads, t.exports, t.targets =
		c.logger("connection"), c.logger("system"), c.logger("system"), c.logger("telemetry"), c.logger("upstream")
	version := s.Version
	if p.traces != nil {
		t.tracer = p.traces.Tracer(scopeName, trace.WithInstrumentationVersion(version), trace.WithSchemaURL(schemaURL))
		t.tracing = &tracing{tracer: t.tracer, recording: p.recording}
	}
	if p.logs != nil {
		t.events = &events{logger: p.logs.Logger(scopeName, log.WithInstrumentationVersion(version), log.WithSchemaURL(schemaURL)), blanks: p.blanks}
	}
	l.reportTo(t.dropping)
	t.logger = slog.New(newHandler(c, p.logs, version))
	t.tellings = newTellings((*telling).tell, c.flush, t.logger)
	if err := t.measure(z); err != nil {
		t.tellings.stop()
		return nil, errors.Join(err, p.shutdown(context.Background(), s.Flush))
	}
	if t.tracer != nil {
		t.segments = newScheduler(s.Segments)
	}
	t.system = &system{tel: t}
	if s.System != nil {
		s.System.Observe(t.system.entered)
	}
	return t, nil
}

// measure makes the metrics, on a provider of ours or on the fixed one.
func (t *Telemetry) measure(z *sizes) error {
	p, s := t.providers, &t.settings
	if p.metrics == nil && p.meters == nil {
		return nil
	}
	for _, r := range s.Routes {
		s.Registry.Declare(lifecycle.Key{Mode: r.Mode, Route: r.Name, Upstream: r.Upstream})
	}
	t.metrics = newMetrics(s)
	c := newCollection(s, t.metrics, t.losses, z, t.console.limit)
	c.settle = t.tellings.flush
	if p.meters == nil {
		if len(s.Policies) > 0 {
			t.exports.Warn("telemetry.metrics.policies have no effect: OTEL_CONFIG_FILE says what is exported")
		}
		return c.attach(p.metrics)
	}
	p.meters.attach = c.attach
	return t.SetPolicies(context.Background(), s.Policies)
}

// SetPolicies replaces the policies of metrics. What they change of our own histograms starts anew, and
// sums go on; libraries' metrics keep the attributes and buckets that they started with. Under
// OTEL_CONFIG_FILE, whose views say what is exported, it does nothing.
func (t *Telemetry) SetPolicies(ctx context.Context, policies []Policy) error {
	rules, err := compile(policies, t.settings.Interval)
	if err != nil || t.providers.meters == nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, t.settings.Flush)
	defer cancel()
	return t.providers.meters.use(ctx, rules)
}

// Observers is who is to be told of every connection; they go into a Registry before its first Open.
func (t *Telemetry) Observers() []lifecycle.Observer { return []lifecycle.Observer{observer{t}} }

// Propagator carries trace contexts in HTTP headers.
func (t *Telemetry) Propagator() lifecycle.Propagator {
	return newPropagator(t.providers.propagator, t.tracer != nil)
}

// Metrics serves what Prometheus scrapes.
func (t *Telemetry) Metrics() http.Handler { return t.providers.prometheus }

// Logger writes to the console and, where logs are exported, to the collector.
func (t *Telemetry) Logger() *slog.Logger { return t.logger }

// Component is Logger for a part of the program, whose lines have a level of their own.
func (t *Telemetry) Component(name string) *slog.Logger { return t.logger.With(componentKey, name) }

// Levels is what is logged at present.
func (t *Telemetry) Levels() Levels { return *t.console.levels.Load().clone() }

// SetLevels changes what is logged. It may be called at any time.
func (t *Telemetry) SetLevels(l Levels) { t.console.levels.Store(l.clone()) }

// Shutdown flushes and ends all signals side by side, each within Settings.Flush and ctx. It is called
// after the last connection has closed.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	t.tellings.stop()
	t.segments.stop()
	t.system.leave(time.Now())
	return t.providers.shutdown(ctx, t.settings.Flush)
}

// sideBySide runs all of fs at once, each under a deadline of its own, and returns what went wrong.
func sideBySide(ctx context.Context, each time.Duration, fs []func(context.Context) error) error {
	errs := make([]error, len(fs))
	var wg sync.WaitGroup
	for i, f := range fs {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, each)
			defer cancel()
			errs[i] = f(ctx)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
