package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloudflare/tableflip"
	"github.com/oklog/ulid/v2"

	"wsproxy/access"
	"wsproxy/admin"
	"wsproxy/config"
	"wsproxy/lifecycle"
	"wsproxy/proxy"
	"wsproxy/proxy/relay"
	"wsproxy/telemetry"
)

// app is a running proxy: what outlives its configurations. What is made from one is its generation.
type app struct {
	options   options
	system    *lifecycle.System
	registry  *lifecycle.Registry
	telemetry *telemetry.Telemetry
	log       *slog.Logger
	engine    relay.Engine
	limits    atomic.Pointer[map[string]int] // of connections, for telemetry
	observed  atomic.Pointer[relay.Engine]   // engine, for telemetry, which is there before it
	proxy     *proxy.Server
	admin     *admin.Server
	events    *admin.Events

	limiters   map[string]*access.Limiter // in force, by what they are of; guarded by changing
	generation atomic.Pointer[generation] // in force; nil before compile
	changing   chan struct{}              // holds a token while nobody changes generation, listeners or the process's state
	seen       loaded                     // configuration that the latest reload looked at; guarded by changing
	listeners  []*bound                   // guarded by changing
	adminAddr  net.Listener               // bound; closed by admin once that has started
	drains     drains

	groups    atomic.Pointer[[]*group] // the upstreams in force; nil before compile
	stickyKey []byte                   // of cookies without a secret of their own

	running sync.WaitGroup
	broken  chan error // a listener that ended by itself
}

// options are what a configuration can't say.
type options struct {
	upgrader  *tableflip.Upgrader  // nil: sockets are neither inherited nor handed on
	file      string               // that the configuration comes from and reloads read; empty: none
	resolver  *net.Resolver        // nil: the system's
	observers []lifecycle.Observer // beside telemetry
	console   io.Writer            // of log lines; nil: standard error
	dry       bool                 // nothing will run: export nothing
}

// stopTimeout is how long connections that were cut may take to be gone.
const stopTimeout = 5 * time.Second

// newApp makes everything that can be wrong before anything is bound.
func newApp(ctx context.Context, cfg *config.Config, o options) (*app, error) {
	a := &app{options: o, system: &lifecycle.System{}, broken: make(chan error, 1), changing: make(chan struct{}, 1), seen: loaded{cfg: cfg}, stickyKey: []byte(rand.Text())}
	a.registry = &lifecycle.Registry{NewID: func() string { return ulid.Make().String() }}
	if err := a.system.Enter(lifecycle.StateCreated, "started"); err != nil {
		return nil, err
	}
	gen := a.newGeneration(cfg, nil)
	a.generation.Store(gen)
	settings, err := gen.telemetrySettings()
	if err != nil {
		return nil, configError{err}
	}
	t, err := telemetry.New(ctx, settings)
	if err != nil {
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	a.telemetry, a.log = t, t.Component(string(config.LogSystem))
	a.events = new(admin.Events)
	a.registry.Observers = append(append(t.Observers(), a.events), o.observers...)
	if a.engine, err = newEngine(cfg, t.Component(string(config.LogRelay))); err != nil {
		return nil, errors.Join(err, t.Shutdown(ctx))
	}
	a.observed.Store(&a.engine)
	a.proxy = &proxy.Server{Registry: a.registry, Engine: a.engine, Propagator: t.Propagator(), HTTP: a.observeHTTP, Log: t.Component(string(config.LogProxy))}
	if err := gen.build(nil); err != nil {
		a.close()
		return nil, configError{err}
	}
	return a, a.system.Enter(lifecycle.StateInitialized, "configuration and telemetry are ready")
}

// current is the generation in force.
func (a *app) current() *generation { return a.generation.Load() }

// newEngine makes what moves the bytes of open connections.
func newEngine(cfg *config.Config, log *slog.Logger) (relay.Engine, error) {
	if e := cfg.Engine; e == config.EngineGoroutines || e == config.EngineAuto && runtime.GOOS != "linux" {
		return &relay.Goroutines{Log: log}, nil
	}
	loops, err := relay.NewLoops(cfg.Workers, log)
	if err != nil {
		return nil, fmt.Errorf("engine %s: %w", cfg.Engine, err)
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
		{lifecycle.StateUpstreamsChecked, func() (string, error) { return a.current().checkUpstreams(), nil }},
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
func (a *app) bind() (cause string, err error) {
	if a.listeners, err = a.bindListeners(a.current(), nil); err != nil {
		return "", err
	}
	address := string(a.current().cfg.Admin.Address)
	if a.adminAddr, err = a.listen(adminSocket(address), address); err != nil {
		return "", fmt.Errorf("admin.address: %w", err)
	}
	var all []string
	for _, b := range a.listeners {
		all = append(all, b.Addr().String())
	}
	return "listening on " + strings.Join(append(all, a.adminAddr.Addr().String()), ", "), nil
}

// checkTime warns of certificates that are not valid now. They are served all the same: the peer judges
// by its own clock.
func (a *app) checkTime() (string, error) {
	cause := "every certificate is valid"
	for _, c := range a.current().tls.Certificates() {
		if err := c.Check(time.Now()); err != nil {
			a.log.Warn("certificate", "error", err)
			cause = "a certificate is not valid, see the log"
		}
	}
	return cause, nil
}

func (a *app) compile() (string, error) {
	gen := a.current()
	gen.use(nil)
	return fmt.Sprintf("%d routes", len(gen.routes)), nil
}

func (a *app) serve() (string, error) {
	a.proxy.Capacity = a.capacity()
	a.limits.Store(new(a.current().connectionLimits()))
	a.current().watch()
	a.admin = a.newAdmin()
	a.admin.Start(a.adminAddr)
	for _, b := range a.listeners {
		if err := a.accept(b); err != nil {
			return "", err
		}
	}
	a.changing <- struct{}{}
	return "accepting", nil
}

func (a *app) newAdmin() *admin.Server {
	return &admin.Server{
		Registry: a.registry, System: a.system, Metrics: a.telemetry.Metrics(), Access: a.current().access,
		Address: string(a.current().cfg.Admin.Address), Version: version(), Log: a.telemetry.Component(string(config.LogAdmin)), Workers: a.engine.Workers, Logs: &logs{app: a}, Egress: a.egressStatus, Upstreams: a.upstreams,
		Events: a.events, Control: control{a},
	}
}

// close ends everything that was started, and last flushes telemetry.
func (a *app) close() {
	var errs []error
	a.drains.stop()
	errs = append(errs, a.proxy.Close())
	closeListeners(a.listeners) // again, unless they were never served
	if a.admin != nil {
		errs = append(errs, a.admin.Close())
	} else if a.adminAddr != nil {
		a.adminAddr.Close()
	}
	a.current().retire(nil)
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
