package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// rules holds names to the guides of the semantic conventions: general/naming.md and general/metrics.md.
// It returns what breaks one.
func rules(s *schema) []string {
	var broken []string
	attributes, metrics := make(map[string]bool), make(map[string]bool)
	for _, a := range s.Attributes {
		attributes[a.Name] = true
		broken = append(broken, named(a.Name, a.Semconv)...)
		plural := strings.HasSuffix(a.Name, "s") && !strings.HasSuffix(a.Name, "ss") && last(a.Name) != "status"
		if plural != (a.Type == "string[]") && !spokenPlural[last(a.Name)] {
			broken = append(broken, a.Name+": an attribute is plural if it is a list, and only then")
		}
	}
	for _, m := range s.Metrics {
		metrics[m.Name] = true
		broken = append(broken, named(m.Name, m.Semconv)...)
		if !m.Semconv {
			broken = append(broken, measured(m)...)
		}
	}
	events := make(map[string]bool)
	for _, e := range s.Events {
		events[e.Name] = true
		broken = append(broken, named(e.Name, false)...)
	}
	for _, names := range []map[string]bool{attributes, metrics, events} {
		broken = append(broken, namespaces(names)...)
	}
	slices.Sort(broken)
	return broken
}

// spokenPlural are last words that say a number or a text of several things.
var spokenPlural = map[string]bool{"bytes": true, "messages": true, "extensions": true, "dropped_items": true, "connections": true}

var wellFormed = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*(\.[a-z0-9]+(_[a-z0-9]+)*)+$`)

func named(name string, semconv bool) (broken []string) {
	if !wellFormed.MatchString(name) {
		broken = append(broken, name+": want lower case, words with _ between them, and a namespace")
	}
	if ours := strings.HasPrefix(name, "wsproxy."); ours == semconv {
		broken = append(broken, name+": our names are under wsproxy., the conventions' are not")
	}
	return broken
}

func last(name string) string { return name[strings.LastIndexByte(name, '.')+1:] }

// namespaces finds names that others are under.
func namespaces(names map[string]bool) (broken []string) {
	for name := range names {
		for other := range names {
			if strings.HasPrefix(other, name+".") {
				broken = append(broken, name+": is the namespace of "+other)
			}
		}
	}
	return broken
}

// units of metrics by the last word of their names.
var unitOf = map[string]string{"duration": "s", "time": "s", "rtt": "s", "longest": "s", "not_after": "s", "size": "By", "io": "By", "status": "1", "busy": "1"}

// levels are updowncounters and gauges that our design calls by what they count.
var levels = map[string]bool{"wsproxy.worker.connections": true}

func measured(m metric) (broken []string) {
	word := last(m.Name)
	counted := regexp.MustCompile(`^\{[a-z]+(_[a-z]+)*\}$`).MatchString(m.Unit)
	want, known := unitOf[word]
	switch {
	case known && m.Unit != want:
		broken = append(broken, m.Name+": got unit "+m.Unit+", want "+want)
	case !known && !counted:
		broken = append(broken, m.Name+": got unit "+m.Unit+", want {what is counted}, in the singular")
	}
	if strings.HasSuffix(m.Unit, "s}") {
		broken = append(broken, m.Name+": the unit "+m.Unit+" is a plural")
	}
	if strings.Contains(m.Name, "total") || strings.HasSuffix(m.Name, "_seconds") || strings.HasSuffix(m.Name, "_bytes") {
		broken = append(broken, m.Name+": neither total nor a unit belongs into a name")
	}
	plural := strings.HasSuffix(word, "s") && word != "status"
	if plural && (m.Instrument != "counter" || !counted) && !levels[m.Name] {
		broken = append(broken, m.Name+": only counters of things have a plural name")
	}
	if m.Instrument == "histogram" && m.Bounds == "" {
		broken = append(broken, m.Name+": a histogram has bounds")
	}
	return broken
}

func TestNamesFollowTheConventions(t *testing.T) {
	s, err := load("../../schema.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range rules(s) {
		t.Error(b)
	}
}

// TestRulesAreHeld: each of these is broken, and found.
func TestRulesAreHeld(t *testing.T) {
	for name, test := range map[string]struct {
		s    schema
		want string
	}{
		"attribute and namespace": {schema{Attributes: []attribute{{Name: "wsproxy.a"}, {Name: "wsproxy.a.b"}}}, "wsproxy.a: is the namespace of wsproxy.a.b"},
		"metric and namespace":    {schema{Metrics: []metric{{Name: "wsproxy.a", Unit: "{b}"}, {Name: "wsproxy.a.b", Unit: "{b}"}}}, "wsproxy.a: is the namespace of wsproxy.a.b"},
		"camel case":              {schema{Attributes: []attribute{{Name: "wsproxy.routeName"}}}, "wsproxy.routeName: want lower case"},
		"foreign namespace":       {schema{Attributes: []attribute{{Name: "http.wsproxy"}}}, "http.wsproxy: our names"},
		"milliseconds":            {schema{Metrics: []metric{{Name: "wsproxy.a.duration", Unit: "ms"}}}, "got unit ms, want s"},
		"no unit":                 {schema{Metrics: []metric{{Name: "wsproxy.a.retries", Unit: "1", Instrument: "counter"}}}, "got unit 1"},
		"plural unit":             {schema{Metrics: []metric{{Name: "wsproxy.a.retries", Unit: "{retries}", Instrument: "counter"}}}, "is a plural"},
		"plural level":            {schema{Metrics: []metric{{Name: "wsproxy.a.sockets", Unit: "{socket}", Instrument: "updowncounter"}}}, "only counters"},
		"total":                   {schema{Metrics: []metric{{Name: "wsproxy.a.total", Unit: "{a}"}}}, "neither total"},
		"plural attribute":        {schema{Attributes: []attribute{{Name: "wsproxy.routes", Type: "string"}}}, "an attribute is plural"},
		"singular list":           {schema{Attributes: []attribute{{Name: "wsproxy.route", Type: "string[]"}}}, "an attribute is plural"},
	} {
		t.Run(name, func(t *testing.T) {
			got := rules(&test.s)
			if !slices.ContainsFunc(got, func(b string) bool { return strings.Contains(b, test.want) }) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
