package main

import (
	"errors"
	"fmt"
	"net"
	"reflect"
	"slices"

	"wsproxy/config"
	"wsproxy/proxy"
)

// bound is a listener of the configuration with its socket, which outlives generations.
type bound struct {
	net.Listener
	key      string // the address, and which of those alike: there may be several with a free port
	settings config.Listener
	made     proxy.Listener
}

// bindListeners gives each listener of gen a socket: one that there is already, or a new one. When it fails
// nothing is left of it.
func (a *app) bindListeners(gen *generation, there []*bound) ([]*bound, error) {
	var all, fresh []*bound
	count := make(map[config.Address]int)
	for i, c := range gen.cfg.Listeners {
		b := &bound{key: fmt.Sprintf("%s#%d", c.Address, count[c.Address]), settings: c, made: gen.listeners[i]}
		count[c.Address]++
		if same := slices.IndexFunc(there, func(o *bound) bool { return o.key == b.key }); same >= 0 {
			b.Listener = there[same].Listener
		} else {
			l, err := a.listen(b.key, string(c.Address))
			if err != nil {
				for _, f := range fresh {
					f.Close()
				}
				return nil, fmt.Errorf("listeners[%d].address: %w", i, err)
			}
			b.Listener = l
			fresh = append(fresh, b)
		}
		b.made.Listener = b.Listener
		all = append(all, b)
	}
	return all, nil
}

// exchange serves what is new among next, changes what is changed and leaves what is gone.
func (a *app) exchange(next []*bound) error {
	former := a.listeners
	a.listeners = next
	var errs []error
	for _, b := range next {
		i := slices.IndexFunc(former, func(o *bound) bool { return o.Listener == b.Listener })
		switch {
		case i < 0:
			errs = append(errs, a.accept(b))
		case !former[i].alike(b):
			a.proxy.Change(b.made)
		}
	}
	for _, b := range former {
		if !slices.ContainsFunc(next, func(o *bound) bool { return o.Listener == b.Listener }) {
			unlisten(b.Listener, func() { a.proxy.Leave(b.Listener) })
		}
	}
	return errors.Join(errs...)
}

// alike says whether clients are treated in the same way.
func (b *bound) alike(o *bound) bool {
	return reflect.DeepEqual(b.settings, o.settings) && b.made.TLS == o.made.TLS && b.made.Forward == o.made.Forward
}

// accept has the proxy serve a socket.
func (a *app) accept(b *bound) error {
	serve, err := a.proxy.Open(b.made)
	if err != nil {
		return err
	}
	a.running.Go(func() {
		if err := serve(); err != nil {
			select {
			case a.broken <- fmt.Errorf("%s: %w", b.Addr(), err):
			default: // one is enough to end the process
			}
		}
	})
	return nil
}

func closeListeners(all []*bound) {
	for _, b := range all {
		b.Close()
	}
}
