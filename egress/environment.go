package egress

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpproxy"
)

// FromEnvironment has p stand for the proxies that the environment names: HTTPS_PROXY for targets over
// TLS or on port 443, HTTP_PROXY for all others, ALL_PROXY where one of these is missing, none of them
// for what NO_PROXY has. As everywhere with these, lower case counts too, a URL without a scheme is
// http, and this machine itself is dialled directly. env is os.Getenv. p's name and settings go for
// each of them, its address and type for none, and its credentials where a URL has none.
//
// The error names the variable, but not its value, which may hold a password.
func (p *Proxy) FromEnvironment(env func(string) string) error {
	first := func(names ...string) (name, value string) {
		for _, name := range names {
			for _, n := range []string{name, strings.ToLower(name)} {
				if value := env(n); value != "" {
					return n, value
				}
			}
		}
		return "", ""
	}
	plain, plainErr := p.named(first("HTTP_PROXY", "ALL_PROXY"))
	secure, secureErr := p.named(first("HTTPS_PROXY", "ALL_PROXY"))
	if err := errors.Join(plainErr, secureErr); err != nil {
		return err
	}
	_, none := first("NO_PROXY")
	// The library says only whether there is a proxy; ours know their credentials and TLS.
	choose := (&httpproxy.Config{HTTPProxy: "http://proxy", HTTPSProxy: "http://proxy", NoProxy: none}).ProxyFunc()
	p.choose = func(t Target) *Proxy {
		u := &url.URL{Scheme: "http", Host: t.Address}
		chosen := plain
		if _, port, _ := net.SplitHostPort(t.Address); t.TLS != nil || port == "443" {
			u.Scheme, chosen = "https", secure
		}
		if through, err := choose(u); err != nil || through == nil {
			return nil
		}
		return chosen
	}
	return nil
}

// named makes the proxy that a variable names, nil if there is none.
func (p *Proxy) named(variable, value string) (*Proxy, error) {
	if value == "" {
		return nil, nil
	}
	if !strings.Contains(value, "://") {
		value = "http://" + value
	}
	u, err := url.Parse(value)
	if err != nil {
		return nil, fmt.Errorf("%s is no URL", variable)
	}
	kind, err := ParseType(u.Scheme)
	if err != nil || u.Hostname() == "" {
		return nil, fmt.Errorf("%s: want a host and http, https, socks5 or socks5h", variable)
	}
	port := u.Port()
	if port == "" {
		port = [typeCount]string{TypeHTTP: "80", TypeHTTPS: "443", TypeSOCKS5: "1080", TypeSOCKS5H: "1080"}[kind]
	}
	child := &Proxy{
		Name: p.Name, Type: kind, Address: net.JoinHostPort(u.Hostname(), port), Credentials: p.Credentials,
		TLS: p.TLS, Resolve: p.Resolve, Trusted: p.Trusted, owner: p,
	}
	if u.User != nil {
		username := u.User.Username()
		password, _ := u.User.Password()
		child.Credentials = func() (string, string) { return username, password }
	}
	return child, checkAddress(child.Address)
}
