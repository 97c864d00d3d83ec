package catalog

import (
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/promql/parser"
)

// namesOf takes in every name that the schema has, with what Prometheus makes of it.
func (c *Catalog) namesOf(s *schema, p *server) error {
	c.names = make(map[string]bool)
	add := func(name string) error {
		label, err := Label(name)
		c.names[name], c.names[label] = true, true
		return err
	}
	for _, a := range s.Attributes {
		if err := add(a.Name); err != nil {
			return err
		}
	}
	for _, name := range p.OTLP.Promoted {
		if err := add(name); err != nil {
			return err
		}
	}
	for _, m := range s.Metrics {
		c.names[m.Name] = true
	}
	for _, e := range s.Events {
		c.names[e.Name] = true
	}
	for _, l := range s.Libraries {
		c.foreign = append(c.foreign, l.Prefix, strings.ReplaceAll(l.Prefix, ".", "_"))
	}
	for metric := range c.metrics {
		c.names[metric] = true
		if base, ok := strings.CutSuffix(metric, "_bucket"); ok { // how one speaks of the whole histogram
			c.names[base] = true
		}
	}
	return nil
}

// Recorded makes the series known that Prometheus records by the stack's rules.
func (c *Catalog) Recorded(root string) error {
	var file struct {
		Groups []struct {
			Rules []struct{ Record, Expr string }
		}
	}
	if err := read(filepath.Join(root, "otel-collector", "rules", "wsproxy.yaml"), &file); err != nil {
		return err
	}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			if r.Record == "" {
				continue
			}
			expr, err := parser.NewParser(parser.Options{}).ParseExpr(r.Expr)
			if err != nil {
				return err
			}
			c.Add(r.Record, Labels(expr)...)
			c.names[r.Record] = true
		}
	}
	return nil
}

var (
	// A recorded series; wsproxy's own names; those of the conventions whose namespaces are told from other words. What is in front is
	// no part of a path or of a longer name.
	named = regexp.MustCompile(`(?m)(?:^|[^\w./:$-])(` +
		`[a-z_]+:wsproxy_\w+:\w+` +
		`|wsproxy[._][a-z][\w.]*\*?` +
		`|(?:http|dns|process|network|url|user_agent|client|server|tls|error|cpu|otel|go|service)\.[a-z][\w.]*\*?` +
		`|(?:http_(?:server|client)|dns_lookup|process)_[a-z][a-z_]*\*?)`)
	file  = regexp.MustCompile(`\.(yaml|json|pem|conf|pid|service|sysusers|md|go|com|example|key|crt)$`)
	quote = regexp.MustCompile("(?s)```.*?```|`[^`\n]+`")
)

// Strange are the names in a text that look like names of telemetry and are none, in order. A name that ends in a star, a dot or an underscore
// stands for those that begin so.
func (c *Catalog) Strange(text string) []string {
	strange := make(map[string]bool)
	for _, m := range named.FindAllStringSubmatch(text, -1) {
		name := strings.TrimRight(m[1], "*")
		if begin := strings.TrimRight(name, "._"); begin != name && c.begins(begin) {
			continue
		}
		name = strings.TrimRight(name, "._")
		if !c.names[name] && !file.MatchString(name) && !c.ofLibrary(name) {
			strange[name] = true
		}
	}
	return slices.Sorted(maps.Keys(strange))
}

func (c *Catalog) begins(begin string) bool {
	for name := range c.names {
		if strings.HasPrefix(name, begin+".") || strings.HasPrefix(name, begin+"_") {
			return true
		}
	}
	return c.ofLibrary(begin + ".")
}

func (c *Catalog) ofLibrary(name string) bool {
	return slices.ContainsFunc(c.foreign, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// Quoted are the queries that a page has in its code: whatever in it is about wsproxy's series and is more than a name.
func Quoted(page string) []string {
	var queries []string
	for _, code := range quote.FindAllString(page, -1) {
		code = strings.TrimSpace(strings.Trim(code, "`"))
		if strings.Contains(code, "wsproxy_") && strings.ContainsAny(code, "({[") && !strings.Contains(code, "$ ") {
			queries = append(queries, code)
		}
	}
	return queries
}

var (
	heading  = regexp.MustCompile(`(?m)^#+ (.+)$`)
	unlinked = regexp.MustCompile(`[^\w\- ]`)
)

// Headings are a page's, as links name them.
func Headings(page string) []string {
	var all []string
	for _, m := range heading.FindAllStringSubmatch(page, -1) {
		plain := unlinked.ReplaceAllString(strings.ToLower(m[1]), "")
		all = append(all, strings.ReplaceAll(plain, " ", "-"))
	}
	return all
}
