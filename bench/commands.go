//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"wsproxy/bench/load"
	"wsproxy/bench/peers"
	"wsproxy/bench/proc"
	"wsproxy/bench/report"
	"wsproxy/bench/wire"
)

// choice is what to compare.
type choice struct {
	programs, peers, engines, procs string
}

func (c *choice) flags(f *flag.FlagSet) {
	f.StringVar(&c.programs, "programs", "", "`FILE` with NAME=PATH lines: wsproxy, collector, nginx, haproxy, caddy, traefik, reverseproxy")
	f.StringVar(&c.peers, "peers", "", "only proxies whose names match this `REGEXP`")
	f.StringVar(&c.engines, "engines", "loops,goroutines", "wsproxy's engines, as far as it has them")
	f.StringVar(&c.procs, "procs", "", "further variants of wsproxy's first engine, with these GOMAXPROCS, as 1,2,4")
}

// readPrograms reads NAME=PATH lines; of a name that comes twice the last counts.
func readPrograms(file string) (peers.Programs, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	programs := make(peers.Programs)
	for scanner := bufio.NewScanner(bytes.NewReader(b)); scanner.Scan(); {
		if name, path, ok := strings.Cut(scanner.Text(), "="); ok {
			programs[name] = path
		}
	}
	return programs, nil
}

// choose makes the list of peers: the others, and each variant of ours.
func (c *choice) choose(programs peers.Programs, dir string) ([]*peers.Peer, error) {
	all := peers.All(programs)
	program := programs["wsproxy"]
	if program == "" {
		return nil, errors.New("--programs names no wsproxy")
	}
	engines := slices.DeleteFunc(strings.Split(c.engines, ","), func(e string) bool { return !accepts(program, e, dir) })
	for i, engine := range engines {
		if programs["collector"] != "" {
			all = append(all, peers.Wsproxy(program, engine, true, 0))
		}
		all = append(all, peers.Wsproxy(program, engine, false, 0))
		if i > 0 || c.procs == "" {
			continue
		}
		for text := range strings.SplitSeq(c.procs, ",") {
			n, err := strconv.Atoi(text)
			if err != nil {
				return nil, fmt.Errorf("--procs: %w", err)
			}
			all = append(all, peers.Wsproxy(program, engine, programs["collector"] != "", n))
		}
	}
	only, err := regexp.Compile(c.peers)
	if err != nil {
		return nil, fmt.Errorf("--peers: %w", err)
	}
	all = slices.DeleteFunc(all, func(p *peers.Peer) bool { return !only.MatchString(p.Name) })
	if len(all) == 0 {
		return nil, errors.New("no proxy is left to measure")
	}
	return all, nil
}

// accepts asks wsproxy whether it has an engine.
func accepts(program, engine, dir string) bool {
	file := filepath.Join(dir, "engine.yaml")
	text := "listeners: [{ address: \"127.0.0.1:0\" }]\nroutes: [{ name: x, match: /, upstream: x }]\n" +
		"upstreams: [{ name: x, targets: [\"ws://127.0.0.1:1\"] }]\nengine: " + engine + "\n"
	if os.WriteFile(file, []byte(text), 0o600) != nil {
		return false
	}
	return exec.Command(program, "check", file).Run() == nil
}

func runCommand(ctx context.Context, flags *flag.FlagSet, args []string, stdout, stderr io.Writer) error {
	var c choice
	c.flags(flags)
	quick := flags.Bool("quick", false, "shorter")
	full := flags.Bool("full", false, "every workload with every variant of wsproxy, about 25 minutes a round")
	rounds := flags.Int("rounds", 0, "rounds (3; quick: 2)")
	window := flags.Duration("window", 0, "how long each measurement is (1s; quick: 0.5s)")
	only := flags.String("workloads", "", "only workloads whose names match this `REGEXP`")
	profiles := flags.String("profiles", "", "`FOLDER` for profiles of wsproxy under each workload: CPU, and of idle connections the heap")
	revision := flags.String("revision", "", "what to call wsproxy's `VERSION` in the document; default the commit in its build, if there is one")
	results := flags.String("results", "", "`FILE` for the results, which report reads")
	doc := flags.String("doc", "", "`FILE` for the document; default standard output")
	if err := flags.Parse(args); err != nil {
		return err
	}
	s := essentialScale()
	switch {
	case *full:
		s = fullScale()
	case *quick:
		s = quickScale()
	}
	if *rounds > 0 {
		s.rounds = *rounds
	}
	if *window > 0 {
		s.window = *window
	}
	matching, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("--workloads: %w", err)
	}
	return inLab(ctx, s, c, true, func(l *lab, chosen []*peers.Peer, programs peers.Programs) error {
		l.profiles = *profiles
		run := &comparison{lab: l, peers: chosen, progress: stderr}
		run.workloads = slices.DeleteFunc(s.workloads(), func(w load.Workload) bool { return !matching.MatchString(w.Name) })
		for _, p := range chosen {
			if p.Ours() && *revision != "" {
				p.Version = *revision
			}
		}
		if err := run.describe(*quick, programs); err != nil {
			return err
		}
		if err := run.run(ctx); err != nil {
			return err
		}
		if *results != "" {
			if err := run.results.Save(*results); err != nil {
				return err
			}
		}
		if err := write(&run.results, *doc, stdout); err != nil {
			return err
		}
		if n := len(run.results.Failed()); n > 0 {
			return fmt.Errorf("%d measurements failed", n)
		}
		return nil
	})
}

