package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"

	"wsproxy/admin"
	"wsproxy/config"
	"wsproxy/lifecycle"
	"wsproxy/proxy"
	"wsproxy/proxy/relay"
	"wsproxy/telemetry"
	"wsproxy/tlsconf"
)

// app is a running proxy, made from one configuration.
type app struct {
	cfg       *config.Config
	options   options
	system    *lifecycle.System
	registry  *lifecycle.Registry
	telemetry *telemetry.Telemetry
	log       *slog.Logger
	tls       *tlsconf.Store
	engine    relay.Engine
	limits    atomic.Pointer[map[string]int] // of connections, for telemetry
	observed  atomic.Pointer[relay.Engine]   // engine, for telemetry, which is there before it
	proxy     *proxy.Server
	admin     *admin.Server

	listeners []proxy.Listener
	adminAddr net.Listener // bound; closed by admin once that has started

	running sync.WaitGroup
	stop    context.CancelFunc // of what runs beside the proxy
	broken  chan error         // a listener that ended by itself
}

// options are what a configuration can't say.
type options struct {
	resolver  *net.Resolver        // nil: the system's
	observers []lifecycle.Observer // beside telemetry
	dry       bool                 // nothing will run: export nothing
}

// stopTimeout is how long connections that were cut may take to be gone.
const stopTimeout = 5 * time.Second

