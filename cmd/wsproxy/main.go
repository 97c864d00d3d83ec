// Command wsproxy is a WebSocket proxy that shows what every connection does.
//
// It is the only place that knows every package: it turns the configuration into each one's settings,
// wires them together, and directs start, drain and stop.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"wsproxy/config"
)

func main() { os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr)) }

// Exit codes.
const (
	exitFailed = 1 // it was tried and went wrong
	exitUsage  = 2 // the command line or the configuration is wrong
)

// run is the whole program. Errors go to stderr, with what to do about them.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:           "wsproxy",
		Short:         "A WebSocket proxy that shows what every connection does",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unknown command %q", args[0])}
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(serveCommand(), forwardCommand(), demoCommand(), probeCommand(), checkCommand(), readyCommand(), caCommand(), echoCommand(), versionCommand())
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "wsproxy:", err)
	return exitCode(err)
}

// usageError is a mistake in the command line.
type usageError struct{ error }

func (e usageError) Error() string { return e.error.Error() + " (see wsproxy --help)" }
func (e usageError) Unwrap() error { return e.error }

// configError is what only using a configuration finds out, such as a certificate that is none.
type configError struct{ error }

func (e configError) Unwrap() error { return e.error }

func exitCode(err error) int {
	if _, ok := errors.AsType[config.Problems](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[configError](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	return exitFailed
}
