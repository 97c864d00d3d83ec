package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"wsproxy/access"
	"wsproxy/config"
	"wsproxy/filewatch"
	"wsproxy/proxy"
)

// guard is what lets clients into one route, and what it has to do meanwhile.
type guard struct {
	authenticator *access.Authenticator
	files         []reloadable
	keys          *access.Keys // nil where there are no tokens
}

// reloadable is something that was read from files.
type reloadable interface {
	Files() []string
	Reload() (changed bool, err error)
}

// guard makes what c says, nil where everyone is let in.
func (gen *generation) guard(c *config.Auth) (*guard, error) {
	if c == nil {
		return nil, nil
	}
	g := &guard{authenticator: &access.Authenticator{Strip: c.Strip}}
	for _, add := range []func(*config.Auth) error{g.basic, g.apiKeys, g.certificates} {
		if err := add(c); err != nil {
			return nil, err
		}
	}
	if err := g.tokens(c, gen.log); err != nil {
		return nil, err
	}
	g.check(c.Check)
	return g, nil
}

func (g *guard) add(m access.Method) {
	g.authenticator.Methods = append(g.authenticator.Methods, m)
	if r, ok := m.(reloadable); ok {
		g.files = append(g.files, r)
	}
}

func (g *guard) basic(c *config.Auth) error {
	if c.Basic == nil {
		return nil
	}
	passwords, err := access.OpenPasswords(string(c.Basic.Htpasswd))
	if err != nil {
		return fmt.Errorf("auth.basic.htpasswd: %w", err)
	}
	g.files = append(g.files, passwords)
	g.add(&access.Basic{Passwords: passwords, Realm: c.Realm})
	return nil
}

func (g *guard) apiKeys(c *config.Auth) error {
	if c.APIKey == nil {
		return nil
	}
	where := "header:" + c.APIKey.Header
	if c.APIKey.Query != "" {
		where = "query:" + c.APIKey.Query
	}
	source, err := access.ParseTokenSource(where)
	if err != nil {
		return fmt.Errorf("auth.api_key: %w", err)
	}
	keys, err := access.OpenAPIKeys(string(c.APIKey.Keys), source)
	if err != nil {
		return fmt.Errorf("auth.api_key.keys: %w", err)
	}
	g.add(keys)
	return nil
}

func (g *guard) certificates(c *config.Auth) error {
	if c.MTLS != nil {
		g.add(&access.Certificates{Subjects: c.MTLS.Subjects, Names: c.MTLS.Names})
	}
	return nil
}

func (g *guard) tokens(c *config.Auth, log *slog.Logger) error {
	t := c.JWT
	if t == nil {
		return nil
	}
	j := &access.JWT{
		Audience: t.Audience, Issuer: t.Issuer, Leeway: time.Duration(t.Leeway), NoExpiry: !t.RequireExpiry,
		Name: t.Identity, Claims: t.Claims, Realm: c.Realm, Algorithms: t.Algorithms,
	}
	if len(j.Algorithms) == 0 {
		j.Algorithms = config.DefaultAlgorithms()
	}
	for i, s := range t.Tokens {
		source, err := access.ParseTokenSource(string(s))
		if err != nil {
			return fmt.Errorf("auth.jwt.tokens[%d]: %w", i, err)
		}
		j.Sources = append(j.Sources, source)
	}
	var err error
	if t.JWKS.File != "" {
		j.Keys, err = access.OpenKeys(t.JWKS.File)
	} else {
		j.Keys = access.FetchKeys(t.JWKS.URL, time.Duration(t.Refresh), helperClient(2), log)
	}
	if err != nil {
		return fmt.Errorf("auth.jwt.jwks: %w", err)
	}
	g.keys = j.Keys
	g.files = append(g.files, j.Keys)
	g.add(j)
	return nil
}

// checkConnections bounds the connections to a service that decides about clients.
const checkConnections = 32

func (g *guard) check(c *config.CheckAuth) {
	if c == nil {
		return
	}
	g.authenticator.Check = &access.Check{
		URL: c.URL.URL, Method: c.Method, Headers: c.Headers, Copy: c.Copy, Name: c.Identity,
		Timeout: time.Duration(c.Timeout), Interval: time.Duration(c.Interval), Client: helperClient(checkConnections),
	}
}

// helperClient asks services that authentication needs, past any proxy of the environment. A redirect is
// not followed: it is no answer.
func helperClient(connections int) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			MaxConnsPerHost: connections, MaxIdleConnsPerHost: min(connections, 4), IdleConnTimeout: 30 * time.Second,
			ResponseHeaderTimeout: 10 * time.Second, TLSHandshakeTimeout: 5 * time.Second, MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// admit is the guard as proxy has it.
func (g *guard) admit(ctx context.Context, r proxy.AuthRequest) (*proxy.Admission, error) {
	shown := access.Request{Request: r.Request, Client: r.Client, Certificate: r.Certificate, Scheme: r.Scheme, Host: r.Host}
	let, err := g.authenticator.Admit(ctx, &shown)
	if err != nil {
		return nil, err
	}
	in := &proxy.Admission{Hash: let.Identity.Hash(), Forward: let.Forward, Again: let.Again, Interval: let.Interval}
	if let.Identity != nil {
		in.Identity, in.Expires = let.Identity.Name, let.Identity.Expires
	}
	return in, nil
}

// watchGuards reads the guards' files when they change, and fetches their keys, until ctx ends.
func (gen *generation) watchGuards(ctx context.Context) {
	var files []reloadable
	for _, r := range gen.routes {
		g := r.guard
		if g == nil {
			continue
		}
		files = append(files, g.files...)
		if g.keys != nil {
			gen.running.Go(func() { g.keys.Run(ctx) })
		}
	}
	w := filewatch.Watcher{
		Files: func() (all []string) {
			for _, f := range files {
				all = append(all, f.Files()...)
			}
			slices.Sort(all)
			return slices.Compact(all)
		},
		Look: func() {
			for _, f := range files {
				if _, err := f.Reload(); err != nil {
					gen.log.Warn("credentials were not read anew; the former ones stay", "error", err)
				}
			}
		},
		Trouble: func(err error) { gen.log.Warn("credentials", "error", err) },
	}
	if len(w.Files()) > 0 {
		gen.running.Go(func() { w.Run(ctx) })
	}
}