// newApp makes everything that can be wrong before anything is bound.
func newApp(ctx context.Context, cfg *config.Config, o options) (*app, error) {
	a := &app{cfg: cfg, options: o, system: &lifecycle.System{}, broken: make(chan error, len(cfg.Listeners))}
	a.registry = &lifecycle.Registry{NewID: func() string { return ulid.Make().String() }}
	a.registry.SetGeneration(1, nil)
	if err := a.system.Enter(lifecycle.StateCreated, "started"); err != nil {
		return nil, err
	}
	a.tls = a.certificateStore()
	settings, err := a.telemetrySettings()
	if err != nil {
		return nil, configError{err}
	}
	t, err := telemetry.New(ctx, settings)
	if err != nil {
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	a.telemetry, a.log = t, t.Component(string(config.LogSystem))
	a.registry.Observers = append(t.Observers(), o.observers...)
	if a.engine, err = newEngine(cfg.Engine, t.Component(string(config.LogRelay))); err != nil {
		return nil, errors.Join(err, t.Shutdown(ctx))
	}
	a.observed.Store(&a.engine)
	a.proxy = &proxy.Server{
		Registry: a.registry, Engine: a.engine, Propagator: t.Propagator(), HTTP: a.observeHTTP, Log: t.Component(string(config.LogProxy)),
		RetryAfter: time.Duration(cfg.Drain.Spread),
	}
	if a.listeners, err = a.listenerSettings(); err == nil {
		a.proxy.Routes, err = a.routes()
	}
	if err != nil {
		a.close()
		return nil, configError{err}
	}
	return a, a.system.Enter(lifecycle.StateInitialized, "configuration and telemetry are ready")
}

// newEngine makes what moves the bytes of open connections.
func newEngine(e config.Engine, log *slog.Logger) (relay.Engine, error) {
	if e == config.EngineGoroutines || e == config.EngineAuto && runtime.GOOS != "linux" {
		return &relay.Goroutines{Log: log}, nil
	}
	loops, err := relay.NewLoops(0, log)
	if err != nil {
		return nil, fmt.Errorf("engine %s: %w", e, err)
	}
	return loops, nil
}

// start binds every address and serves, one state of the process after the other.
func (a *app) start() error {
	for _, step := range []struct {
		state lifecycle.State
		do    func() (cause string, err error)
	}{
		{lifecycle.StateInterfacesReady, a.bind},
		{lifecycle.StateTimeValid, a.checkTime},
		{lifecycle.StatePolicyValid, a.compile},
		{lifecycle.StateUpstreamsChecked, func() (string, error) { return "no active checks", nil }},
		{lifecycle.StateOperational, a.serve},
	} {
		cause, err := step.do()
		if err != nil {
			return err
		}
		if err := a.system.Enter(step.state, cause); err != nil {
			return err
		}
	}
	return nil
}

// bind takes every listen address, so that the second of two processes fails before it serves.
func (a *app) bind() (string, error) {
	var bound []string
	for i, c := range a.cfg.Listeners {
		l, err := net.Listen("tcp", string(c.Address))
		if err != nil {
			return "", fmt.Errorf("listeners[%d].address: %w", i, err)
		}
		a.listeners[i].Listener = l
		bound = append(bound, l.Addr().String())
	}
	l, err := net.Listen("tcp", string(a.cfg.Admin.Address))
	if err != nil {
		return "", fmt.Errorf("admin.address: %w", err)
	}
	a.adminAddr = l
	return "listening on " + strings.Join(append(bound, l.Addr().String()), ", "), nil
}

// checkTime warns of certificates that are not valid now. They are served all the same: the peer judges
// by its own clock.
func (a *app) checkTime() (string, error) {
	cause := "every certificate is valid"
	for _, c := range a.tls.Certificates() {
		if err := c.Check(time.Now()); err != nil {
			a.log.Warn("certificate", "error", err)
			cause = "a certificate is not valid, see the log"
		}
	}
	return cause, nil
}

func (a *app) compile() (string, error) {
	if err := a.proxy.Compile(); err != nil {
		return "", configError{err}
	}
	return fmt.Sprintf("%d routes", len(a.proxy.Routes)), nil
}

func (a *app) serve() (string, error) {
	a.proxy.Capacity = a.capacity()
	a.limits.Store(new(a.connectionLimits(a.proxy.Capacity)))
	ctx, stop := context.WithCancel(context.Background())
	a.stop = stop
	a.running.Go(func() { a.tls.Watch(ctx) })
	a.admin = &admin.Server{
		Registry: a.registry, System: a.system, Metrics: a.telemetry.Metrics(), Token: a.cfg.Admin.Token.Value(),
		Address: string(a.cfg.Admin.Address), Version: version(), Log: a.telemetry.Component(string(config.LogAdmin)), Workers: a.engine.Workers, Logs: a.logs(),
	}
	a.admin.Start(a.adminAddr)
	for _, l := range a.listeners {
		a.running.Go(func() {
			if err := a.proxy.Serve(l); err != nil {
				a.broken <- fmt.Errorf("%s: %w", l.Addr(), err)
			}
		})
	}
	return "accepting", nil
}

// drain lets open connections leave, until drain.timeout or a second signal.
func (a *app) drain(cause string, again <-chan os.Signal) {
	a.system.Enter(lifecycle.StateDraining, cause)
	d := a.cfg.Drain
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(d.Timeout))
	defer cancel()
	go func() {
		select {
		case <-again:
			cancel()
		case <-ctx.Done():
		}
	}()
	a.proxy.Drain(ctx, proxy.Drain{Spread: time.Duration(d.Spread), Code: d.Code, Reason: d.Reason})
	if a.engine.Wait(ctx) == nil {
		return
	}
	a.proxy.Stop()
	ctx, cancelStop := context.WithTimeout(context.Background(), stopTimeout)
	defer cancelStop()
	if err := a.engine.Wait(ctx); err != nil {
		a.log.Error("connections are still open", "error", err)
	}
}

// close ends everything that was started, and last flushes telemetry.
func (a *app) close() {
	var errs []error
	errs = append(errs, a.proxy.Close())
	for _, l := range a.listeners {
		if l.Listener != nil {
			l.Close() // again, unless it was never served
		}
	}
	if a.admin != nil {
		errs = append(errs, a.admin.Close())
	} else if a.adminAddr != nil {
		a.adminAddr.Close()
	}
	if a.stop != nil {
		a.stop()
	}
	a.running.Wait()
	a.engine.Close()
	if err := errors.Join(errs...); err != nil {
		a.log.Warn("close", "error", err)
	}
	if err := a.telemetry.Shutdown(context.Background()); err != nil {
		a.log.Warn("telemetry was not flushed", "error", err)
	}
	a.system.Enter(lifecycle.StateStopped, "telemetry flushed")
}
