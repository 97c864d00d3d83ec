package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"wsproxy/cmd/wsproxy/demo"
	"wsproxy/config"
	"wsproxy/lifecycle"
)

func demoCommand() *cobra.Command {
	var d demoRun
	c := &cobra.Command{
		Use:   "demo",
		Short: "Everything on loopback: upstreams, egress proxies, clients, and where their time went",
		Long: `Start upstreams, egress proxies, a name server and the proxy on loopback, connect through it
in every way, and draw what each connection went through. Then some clients chat on, for the
admin API to show, until interrupted.

With OTEL_EXPORTER_OTLP_ENDPOINT set, the same connections are traces and metrics there.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGTERM, os.Interrupt)
			defer stop()
			d.out = c.OutOrStdout()
			return d.run(ctx)
		},
	}
	c.Flags().BoolVar(&d.exit, "exit", false, "end after the pictures")
	c.Flags().StringVar(&d.listen, "listen", "127.0.0.1:0", "`ADDRESS` of the proxy; port 0 takes a free one")
	c.Flags().StringVar(&d.admin, "admin", "127.0.0.1:0", "`ADDRESS` of the admin port")
	return c
}

// demoRun is one run of the demo.
type demoRun struct {
	out           io.Writer
	exit          bool
	listen, admin string
}

// demoPatience is how long one scenario may take.
const demoPatience = 15 * time.Second

func (d *demoRun) run(ctx context.Context) error {
	cast, err := demo.Start(ctx)
	if err != nil {
		return err
	}
	defer cast.Close()
	file, err := cast.WriteConfig(d.listen, d.admin)
	if err != nil {
		return err
	}
	cfg, err := config.Load(file)
	if err != nil {
		return err
	}
	cfg.Log.Level = config.LogLevelError // refusals are part of the play
	recorder := &demo.Recorder{}
	a, err := newApp(ctx, cfg, options{resolver: cast.Resolver(), observers: []lifecycle.Observer{recorder}})
	if err != nil {
		return err
	}
	defer a.close()
	if err := a.start(); err != nil {
		return err
	}
	if err := d.play(ctx, a, cast, recorder); err != nil || d.exit {
		return err
	}
	d.chat(ctx, a, cast)
	return nil
}

// play runs every scenario and draws what its connection went through.
func (d *demoRun) play(ctx context.Context, a *app, cast *demo.Cast, recorder *demo.Recorder) error {
	picture := demo.Waterfall{Color: colored(d.out)}
	fmt.Fprintf(d.out, "wsproxy listens on %s, its admin port is http://%s\n\n%s\n", a.base(), a.adminAddr.Addr(), picture.Legend())
	for _, s := range cast.Scenarios() {
		story, seen, err := d.scenario(ctx, a, s, recorder)
		if err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
		fmt.Fprintln(d.out, picture.Render(s.Name, s.Shows, story, seen))
	}
	return nil
}

func (d *demoRun) scenario(ctx context.Context, a *app, s demo.Scenario, recorder *demo.Recorder) (*demo.Story, string, error) {
	ctx, cancel := context.WithTimeout(ctx, demoPatience)
	defer cancel()
	result := s.Run(ctx, a.base())
	if result.Err != nil {
		return nil, "", result.Err
	}
	story, err := recorder.Story(ctx, result.Client)
	return story, result.String(), err
}

// chat keeps connections open for the admin API to show.
func (d *demoRun) chat(ctx context.Context, a *app, cast *demo.Cast) {
	var clients sync.WaitGroup
	clients.Go(func() { cast.Chat(ctx, a.base()) })
	fmt.Fprintf(d.out, "Some clients chat on. See them live, until you interrupt:\n\n"+
		"  curl -s http://%[1]s/api/connections\n  curl -s http://%[1]s/metrics | grep wsproxy_\n", a.adminAddr.Addr())
	<-ctx.Done()
	clients.Wait()
}

// colored says whether what is written is looked at in colours.
func colored(out io.Writer) bool {
	f, ok := out.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == ""
}

// base is the URL of the first listener.
func (a *app) base() string { return "ws://" + a.listeners[0].Addr().String() }
