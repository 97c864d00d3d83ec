package catalog

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// Query says what is wrong with a query and with the labels that its series are told apart by: in a legend, {{label}}.
// An empty legend is not judged.
func (c *Catalog) Query(query, legend string) error {
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(query)
	if err != nil {
		return fmt.Errorf("%s: %w", query, err)
	}
	if err := c.selectors(expr); err != nil {
		return err
	}
	return legendFits(expr, legend)
}

// selectors checks every metric with its matchers, and the labels that series are grouped by.
func (c *Catalog) selectors(expr parser.Expr) error {
	var problem error
	parser.Inspect(expr, func(node parser.Node, path []parser.Node) error {
		selector, ok := node.(*parser.VectorSelector)
		if !ok || problem != nil {
			return nil
		}
		var used []string
		for _, m := range selector.LabelMatchers {
			if m.Name == model.MetricNameLabel {
				continue
			}
			used = append(used, m.Name)
			if problem = c.matcher(m); problem != nil {
				return nil
			}
		}
		for _, above := range path {
			if a, ok := above.(*parser.AggregateExpr); ok && !a.Without {
				used = append(used, a.Grouping...)
			}
		}
		problem = c.Check(selector.Name, used...)
		return nil
	})
	return problem
}

// plain is a pattern that is a list of values.
var plain = regexp.MustCompile(`^[\w|]*$`)

// matcher checks the values that a matcher lists, if it lists any.
func (c *Catalog) matcher(m *labels.Matcher) error {
	values := []string{m.Value}
	if m.Type == labels.MatchRegexp || m.Type == labels.MatchNotRegexp {
		if !plain.MatchString(m.Value) {
			return nil
		}
		values = strings.Split(m.Value, "|")
	}
	for _, v := range values {
		if err := c.checkValue(m.Name, v); err != nil {
			return err
		}
	}
	return nil
}

// Labels are those that an aggregation keeps.
func Labels(expr parser.Expr) []string {
	var kept []string
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		if a, ok := node.(*parser.AggregateExpr); ok && kept == nil {
			kept = slices.DeleteFunc(slices.Clone(a.Grouping), func(l string) bool { return l == "le" })
		}
		return nil
	})
	return kept
}

var inLegend = regexp.MustCompile(`{{(\w+)}}`)

// legendFits makes sure that the labels in a legend are left in the result, and all of them are told.
func legendFits(expr parser.Expr, legend string) error {
	kept := Labels(expr)
	for _, l := range kept {
		if legend != "" && !strings.Contains(legend, "{{"+l+"}}") {
			return fmt.Errorf("legend %q does not tell series of different %s apart", legend, l)
		}
	}
	if a, ok := expr.(*parser.AggregateExpr); ok { // nothing is made of its le, as a quantile would
		kept = a.Grouping
	}
	for _, m := range inLegend.FindAllStringSubmatch(legend, -1) {
		if !slices.Contains(kept, m[1]) {
			return fmt.Errorf("legend %q has %s, which the query drops", legend, m[1])
		}
	}
	return nil
}
