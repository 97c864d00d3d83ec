//go:build linux

// Command bench measures wsproxy beside other proxies.
//
//	bench run      every workload through every proxy, interleaved; writes docs/benchmarks.md
//	bench verify   random traffic both ways, every byte compared
//	bench report   the document again, from the results of a run
//
// `make bench` has the proxies installed and built before. Nothing but loopback is used, and only
// processes that were started here are ended.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

// run is the whole program.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	command := ""
	if len(args) > 0 {
		command, args = args[0], args[1:]
	}
	flags := flag.NewFlagSet("bench "+command, flag.ContinueOnError)
	flags.SetOutput(stderr)
	switch command {
	case "run":
		return runCommand(ctx, flags, args, stdout, stderr)
	case "verify":
		return verifyCommand(ctx, flags, args, stderr)
	case "report":
		return reportCommand(flags, args, stdout)
	case "ends": // the server's process, started by the others
		cert := flags.String("cert", "", "certificate `FILE`")
		key := flags.String("key", "", "key `FILE`")
		if err := flags.Parse(args); err != nil {
			return err
		}
		return serveEnds(*cert, *key, stdin, stdout)
	}
	return errors.New("give a command: run, verify or report")
}
