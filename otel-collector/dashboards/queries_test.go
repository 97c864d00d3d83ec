package main

import (
	"regexp"
	"strings"
	"testing"

	"wsproxy/otel-collector/internal/catalog"
)

func readCatalog(t *testing.T) *catalog.Catalog {
	t.Helper()
	c, err := catalog.Read("../..")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// fill puts values in for Grafana's variables.
func fill(t *testing.T, query string) string {
	t.Helper()
	whole := strings.NewReplacer("$__rate_interval", "1m", "$__range", "1h", "$instance", ".*", "$route", ".*").Replace(query)
	if strings.Contains(whole, "$") {
		t.Errorf("%s has an unknown variable", whole)
	}
	return whole
}

func TestQueriesAskForWhatExists(t *testing.T) {
	c := readCatalog(t)
	for file, b := range boards(t) {
		for _, p := range b.Panels {
			for _, q := range p.Targets {
				if err := c.Query(fill(t, q.Expr), q.LegendFormat); err != nil {
					t.Errorf("%s, %s, %s: %v", file, p.Title, q.RefID, err)
				}
			}
		}
	}
}

func TestLinksFromTracesAskForWhatExists(t *testing.T) {
	c := readCatalog(t)
	for uid, s := range sources(t) {
		m := s.JSONData.Metrics
		var labels []string
		for _, tag := range m.Tags {
			labels = append(labels, tag.Value)
			if want, err := catalog.Label(tag.Key); tag.Value != want {
				t.Errorf("%s: got label %s for the attribute %s, want %s (%v)", uid, tag.Value, tag.Key, want, err)
			}
		}
		tags := `{` + strings.Join(labels, `="x", `) + `="x"}`
		for _, q := range m.Queries {
			query := strings.ReplaceAll(strings.ReplaceAll(q.Query, "$$", "$"), "{$__tags}", tags)
			if err := c.Query(fill(t, query), ""); err != nil {
				t.Errorf("%s, %s: %v", uid, q.Name, err)
			}
		}
	}
}

func TestVariablesAskForWhatExists(t *testing.T) {
	c := readCatalog(t)
	values := regexp.MustCompile(`^label_values\((.+), (\w+)\)$`)
	for file, b := range boards(t) {
		for _, v := range b.Templating.List {
			parts := values.FindStringSubmatch(v.Query)
			if parts == nil || v.Definition != v.Query {
				t.Errorf("%s, $%s: got query %q and definition %q, want label_values twice", file, v.Name, v.Query, v.Definition)
				continue
			}
			if err := c.Query(fill(t, "sum by ("+parts[2]+") ("+parts[1]+")"), ""); err != nil {
				t.Errorf("%s, $%s: %v", file, v.Name, err)
			}
		}
	}
}
