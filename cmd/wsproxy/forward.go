package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"reflect"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"wsproxy/access"
	"wsproxy/config"
	"wsproxy/egress"
	"wsproxy/filewatch"
	"wsproxy/proxy"
	"wsproxy/proxy/frame"
	"wsproxy/proxy/relay"
)

func forwardCommand() *cobra.Command {
	var listen string
	var open bool
	c := &cobra.Command{
		Use:   "forward",
		Short: "Run a forward proxy: CONNECT, absolute form and SOCKS5 on one port",
		Long: `Run a forward proxy, for clients that name their targets themselves by CONNECT, by a
request in absolute form, or by SOCKS5:

  wsproxy forward --listen 127.0.0.1:3128

It goes to public addresses only, on ports 80 and 443. To go elsewhere, to ask for a
password or to go through another proxy, give serve a configuration with a listener in
mode: forward.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := config.QuickForward(listen, open)
			if err != nil {
				return err
			}
			signals := make(chan os.Signal, 2)
			signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
			defer signal.Stop(signals)
			return serve(c.Context(), cfg, options{}, signals)
		},
	}
	c.Flags().StringVarP(&listen, "listen", "l", "127.0.0.1:3128", "`ADDRESS` to accept clients on")
	c.Flags().BoolVar(&open, "open", false, "serve whoever reaches an address beyond loopback")
	return c
}

// servedForward is what listeners in forward mode share, with all that decides how they serve.
type servedForward struct {
	*proxy.Forward
	passwords *access.Passwords // nil if nobody is asked
	settings  config.Forward    // on_change left out
	onChange  config.OnChange
	egress    []config.Egress // and its fallbacks
	since     int             // the generation that made it
}

// forwards reports whether a listener is in forward mode.
func (gen *generation) forwards() bool {
	return slices.ContainsFunc(gen.cfg.Listeners, func(l config.Listener) bool { return l.Mode == config.ModeForward })
}

// buildForward makes what forward listeners need, nil if there are none. What would be as it was is taken
// over: its passwords that were checked, and its connections to targets.
func (gen *generation) buildForward(former *generation) error {
	if !gen.forwards() {
		return nil
	}
	served := &servedForward{
		settings: gen.cfg.Forward, onChange: gen.cfg.Forward.OnChange, egress: gen.egressChain(gen.cfg.Forward.Egress), since: gen.number,
	}
	served.settings.OnChange = "" // says nothing of how clients are served until there is another change
	intercepting, err := gen.interceptingTLS(served.settings.Intercept)
	if err != nil {
		return fmt.Errorf("intercept.%w", err)
	}
	if former != nil && former.forward != nil {
		if f := former.forward; reflect.DeepEqual(f.settings, served.settings) && reflect.DeepEqual(f.egress, served.egress) {
			served.Forward, served.passwords, served.since = f.Forward, f.passwords, f.since
			gen.forward = served
			return nil
		}
	}
	c := served.settings
	rules, err := access.ParseRules(c.Allow, c.Deny)
	if err != nil {
		return err
	}
	fw := &proxy.Forward{
		Allow: rules.Name, Realm: c.Auth.Realm, Framing: framing(c.Framing), Handshake: time.Duration(c.Timeouts.Handshake),
		Policy: policy(c.Timeouts, c.Keepalive),
	}
	for _, n := range c.Clients {
		fw.Clients = append(fw.Clients, n.Prefix)
	}
	if c.Auth.Htpasswd != "" {
		if served.passwords, err = access.OpenPasswords(string(c.Auth.Htpasswd)); err != nil {
			return fmt.Errorf("auth.htpasswd: %w", err)
		}
		fw.Authenticate = served.passwords.Check
	}
	dialer := &egress.Dialer{
		Proxy: gen.egresses[c.Egress], Timeouts: dialTimeouts(c.Timeouts), Resolver: gen.options.resolver, Socket: relayable,
		Inject: gen.telemetry.Propagator().Inject, Check: rules.Address, Local: true, // or the rules would judge nothing but names
	}
	fw.Dial = func(ctx context.Context, host string, port uint16) (net.Conn, error) {
		return dialer.Dial(ctx, egress.Target{Address: net.JoinHostPort(host, strconv.Itoa(int(port)))})
	}
	fw.Interception = intercepting.through(dialer)
	served.Forward, gen.forward = fw, served
	return nil
}

// watchPasswords has changes of the htpasswd file take effect, until ctx is done.
func (gen *generation) watchPasswords(ctx context.Context) {
	var last error
	passwords := gen.forward.passwords
	w := filewatch.Watcher{Files: passwords.Files, Trouble: func(err error) { gen.log.Warn("the htpasswd file is not watched", "error", err) }, Look: func() {
		changed, err := passwords.Reload()
		switch {
		case err != nil && (last == nil || err.Error() != last.Error()):
			gen.log.Warn("the htpasswd file can't be used; the former users are let in", "error", err)
		case changed:
			gen.log.Info("the htpasswd file was read anew")
		}
		last = err
	}}
	w.Run(ctx)
}

// policy is what timeouts and keepalive ask of open connections.
func policy(t config.Timeouts, k config.Keepalive) relay.Policy {
	return relay.Policy{
		Idle: time.Duration(t.Idle), MaxLifetime: time.Duration(t.MaxLifetime), Write: time.Duration(t.Write),
		Close: time.Duration(t.Close), HalfClose: time.Duration(t.HalfClose),
		Keepalive: relay.Keepalive{
			Client: time.Duration(k.Interval), Upstream: time.Duration(k.UpstreamInterval), Timeout: time.Duration(k.Timeout),
		},
	}
}

func framing(f config.Framing) frame.Mode {
	return map[config.Framing]frame.Mode{config.FramingObserve: frame.ModeObserve, config.FramingOff: frame.ModeOff}[f]
}

func dialTimeouts(t config.Timeouts) egress.Timeouts {
	return egress.Timeouts{Connect: time.Duration(t.Connect), Proxy: time.Duration(t.Proxy), TLS: time.Duration(t.TLS)}
}
