package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"wsproxy/tlsconf"
)

// readiness is where to ask whether a proxy is ready, and how.
type readiness struct {
	address string // host:port for plain HTTP, or a URL
	tls     tlsconf.Client
}

func readyCommand() *cobra.Command {
	var r readiness
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "ready [--admin ADDRESS]",
		Short: "Exit 0 if the proxy accepts connections, else 1: a health check for images",
		Long: `Exit 0 if the proxy accepts connections, else 1: a health check for images.

An admin port with TLS is asked at --admin https://127.0.0.1:9900, with --ca for an authority that the system
does not know. Neither token nor client certificate are needed.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(c.Context(), timeout)
			defer cancel()
			return r.ask(ctx)
		},
	}
	c.Flags().StringVar(&r.address, "admin", "127.0.0.1:9900", "`ADDRESS` of the admin port, with https:// if it has TLS")
	c.Flags().StringVar(&r.tls.CA, "ca", "", "PEM `FILE` of the authorities to trust, in place of the system's")
	c.Flags().StringVar(&r.tls.ServerName, "server-name", "", "`NAME` that the certificate must have, in place of the address's")
	c.Flags().BoolVar(&r.tls.Insecure, "insecure", false, "accept any certificate: nothing secret is sent")
	c.Flags().DurationVar(&timeout, "timeout", 3*time.Second, "how long to wait for the answer")
	return c
}

// url is where readiness is told.
func (r *readiness) url() (string, error) {
	address := r.address
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Trim(u.Path, "/") != "" {
		return "", usageError{fmt.Errorf("--admin %q: want host:port, or https://host:port", r.address)}
	}
	return u.Scheme + "://" + u.Host + "/readyz", nil
}

func (r *readiness) ask(ctx context.Context) error {
	at, err := r.url()
	if err != nil {
		return err
	}
	settings, err := new(tlsconf.Store).Client(r.tls)
	if err != nil {
		return usageError{err}
	}
	status, body, err := get(ctx, at, settings())
	switch {
	case err != nil:
		return fmt.Errorf("not ready: %w", err)
	case status != http.StatusOK:
		return fmt.Errorf("not ready: %s", strings.TrimSpace(body))
	}
	return nil
}

// get asks for a URL and returns the beginning of what is answered.
func get(ctx context.Context, at string, settings *tls.Config) (status int, body string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return 0, "", err
	}
	t := &http.Transport{TLSClientConfig: settings, DisableKeepAlives: true}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	return resp.StatusCode, string(b), err
}