// inLab does something in a lab, in a folder that is gone afterwards. pin gives each side a core.
func inLab(ctx context.Context, s scale, c choice, pin bool, do func(*lab, []*peers.Peer, peers.Programs) error) error {
	programs, err := readPrograms(c.programs)
	if err != nil {
		return fmt.Errorf("--programs: %w", err)
	}
	dir, err := os.MkdirTemp("", "wsproxy-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	os.Chmod(dir, 0o755) // nginx's worker is another user
	chosen, err := c.choose(programs, dir)
	if err != nil {
		return err
	}
	cores, err := proc.Cores()
	if err != nil {
		return err
	}
	l, err := newLab(s, dir, pin && len(cores) > loadCore)
	if err != nil {
		return err
	}
	defer l.close()
	if collector := programs["collector"]; collector != "" {
		if err := l.startCollector(ctx, collector); err != nil {
			return fmt.Errorf("collector: %w", err)
		}
	}
	return do(l, chosen, programs)
}

func reportCommand(flags *flag.FlagSet, args []string, stdout io.Writer) error {
	file := flags.String("results", "", "`FILE` with the results of a run")
	doc := flags.String("doc", "", "`FILE` for the document; default standard output")
	if err := flags.Parse(args); err != nil {
		return err
	}
	r, err := report.Load(*file)
	if err != nil {
		return fmt.Errorf("--results: %w", err)
	}
	return write(r, *doc, stdout)
}

func write(r *report.Results, file string, stdout io.Writer) error {
	if file == "" {
		return r.Write(stdout)
	}
	var text bytes.Buffer
	if err := r.Write(&text); err != nil {
		return err
	}
	return os.WriteFile(file, text.Bytes(), 0o644)
}

func verifyCommand(ctx context.Context, flags *flag.FlagSet, args []string, stderr io.Writer) error {
	var c choice
	c.flags(flags)
	seed := flags.Uint64("seed", 1, "first seed")
	count := flags.Int("count", 10, "how many connections, each with a seed of its own")
	messages := flags.Int("messages", 200, "messages of each direction")
	largest := flags.Int64("largest", 64<<20, "bytes of the largest message")
	timeout := flags.Duration("timeout", 10*time.Minute, "for all")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	return inLab(ctx, quickScale(), c, false, func(l *lab, chosen []*peers.Peer, _ peers.Programs) error {
		for _, p := range chosen {
			if err := l.verify(ctx, p, *seed, *count, wire.Limits{Messages: *messages, Largest: *largest}); err != nil {
				return fmt.Errorf("%s: %w", p.Name, err)
			}
			fmt.Fprintf(stderr, "%-36s %d connections, every byte as it was sent\n", p.Name, *count)
		}
		return nil
	})
}

// verify has random traffic go through a peer, over ws and wss in turn.
func (l *lab) verify(ctx context.Context, p *peers.Peer, seed uint64, count int, limits wire.Limits) error {
	b, err := l.open(ctx, p, 1)
	if err != nil {
		return err
	}
	defer b.close()
	for i := range count {
		if err := b.target(i%2 == 1).Verify(ctx, seed+uint64(i), limits); err != nil {
			if b.proxy != nil {
				err = fmt.Errorf("%w; %s", err, b.proxy.Log())
			}
			return err
		}
	}
	return nil
}
