package config

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Headers are changes of the headers that are passed on.
type Headers struct {
	// Of requests, on their way to the upstream.
	Request HeaderRules `yaml:"request"`
	// Of responses, the 101 included, on their way to the client. What wsproxy answers by itself is as it is.
	Response HeaderRules `yaml:"response"`
}

// HeaderRules change headers: first remove, then set, then add. Values may have {client_address}, {connection_id}, {host}, {identity}, {identity_hash}, {route}, {scheme} and {tls_subject_hash}.
type HeaderRules struct {
	// Headers to put in place of those of the same name. Values may have `{client_address}`, `{connection_id}`, `{host}`, `{identity}`, `{identity_hash}`, `{route}`, `{scheme}` and `{tls_subject_hash}`; one that comes out empty is no header at all.
	Set map[string]string `yaml:"set"`
	// Headers to put beside those of the same name.
	Add map[string]string `yaml:"add"`
	// Headers to take out.
	Remove []string `yaml:"remove"`
}

var headerVariable = regexp.MustCompile(`\{[a-z_]+\}`)

func headerVariables() []string {
	return []string{"client_address", "connection_id", "host", "identity", "identity_hash", "route", "scheme", "tls_subject_hash"}
}

func (h Headers) check(src *source, at string) {
	h.Request.check(src, key(at, "request"))
	h.Response.check(src, key(at, "response"))
}

func (h HeaderRules) check(src *source, at string) {
	for i, rules := range []map[string]string{h.Set, h.Add} {
		for _, name := range slices.Sorted(maps.Keys(rules)) {
			path := key(key(at, []string{"set", "add"}[i]), name)
			checkRuleName(src, path, name)
			checkRuleValue(src, path, rules[name])
		}
	}
	for i, name := range h.Remove {
		checkRuleName(src, item(key(at, "remove"), i), name)
	}
}

// checkRuleName refuses what belongs to one connection, to the handshake or to the body.
func checkRuleName(src *source, at, name string) {
	lower := strings.ToLower(name)
	ours := []string{
		"connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te", "trailer",
		"transfer-encoding", "upgrade", "content-length",
	}
	switch {
	case !validHeader(name):
		src.add(at, "", "is not the name of a header")
	case lower == "host":
		src.add(at, "", "is what preserve_host decides about")
	case slices.Contains(ours, lower) || strings.HasPrefix(lower, "sec-websocket-"):
		src.add(at, "", "belongs to the connection or the handshake")
	}
}

func checkRuleValue(src *source, at, value string) {
	if hasControl(value) {
		src.add(at, "", "has control characters, which a header can't")
	}
	for _, v := range headerVariable.FindAllString(value, -1) {
		if name := strings.Trim(v, "{}"); !slices.Contains(headerVariables(), name) {
			src.add(at, closest(name, headerVariables()), "no variable %s; there are %s", v, strings.Join(headerVariables(), ", "))
		}
	}
}
