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
)

// defaultConfig is read when neither a file nor flags say what to serve.
const defaultConfig = "wsproxy.yaml"

func serveCommand() *cobra.Command {
	var file, listen, upstream string
	c := &cobra.Command{
		Use:   "serve [--config FILE | --listen ADDRESS --upstream URL]",
		Short: "Run the proxy",
		Long: `Run the proxy, from a configuration file or, for one upstream, from flags:

  wsproxy serve --listen :8080 --upstream ws://localhost:9000

Without either, wsproxy.yaml in the working folder is read. SIGTERM and interrupt drain
open connections; a second one stops at once.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := serveConfig(file, listen, upstream)
			if err != nil {
				return err
			}
			signals := make(chan os.Signal, 2)
			signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
			defer signal.Stop(signals)
			return serve(c.Context(), cfg, signals)
		},
	}
	c.Flags().StringVarP(&file, "config", "c", "", "configuration `FILE`")
	c.Flags().StringVarP(&listen, "listen", "l", "", "`ADDRESS` to accept clients on, as :8080")
	c.Flags().StringVarP(&upstream, "upstream", "u", "", "`URL` of the upstream, as ws://localhost:9000")
	return c
}

// noArgs is cobra.NoArgs with our exit code.
func noArgs(c *cobra.Command, args []string) error {
	if err := cobra.NoArgs(c, args); err != nil {
		return usageError{err}
	}
	return nil
}

func serveConfig(file, listen, upstream string) (*config.Config, error) {
	quick := listen != "" || upstream != ""
	switch {
	case quick && file != "":
		return nil, usageError{errors.New("give --config, or --listen and --upstream, not both")}
	case quick && (listen == "" || upstream == ""):
		return nil, usageError{errors.New("--listen and --upstream go together")}
	case quick:
		return config.Quick(listen, upstream)
	case file != "":
		return loadConfig(file)
	}
	if _, err := os.Stat(defaultConfig); errors.Is(err, fs.ErrNotExist) {
		return nil, usageError{fmt.Errorf("nothing to serve: there is no %s here; give --config FILE, or --listen :8080 --upstream ws://localhost:9000", defaultConfig)}
	}
	return loadConfig(defaultConfig)
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
func serve(ctx context.Context, cfg *config.Config, signals <-chan os.Signal) error {
	a, err := newApp(ctx, cfg, options{})
	if err != nil {
		return err
	}
	defer a.close()
	if err := a.start(); err != nil {
		return err
	}
	select {
	case s := <-signals:
		a.drain(s.String(), signals)
	case <-ctx.Done():
		a.drain("canceled", signals)
	case err := <-a.broken:
		a.log.Error("listener broke", "error", err)
		return err
	}
	return nil
}
