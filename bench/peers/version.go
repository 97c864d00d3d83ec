//go:build linux

package peers

import (
	"debug/buildinfo"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
)

// version is what a program says of itself: the C ones when asked, the Go ones in their build's list of
// modules.
func version(p *Peer) string {
	switch p.Name {
	case Nginx:
		return said(p.Program, "-v")
	case HAProxy:
		return said(p.Program, "-v")
	case Caddy:
		return module(p.Program, "github.com/caddyserver/caddy/v2")
	case Traefik:
		return module(p.Program, "github.com/traefik/traefik/v3")
	case ReverseProxy:
		return "of " + runtime.Version()
	}
	return revision(p.Program)
}

// revision is the commit that a program of ours was built from.
func revision(program string) string {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return "unknown"
	}
	settings := make(map[string]string)
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	v := settings["vcs.revision"]
	if v = v[:min(12, len(v))]; v == "" {
		v = "unknown revision"
	}
	if settings["vcs.modified"] == "true" {
		v += " with changes"
	}
	return v + ", " + info.GoVersion
}

// said is the first thing in a program's answer that looks like a version, else its first line.
func said(program, flag string) string {
	out, err := exec.Command(program, flag).CombinedOutput()
	if err != nil {
		return "unknown"
	}
	if v := regexp.MustCompile(`\d+\.\d+[-+.~\w]*`).Find(out); v != nil {
		return string(v)
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line
}

func module(program, path string) string {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return "unknown"
	}
	if info.Main.Path == path {
		return info.Main.Version + " with " + info.GoVersion
	}
	for _, d := range info.Deps {
		if d.Path == path {
			return d.Version + " with " + info.GoVersion
		}
	}
	return "unknown"
}
