//go:build linux

// Package peers has the proxies that are compared, each with a configuration that does the same, and
// starts them. It measures nothing.
package peers

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// Names of those that others are compared with.
const (
	Direct       = "direct" // no proxy at all
	Nginx        = "nginx"
	HAProxy      = "HAProxy"
	Caddy        = "Caddy"
	Traefik      = "Traefik"
	ReverseProxy = "ReverseProxy"
)

// Peer is a proxy, or none.
type Peer struct {
	Name    string
	Program string // its file; empty: Direct
	Version string

	files []string // of configs, written where it runs
	args  func(*Site) []string
	env   []string

	// Of wsproxy's variants:
	Engine    string
	Telemetry bool
	Procs     int // GOMAXPROCS; 0: what the runtime makes of one core
}

// Ours says that a peer is wsproxy.
func (p *Peer) Ours() bool { return p.Engine != "" }

// Site is where a peer runs. Configurations are templates over it.
type Site struct {
	Dir         string
	Upstream    string // host:port
	Plain, TLS  int    // ports
	Admin       int    // port
	Cert, Key   string // files
	Chain       string // file with both
	Collector   string // host:port of its OTLP receiver over gRPC
	Engine      string
	Files       int // descriptors that a process may have
	Connections int // that these allow
}

// Programs are files by name, as `get` of this folder and of e2e/servers prints them.
type Programs map[string]string

// All are the peers whose programs are there, in the order of tables. Wsproxy has variants of its own.
func All(programs Programs) []*Peer {
	all := []*Peer{{Name: Direct}}
	for _, p := range []*Peer{
		{
			Name: Nginx, Program: programs["nginx"], files: []string{"nginx.conf"},
			args: func(s *Site) []string { return []string{"-p", s.Dir, "-c", s.file("nginx.conf")} },
		},
		{
			Name: HAProxy, Program: programs["haproxy"], files: []string{"haproxy.cfg"},
			args: func(s *Site) []string { return []string{"-db", "-f", s.file("haproxy.cfg")} },
		},
		{
			Name: Caddy, Program: programs["caddy"], files: []string{"Caddyfile"},
			args: func(s *Site) []string { return []string{"run", "--config", s.file("Caddyfile")} },
		},
		{
			Name: Traefik, Program: programs["traefik"], files: []string{"traefik.yaml", "traefik-routes.yaml"},
			args: func(s *Site) []string { return []string{"--configFile=" + s.file("traefik.yaml")} },
		},
		{Name: ReverseProxy, Program: programs["reverseproxy"], args: reverseProxy},
	} {
		if p.Program != "" {
			p.Version = version(p)
			all = append(all, p)
		}
	}
	return all
}

func reverseProxy(s *Site) []string {
	return []string{
		"-plain", local(s.Plain), "-tls", local(s.TLS), "-admin", local(s.Admin),
		"-cert", s.Cert, "-key", s.Key, "-upstream", s.Upstream,
	}
}

// Wsproxy is a variant of ours.
func Wsproxy(program, engine string, telemetry bool, procs int) *Peer {
	p := &Peer{
		Name: "wsproxy " + engine, Program: program, files: []string{"wsproxy.yaml"},
		args:   func(s *Site) []string { return []string{"serve", "--config", s.file("wsproxy.yaml")} },
		Engine: engine, Telemetry: telemetry, Procs: procs,
	}
	if !telemetry {
		p.Name += ", telemetry off"
		p.env = append(p.env, "OTEL_SDK_DISABLED=true")
	}
	if procs > 0 {
		p.Name += fmt.Sprintf(", %d Ps", procs)
		p.env = append(p.env, "GOMAXPROCS="+strconv.Itoa(procs))
	}
	p.Version = version(p)
	return p
}

// Missing are the peers whose programs are not there.
func Missing(programs Programs) []string {
	missing := map[string]string{"nginx": Nginx, "haproxy": HAProxy, "caddy": Caddy, "traefik": Traefik, "reverseproxy": ReverseProxy}
	maps.DeleteFunc(missing, func(name, _ string) bool { return programs[name] != "" })
	return slices.Sorted(maps.Values(missing))
}

func (s *Site) file(name string) string { return s.Dir + "/" + name }

func local(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }
