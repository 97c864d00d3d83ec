package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"wsproxy/config"
	"wsproxy/filewatch"
	"wsproxy/lifecycle"
)

// loaded is what reading the configuration file gave.
type loaded struct {
	cfg *config.Config
	err error
}

// sameAs says that there is nothing new in it.
func (l loaded) sameAs(o loaded) bool {
	if l.err != nil || o.err != nil {
		return l.err != nil && o.err != nil && l.err.Error() == o.err.Error()
	}
	return l.cfg.Same(o.cfg)
}

var errFromFlags = errors.New("there is no configuration file to read: wsproxy was started with flags")

func (a *app) load() loaded {
	if a.options.file == "" {
		return loaded{err: errFromFlags}
	}
	cfg, err := config.Load(a.options.file)
	return loaded{cfg, err}
}

// watch reloads the configuration whenever its file, or one of the secrets that it names, says something else.
func (a *app) watch(ctx context.Context) {
	w := filewatch.Watcher{
		Files: func() []string { return append(a.current().cfg.SecretFiles(), a.options.file) },
		Look: func() {
			if a.hold(ctx) != nil {
				return
			}
			defer a.release()
			if l := a.load(); !l.sameAs(a.seen) {
				a.take(l, "changed file")
			}
		},
		Trouble: func(err error) { a.log.Warn("configuration is not watched", "error", err) },
	}
	w.Run(ctx)
}

// reload reads the configuration again, whether or not it has changed. ctx bounds the wait for another change
// that is under way.
func (a *app) reload(ctx context.Context, cause string) lifecycle.Reload {
	if err := a.hold(ctx); err != nil {
		return lifecycle.Reload{Cause: cause, Generation: a.registry.Generation(), Failure: lifecycle.ReloadState, Err: err}
	}
	defer a.release()
	return a.take(a.load(), cause)
}

// hold waits until nobody else changes the configuration or the state of the process.
func (a *app) hold(ctx context.Context) error {
	select {
	case <-a.changing:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the process is starting, or another change is under way: %w", ctx.Err())
	}
}

func (a *app) release() { a.changing <- struct{}{} }

// take puts a configuration in force, or tells why not and changes nothing.
func (a *app) take(l loaded, cause string) lifecycle.Reload {
	a.seen = l
	r := lifecycle.Reload{Cause: cause, Generation: a.registry.Generation()}
	if err := a.system.Enter(lifecycle.StateReloading, cause); err != nil {
		r.Failure, r.Err = lifecycle.ReloadState, err
		a.telemetry.Reloaded(r)
		return r
	}
	a.notifyReloading()
	gen, changes, err := a.replace(l)
	outcome := "the configuration was refused, generation %d stays in force"
	if err != nil {
		r.Failure, r.Err = reloadFailure(err), err
	} else {
		outcome = "generation %d is in force"
		r.Generation = gen.number
		for _, c := range changes {
			r.Changed = append(r.Changed, c.route)
		}
	}
	a.telemetry.Reloaded(r)
	a.system.Enter(lifecycle.StateOperational, fmt.Sprintf(outcome, r.Generation))
	a.notifyReady()
	return r
}

// refusal is an error with what it means for a reload.
type refusal struct {
	error
	failure lifecycle.ReloadFailure
}

func (r refusal) Unwrap() error { return r.error }

func reloadFailure(err error) lifecycle.ReloadFailure {
	if r, ok := errors.AsType[refusal](err); ok {
		return r.failure
	}
	return lifecycle.ReloadInvalid
}

// replace makes a generation from a configuration and, if nothing is wrong with it, puts it in force.
func (a *app) replace(l loaded) (*generation, []change, error) {
	if l.err != nil {
		if _, ok := errors.AsType[config.Problems](l.err); !ok {
			return nil, nil, refusal{l.err, lifecycle.ReloadUnreadable}
		}
		return nil, nil, l.err
	}
	former := a.current()
	if err := former.cfg.CheckReload(l.cfg); err != nil {
		return nil, nil, refusal{err, lifecycle.ReloadRestart}
	}
	gen := a.newGeneration(l.cfg, former)
	if err := gen.build(former); err != nil {
		return nil, nil, err
	}
	listeners, err := a.bindListeners(gen, a.listeners)
	if err != nil {
		return nil, nil, refusal{err, lifecycle.ReloadListen}
	}
	changes := gen.changes(former)
	a.swap(gen, former, listeners)
	a.part(changes)
	return gen, changes, nil
}

// swap puts a generation in force. Nothing of it fails.
func (a *app) swap(gen, former *generation, listeners []*bound) {
	a.telemetry.SetRoutes(gen.telemetryRoutes(), gen.hosts())
	a.telemetry.SetLevels(logLevels(gen.cfg.Log))
	a.limits.Store(new(gen.connectionLimits()))
	if !reflect.DeepEqual(gen.cfg.Telemetry.Metrics, former.cfg.Telemetry.Metrics) { // new ones have histograms begin anew
		if err := a.telemetry.SetPolicies(context.Background(), gen.policies); err != nil {
			a.log.Warn("the metrics' policies stay as they were", "error", err)
		}
	}
	a.admin.SetAccess(gen.access)
	gen.use(former)
	if err := a.exchange(listeners); err != nil {
		a.log.Error("a new listener is not served", "error", err) // the routes are compiled: nothing is left that could be wrong
	}
	gen.watch()
	former.retire(gen)
}

// part does with the open connections of routes that were changed or removed what their on_change says.
func (a *app) part(changes []change) {
	for _, c := range changes {
		if c.onChange == config.OnChangeKeep {
			continue
		}
		r := drainRequest{route: c.route, before: a.registry.Generation(), cause: lifecycle.CauseReload, reason: "configuration changed"}
		if c.onChange == config.OnChangeDrain {
			r.spread = time.Duration(a.current().cfg.Drain.Spread)
		}
		n := a.drainSome(r)
		a.log.Info("route changed", "route", c.route, "on_change", string(c.onChange), "connections", n)
	}
}
