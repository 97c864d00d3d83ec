package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"time"

	"github.com/cloudflare/tableflip"

	"wsproxy/lifecycle"
)

// upgradeTimeout is how long a new program may take to become ready.
const upgradeTimeout = time.Minute

// newUpgrader is what hands sockets to the next process, and takes those of the one before. It is nil on systems
// that can't. There is one in a process.
func newUpgrader(pidFile string) (*tableflip.Upgrader, error) {
	u, err := tableflip.New(tableflip.Options{UpgradeTimeout: upgradeTimeout, PIDFile: pidFile})
	if errors.Is(err, tableflip.ErrNotSupported) {
		if pidFile != "" {
			return nil, usageError{fmt.Errorf("--pid-file is not for %s", runtime.GOOS)}
		}
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("prepare for upgrades: %w", err)
	}
	return u, nil
}

// listen opens the socket called name, or takes it over from the process before.
func (a *app) listen(name, address string) (net.Listener, error) {
	if u := a.options.upgrader; u != nil {
		if l, err := u.Listener("tcp", name); l != nil || err != nil {
			return l, err
		}
	}
	return net.Listen("tcp", address)
}

// adminSocket is the admin listener's name, for listen. Another address is another socket.
func adminSocket(address string) string { return "admin " + address }

// offer makes the sockets those that the next process takes over.
func (a *app) offer() error {
	sockets := map[string]net.Listener{adminSocket(string(a.current().cfg.Admin.Address)): a.adminAddr}
	for _, b := range a.listeners {
		sockets[b.key] = b.Listener
	}
	for name, l := range sockets {
		shared, ok := l.(tableflip.Listener)
		if !ok {
			return fmt.Errorf("%s: a %T can't be handed on", l.Addr(), l)
		}
		if err := a.options.upgrader.AddListener("tcp", name, shared); err != nil {
			return err
		}
	}
	return nil
}

// upgrade starts the program's file anew and returns when the new process serves, or with the reason why it does not,
// and then this process goes on. After an upgrade nothing is changed here any more.
func (a *app) upgrade(ctx context.Context, cause string) (err error) {
	if a.options.upgrader == nil {
		return fmt.Errorf("an upgrade is not for %s", runtime.GOOS)
	}
	if err := a.awaitFormer(ctx); err != nil {
		return err
	}
	if err := a.hold(ctx); err != nil {
		return err
	}
	if err := a.system.Enter(lifecycle.StateUpgrading, cause); err != nil {
		a.release()
		return err
	}
	if err = a.offer(); err == nil {
		err = a.options.upgrader.Upgrade()
	}
	if err != nil {
		reason := strings.TrimPrefix(err.Error(), "tableflip: ")
		a.system.Enter(lifecycle.StateOperational, "the new program did not take over: "+reason)
		a.release()
		return fmt.Errorf("the new program did not take over, this one goes on: %s (its own messages are above)", reason)
	}
	return nil
}

// awaitFormer waits until the process that this one took over from has left: three at once would be one too many, and
// the upgrader refuses them. It leaves when it has drained, by a configuration that may have been another.
func (a *app) awaitFormer(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(a.current().cfg.Drain.Timeout)+upgradeTimeout)
	defer cancel()
	err := a.options.upgrader.WaitForParent(ctx)
	if ctx.Err() != nil {
		return fmt.Errorf("the process before this one has not left yet: %w; ask again when it has", ctx.Err())
	}
	if err != nil {
		a.log.Warn("the process before this one left in an unknown way", "error", err)
	}
	return nil
}

// takeOver tells the process before, if there is one, that it may leave.
func (a *app) takeOver() error {
	if a.options.upgrader == nil {
		return nil
	}
	if err := a.options.upgrader.Ready(); err != nil {
		return fmt.Errorf("take over: %w", err)
	}
	return nil
}
