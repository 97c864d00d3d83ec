package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"wsproxy/config"
	"wsproxy/memory"
)

// defaultConfig is read when neither a file nor flags say what to serve.
const defaultConfig = "wsproxy.yaml"

func serveCommand() *cobra.Command {
	var file, listen, upstream, pidFile string
	c := &cobra.Command{
		Use:   "serve [--config FILE | --listen ADDRESS --upstream URL]",
		Short: "Run the proxy",
		Long: `Run the proxy, from a configuration file or, for one upstream, from flags:

  wsproxy serve --listen :8080 --upstream ws://localhost:9000

Without either, wsproxy.yaml in the working folder is read. SIGHUP reads the configuration again.
SIGUSR2 starts the program's file anew, hands it the sockets, and drains open connections.
SIGTERM and interrupt drain open connections; a second one stops at once.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, path, err := serveConfig(file, listen, upstream)
			if err != nil {
				return err
			}
			upgrader, err := newUpgrader(pidFile)
			if err != nil {
				return err
			}
			if upgrader != nil {
				defer upgrader.Stop()
			}
			signals := make(chan os.Signal, 8)
			signal.Notify(signals, syscall.SIGTERM, os.Interrupt, syscall.SIGHUP, upgradeSignal)
			defer signal.Stop(signals)
			return serve(c.Context(), cfg, options{file: path, upgrader: upgrader}, signals)
		},
	}
	c.Flags().StringVarP(&file, "config", "c", "", "configuration `FILE`")
	c.Flags().StringVarP(&listen, "listen", "l", "", "`ADDRESS` to accept clients on, as :8080")
	c.Flags().StringVarP(&upstream, "upstream", "u", "", "`URL` of the upstream, as ws://localhost:9000")
	c.Flags().StringVar(&pidFile, "pid-file", "", "`FILE` for the process id, written when it is ready and after each upgrade")
	return c
}

// noArgs is cobra.NoArgs with our exit code.
func noArgs(c *cobra.Command, args []string) error {
	if err := cobra.NoArgs(c, args); err != nil {
		return usageError{err}
	}
	return nil
}

// serveConfig is the configuration to serve, and the file that it is from.
func serveConfig(file, listen, upstream string) (*config.Config, string, error) {
	quick := listen != "" || upstream != ""
	switch {
	case quick && file != "":
		return nil, "", usageError{errors.New("give --config, or --listen and --upstream, not both")}
	case quick && (listen == "" || upstream == ""):
		return nil, "", usageError{errors.New("--listen and --upstream go together")}
	case quick:
		cfg, err := config.Quick(listen, upstream)
		return cfg, "", err
	case file == "":
		file = defaultConfig
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			return nil, "", usageError{fmt.Errorf("nothing to serve: there is no %s here; give --config FILE, or --listen :8080 --upstream ws://localhost:9000", file)}
		}
	}
	cfg, err := loadConfig(file)
	return cfg, file, err
}

// loadConfig reads a configuration. A file that can't be read is as wrong as one that can't be used.
func loadConfig(file string) (*config.Config, error) {
	cfg, err := config.Load(file)
	if _, ok := errors.AsType[config.Problems](err); err != nil && !ok {
		return nil, usageError{err}
	}
	return cfg, err
}

// serve runs until a signal has drained it.
func serve(ctx context.Context, cfg *config.Config, o options, signals <-chan os.Signal) error {
	a, err := newApp(ctx, cfg, o)
	if err != nil {
		return err
	}
	defer a.close()
	if err := a.start(); err != nil {
		return err
	}
	a.limitMemory()
	beside, stop := context.WithCancel(ctx)
	defer stop()
	if o.file != "" {
		a.running.Go(func() { a.watch(beside) })
	}
	if err := a.takeOver(); err != nil {
		return err
	}
	a.notifyReady()
	a.running.Go(func() { a.watchdog(beside) })
	a.running.Go(func() { memory.Tidy(beside) })
	return a.attend(beside, stop, signals)
}

// limitMemory has the heap collected before the container's limit is reached.
func (a *app) limitMemory() {
	switch limit, err := memory.Limit(); {
	case err != nil:
		a.log.Debug("no memory limit is known", "error", err)
	case limit > 0:
		a.log.Info("memory is limited", "bytes", limit)
	}
}

// attend does what signals ask for, until one has drained the process. stop ends ctx, and with it what runs beside
// the proxy.
func (a *app) attend(ctx context.Context, stop func(), signals <-chan os.Signal) error {
	upgraded := make(chan error)
	for {
		select {
		case s := <-signals:
			switch s {
			case syscall.SIGHUP:
				a.reload(ctx, "SIGHUP")
			case upgradeSignal:
				a.running.Go(func() {
					select {
					case upgraded <- a.upgrade(ctx, "SIGUSR2"):
					case <-ctx.Done():
					}
				})
			default:
				a.drain(s.String(), false, signals)
				return nil
			}
		case err := <-upgraded:
			if err != nil {
				a.log.Error("upgrade failed", "error", err)
				continue
			}
			stop()
			a.drain("a new process has taken over", true, signals)
			return nil
		case <-ctx.Done():
			a.drain("canceled", false, signals)
			return nil
		case err := <-a.broken:
			a.log.Error("listener broke", "error", err)
			return err
		}
	}
}
