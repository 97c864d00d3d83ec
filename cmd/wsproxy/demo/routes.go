package demo

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Route is a route of the demo's proxy. Its upstream has the same name.
type Route struct {
	Name    string
	Path    string
	Targets []string // URLs
	Egress  string   // name, empty when direct
}

// routes are where the scenarios go.
func routes(u upstreams) []Route {
	var all []Route
	add := func(name, egress string, targets ...string) {
		all = append(all, Route{Name: name, Path: "/" + name, Targets: targets, Egress: egress})
	}
	add("direct", "", "ws://"+u.echo)
	add("tls", "", "wss://"+named(echoName, u.secure))
	add("connect", corpName, "wss://"+named(echoName, u.secure))
	add("socks5", sockName, "ws://"+named(echoName, u.echo))
	add("slow-dns", "", "ws://"+named(slowName, u.echo))
	add("retry", "", "ws://"+u.refusing, "ws://"+u.echo)
	add("refused", "", "ws://"+u.refusing)
	add("not-found", "", "ws://"+named(unknownName, u.echo))
	add("dies", "", "ws://"+u.dying)
	add("leaves", "", "ws://"+u.leaving)
	return all
}

// WriteConfig writes the configuration of a proxy for the routes into the demo's folder and returns the
// file. listen and admin are addresses.
func (c *Cast) WriteConfig(listen, admin string) (file string, err error) {
	file = filepath.Join(c.Folder, "wsproxy.yaml")
	if err := os.WriteFile(file, []byte(c.config(listen, admin)), 0o644); err != nil {
		return "", fmt.Errorf("write configuration: %w", err)
	}
	return file, nil
}

// config is the YAML; what %q writes is what YAML reads, for texts like these.
func (c *Cast) config(listen, admin string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# What wsproxy demo runs. The names *.demo are known to its own name server only.\n")
	fmt.Fprintf(&b, "listeners:\n  - address: %q\nadmin:\n  address: %q\nroutes:\n", listen, admin)
	for _, r := range c.Routes {
		fmt.Fprintf(&b, "  - { name: %s, match: %q, upstream: %s }\n", r.Name, r.Path, r.Name)
	}
	fmt.Fprintf(&b, "upstreams:\n")
	for _, r := range c.Routes {
		fmt.Fprintf(&b, "  - name: %s\n    targets:\n", r.Name)
		for _, t := range r.Targets {
			fmt.Fprintf(&b, "      - %q\n", t)
		}
		if r.Egress != "" {
			fmt.Fprintf(&b, "    egress: %s\n", r.Egress)
		}
		if strings.HasPrefix(r.Targets[0], "wss:") {
			fmt.Fprintf(&b, "    tls: { ca: %q }\n", c.CAFile)
		}
	}
	fmt.Fprintf(&b, "egress:\n")
	for _, e := range c.Egresses {
		fmt.Fprintf(&b, "  - { name: %s, url: %q, credentials: %q }\n", e.Name, e.URL, "file:"+e.Credentials)
	}
	return b.String()
}
