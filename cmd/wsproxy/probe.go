package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"wsproxy/cmd/wsproxy/demo"
)

// probeRun is one run of the command.
type probeRun struct {
	out      io.Writer
	settings probeSettings
	count    int
	interval time.Duration
	json     bool
}

// errProbe is what the command ends with when a probe did not pass, which is told already.
var errProbe = errors.New("did not pass")

func probeCommand() *cobra.Command {
	var p probeRun
	c := &cobra.Command{
		Use:   "probe URL [--egress URL] [--count N] [--ping] [--json]",
		Short: "Open a WebSocket as a client and show where the time goes",
		Long: `Open a WebSocket as a client, close it in order, and show each phase: the lookup, the way through an egress proxy,
TLS, the upgrade, the Close. It passes, with exit code 0, if the WebSocket opened, the ping was answered and the Close was.

  wsproxy probe wss://chat.example.com/room --ping --count 5
  wsproxy probe wss://chat.example.com/room --egress http://proxy.corp:3128 --json`,
		Args: func(c *cobra.Command, args []string) error {
			if err := cobra.ExactArgs(1)(c, args); err != nil {
				return usageError{err}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGTERM, os.Interrupt)
			defer stop()
			p.out, p.settings.url = c.OutOrStdout(), args[0]
			return p.run(ctx)
		},
	}
	f := c.Flags()
	f.StringVar(&p.settings.egress, "egress", "", "`URL` of the proxy to go through: http, https, socks5 or socks5h, maybe with user and password")
	f.IntVarP(&p.count, "count", "n", 1, "open so many, one after the other")
	f.DurationVar(&p.interval, "interval", time.Second, "time between two")
	f.BoolVar(&p.settings.ping, "ping", false, "send a ping and wait for its pong")
	f.BoolVar(&p.json, "json", false, "write a JSON document for each, on a line of its own")
	f.DurationVar(&p.settings.timeout, "timeout", 10*time.Second, "how long one may take")
	f.StringArrayVarP(&p.settings.headers, "header", "H", nil, "`HEADER` of the handshake, as \"Origin: https://example.com\"; may be repeated")
	f.StringArrayVar(&p.settings.subprotocols, "subprotocol", nil, "`NAME` to offer; may be repeated")
	f.StringVar(&p.settings.tls.CA, "ca", "", "PEM `FILE` of the authorities to trust, in place of the system's")
	f.StringVar(&p.settings.tls.Cert, "cert", "", "PEM `FILE` of the certificate to show, where the server asks for one")
	f.StringVar(&p.settings.tls.Key, "key", "", "PEM `FILE` of its key")
	f.BoolVar(&p.settings.tls.Insecure, "insecure", false, "accept any certificate")
	return c
}

func (p *probeRun) run(ctx context.Context) error {
	if p.count < 1 {
		return usageError{fmt.Errorf("--count %d: want 1 or more", p.count)}
	}
	probe, err := newProbe(p.settings)
	if err != nil {
		return usageError{err}
	}
	var all []*probed
	for i := range p.count {
		if i > 0 && !pause(ctx, p.interval) {
			break
		}
		r := probe.run(ctx)
		all = append(all, r)
		p.tell(r)
	}
	if p.count > 1 && !p.json {
		fmt.Fprintln(p.out, sumUp(all))
	}
	for _, r := range all {
		if !r.passed() {
			return errProbe
		}
	}
	return nil
}

// pause waits, and reports whether ctx let it.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

func (p *probeRun) tell(r *probed) {
	if p.json {
		b, err := json.Marshal(r.document())
		if err != nil {
			panic(err) // our own documents are made of plain values
		}
		fmt.Fprintf(p.out, "%s\n", b)
		return
	}
	fmt.Fprintln(p.out, demo.Waterfall{Color: colored(p.out)}.Render(r.url, "", r.story, r.seen()))
}

// headersOf parses "Name: value" texts.
func headersOf(lines []string) (http.Header, error) {
	h := http.Header{"User-Agent": {"wsproxy-probe"}}
	fresh := make(map[string]bool)
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ":")
		if name = http.CanonicalHeaderKey(strings.TrimSpace(name)); !ok || name == "" {
			return nil, errors.New(`--header: want "Name: value"`)
		}
		if strings.HasPrefix(name, "Sec-Websocket-") || name == "Upgrade" || name == "Connection" {
			return nil, fmt.Errorf("--header %s: the handshake has its own", name)
		}
		if !fresh[name] {
			h.Del(name)
		}
		fresh[name] = true
		h.Add(name, strings.TrimSpace(value))
	}
	return h, nil
}
