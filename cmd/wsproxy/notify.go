package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// notify tells systemd, if it asked for that (sd_notify(3)). What it does not get, it does not miss.
func (a *app) notify(state string) {
	if a.options.dry {
		return
	}
	if _, err := daemon.SdNotify(false, state); err != nil {
		a.log.Warn("systemd was not told", "state", state, "error", err)
	}
}

// notifyReady says that the process serves, and that it is the main one: after an upgrade it is another one than
// systemd started.
func (a *app) notifyReady() {
	a.notify(fmt.Sprintf("%s\nMAINPID=%d\nSTATUS=generation %d is in force", daemon.SdNotifyReady, os.Getpid(), a.registry.Generation()))
}

// notifyReloading is answered by notifyReady (Type=notify-reload).
func (a *app) notifyReloading() {
	a.notify(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
}

func (a *app) notifyStopping(cause string) {
	a.notify(daemon.SdNotifyStopping + "\nSTATUS=draining: " + cause)
}

// watchdogInterval is how often systemd wants to hear that we are well; 0 if it does not.
func watchdogInterval(upgraded bool) (time.Duration, error) {
	if upgraded { // the variable has the process that systemd started
		os.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	}
	every, err := daemon.SdWatchdogEnabled(false)
	return every / 2, err
}

// watchdog says at an interval that the process is well: that no part of the registry, which every connection goes
// through, is held for good.
func (a *app) watchdog(ctx context.Context) {
	u := a.options.upgrader
	every, err := watchdogInterval(u != nil && u.HasParent())
	if err != nil {
		a.log.Warn("no watchdog", "error", err)
	}
	if every <= 0 {
		return
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		a.registry.Get("") // looks into every part
		a.notify(daemon.SdNotifyWatchdog)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
