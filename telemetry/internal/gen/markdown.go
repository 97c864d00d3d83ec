package main

import (
	"bytes"
	"fmt"
	"strings"
)

// markdown makes the reference page.
func markdown(s *schema) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `<!-- Generated from telemetry/schema.yaml by telemetry/internal/gen. Do not edit. -->
# What wsproxy emits

Every span, metric, log event and attribute. Names that are not wsproxy's own follow the OpenTelemetry semantic conventions
(%s). Stability: a *stable* name does not change; a *development* name may.

`, s.SchemaURL)
	spans(&b, s)
	metrics(&b, s)
	events(&b, s)
	attributes(&b, s)
	return b.Bytes()
}

func spans(b *bytes.Buffer, s *schema) {
	b.WriteString("## Spans\n\n| span | kind | what | attributes |\n|---|---|---|---|\n")
	for _, p := range s.Spans {
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", p.Name, p.Kind, p.Brief, code(p.Attributes))
	}
}

func metrics(b *bytes.Buffer, s *schema) {
	b.WriteString("\n## Metrics\n\nOn `/metrics` dots become underscores and the unit and `_total` are appended, as Prometheus names go.\n\n" +
		"| metric | instrument | unit | what | attributes | stability |\n|---|---|---|---|---|---|\n")
	for _, m := range s.Metrics {
		fmt.Fprintf(b, "| `%s` | %s | `%s` | %s | %s | %s |\n", m.Name, m.Instrument, m.Unit, m.Brief, code(m.Attributes), m.Stability)
	}
	for _, l := range s.Libraries {
		fmt.Fprintf(b, "| `%s*` | | | %s | | |\n", l.Prefix, l.Brief)
	}
	b.WriteString("\nHistogram buckets:\n\n")
	for _, m := range s.Metrics {
		if m.Bounds != "" {
			fmt.Fprintf(b, "- `%s`: %s\n", m.Name, numbers(s.Bounds[m.Bounds]))
		}
	}
}

func events(b *bytes.Buffer, s *schema) {
	b.WriteString("\n## Log events\n\n| event name | severity | what | attributes |\n|---|---|---|---|\n")
	for _, e := range s.Events {
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", e.Name, e.Severity, e.Brief, code(e.Attributes))
	}
}

func attributes(b *bytes.Buffer, s *schema) {
	b.WriteString("\n## Attributes\n\n| attribute | type | what | values | stability |\n|---|---|---|---|---|\n")
	for _, a := range s.Attributes {
		fmt.Fprintf(b, "| `%s` | %s | %s | %s | %s |\n", a.Name, a.Type, a.Brief, code(append(a.Values, a.Also...)), a.Stability)
	}
}

func code(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return "`" + strings.Join(names, "`, `") + "`"
}
