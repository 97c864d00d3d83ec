package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"

	"go.yaml.in/yaml/v3"
)

type schema struct {
	SchemaURL  string               `yaml:"schema_url"`
	Bounds     map[string][]float64 `yaml:"bounds"`
	Attributes []attribute          `yaml:"attributes"`
	Metrics    []metric             `yaml:"metrics"`
	Libraries  []library            `yaml:"libraries"`
	Spans      []span               `yaml:"spans"`
	Events     []event              `yaml:"events"`
}

type attribute struct {
	Name      string   `yaml:"name"`
	Type      string   `yaml:"type"`
	Stability string   `yaml:"stability"`
	Semconv   bool     `yaml:"semconv"`
	Brief     string   `yaml:"brief"`
	Values    []string `yaml:"values"`
	Also      []string `yaml:"also"` // values outside of wsproxy's own set
}

type metric struct {
	Name       string   `yaml:"name"`
	Instrument string   `yaml:"instrument"`
	Observable bool     `yaml:"observable"`
	Producer   bool     `yaml:"producer"` // no instrument: made by a Producer
	Value      string   `yaml:"value"`
	Unit       string   `yaml:"unit"`
	Stability  string   `yaml:"stability"`
	Semconv    bool     `yaml:"semconv"`
	Bounds     string   `yaml:"bounds"`
	Brief      string   `yaml:"brief"`
	Attributes []string `yaml:"attributes"`
}

type library struct {
	Prefix string `yaml:"prefix"`
	Brief  string `yaml:"brief"`
}

type span struct {
	Name       string   `yaml:"name"`
	Const      *string  `yaml:"const"` // "": the name is made at run time
	Kind       string   `yaml:"kind"`
	Brief      string   `yaml:"brief"`
	Attributes []string `yaml:"attributes"`
}

type event struct {
	Name       string   `yaml:"name"`
	Severity   string   `yaml:"severity"`
	Brief      string   `yaml:"brief"`
	Attributes []string `yaml:"attributes"`
}

// load reads and checks the schema.
func load(name string) (*schema, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read schema: %w", err)
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	var s schema
	if err := d.Decode(&s); err != nil {
		return nil, fmt.Errorf("parse %s: %w", name, err)
	}
	return &s, s.check()
}

// check reports every attribute that is used and not defined, defined and not used, or defined twice.
func (s *schema) check() error {
	var problems []error
	used := make(map[string]bool)
	use := func(where string, names []string) {
		for _, n := range names {
			used[n] = true
			if !slices.ContainsFunc(s.Attributes, func(a attribute) bool { return a.Name == n }) {
				problems = append(problems, fmt.Errorf("%s: attribute %q is not defined", where, n))
			}
		}
	}
	for _, m := range s.Metrics {
		use(m.Name, m.Attributes)
		if _, ok := s.Bounds[m.Bounds]; m.Instrument == "histogram" && !ok {
			problems = append(problems, fmt.Errorf("%s: bounds %q are not defined", m.Name, m.Bounds))
		}
	}
	for _, p := range s.Spans {
		use(p.Name, p.Attributes)
	}
	for _, e := range s.Events {
		use(e.Name, e.Attributes)
	}
	seen := make(map[string]bool)
	for _, a := range s.Attributes {
		if seen[a.Name] {
			problems = append(problems, fmt.Errorf("attribute %q is defined twice", a.Name))
		}
		seen[a.Name] = true
		if !used[a.Name] {
			problems = append(problems, fmt.Errorf("attribute %q is not used", a.Name))
		}
	}
	return errors.Join(problems...)
}
