package main

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
)

func TestQueriesAskForWhatExists(t *testing.T) {
	c := readCatalog(t)
	for file, b := range boards(t) {
		for _, p := range b.Panels {
			for _, q := range p.Targets {
				if err := c.query(q.Expr, q.LegendFormat); err != nil {
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
			if translated := labelsOf(t, []string{tag.Key}); !translated[tag.Value] {
				t.Errorf("%s: got label %s for the attribute %s, want %q", uid, tag.Value, tag.Key, slices.Sorted(maps.Keys(translated)))
			}
		}
		tags := `{` + strings.Join(labels, `="x", `) + `="x"}`
		for _, q := range m.Queries {
			query := strings.ReplaceAll(strings.ReplaceAll(q.Query, "$$", "$"), "{$__tags}", tags)
			if err := c.query(query, ""); err != nil {
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
			if err := c.query("sum by ("+parts[2]+") ("+parts[1]+")", ""); err != nil {
				t.Errorf("%s, $%s: %v", file, v.Name, err)
			}
		}
	}
}

// query says what is wrong with a panel's query and the legend of its series.
func (c catalog) query(query, legend string) error {
	whole := strings.NewReplacer("$__rate_interval", "1m", "$__range", "1h", "$instance", ".*", "$route", ".*").Replace(query)
	if strings.Contains(whole, "$") {
		return fmt.Errorf("%s has an unknown variable", whole)
	}
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(whole)
	if err != nil {
		return fmt.Errorf("%s: %w", whole, err)
	}
	if err := c.selectors(expr); err != nil {
		return err
	}
	return legendFits(expr, legend)
}

// selectors checks every metric with its matchers, and the labels that series are grouped by.
func (c catalog) selectors(expr parser.Expr) error {
	var problem error
	parser.Inspect(expr, func(node parser.Node, path []parser.Node) error {
		selector, ok := node.(*parser.VectorSelector)
		if !ok || problem != nil {
			return nil
		}
		var labels []string
		for _, m := range selector.LabelMatchers {
			if m.Name != "__name__" {
				labels = append(labels, m.Name)
			}
		}
		for _, above := range path {
			if a, ok := above.(*parser.AggregateExpr); ok && !a.Without {
				labels = append(labels, a.Grouping...)
			}
		}
		problem = c.check(selector.Name, labels...)
		return nil
	})
	return problem
}

// legendFits makes sure that the labels in a legend are left in the result, and all of them are told.
func legendFits(expr parser.Expr, legend string) error {
	var kept []string
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		if a, ok := node.(*parser.AggregateExpr); ok && kept == nil {
			kept = slices.DeleteFunc(slices.Clone(a.Grouping), func(l string) bool { return l == "le" })
		}
		return nil
	})
	for _, l := range kept {
		if legend != "" && !strings.Contains(legend, "{{"+l+"}}") {
			return fmt.Errorf("legend %q does not tell series of different %s apart", legend, l)
		}
	}
	for _, m := range regexp.MustCompile(`{{(\w+)}}`).FindAllStringSubmatch(legend, -1) {
		if !slices.Contains(kept, m[1]) {
			return fmt.Errorf("legend %q has %s, which the query drops", legend, m[1])
		}
	}
	return nil
}

func TestQueryProblemsAreFound(t *testing.T) {
	c := catalog{"wsproxy_io_bytes_total": {"wsproxy_direction": true}}
	cases := map[string]struct {
		query, legend string
		want          string
	}{
		"right":            {`sum by (wsproxy_direction) (rate(wsproxy_io_bytes_total{wsproxy_direction=~"$route"}[$__rate_interval]))`, "{{wsproxy_direction}}", ""},
		"no PromQL":        {`sum(wsproxy_io_bytes_total`, "", "parse error"},
		"unknown metric":   {`rate(wsproxy_io_total[1m])`, "", "no metric"},
		"metric on a side": {`wsproxy_io_bytes_total / wsproxy_io`, "", "no metric"},
		"unknown matcher":  {`wsproxy_io_bytes_total{direction="upstream"}`, "", "no label direction"},
		"unknown grouping": {`sum by (route) (wsproxy_io_bytes_total)`, "{{route}}", "no label route"},
		"unknown variable": {`wsproxy_io_bytes_total{wsproxy_direction="$where"}`, "", "unknown variable"},
		"dropped label":    {`sum(wsproxy_io_bytes_total)`, "{{wsproxy_direction}}", "drops"},
		"same legend":      {`sum by (wsproxy_direction) (wsproxy_io_bytes_total)`, "bytes", "apart"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			err := c.query(tc.query, tc.legend)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}
