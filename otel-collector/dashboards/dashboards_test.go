package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"go.yaml.in/yaml/v3"

	"wsproxy/otel-collector/internal/catalog"
)

const folder = "../grafana/dashboards"

func TestFilesAreGenerated(t *testing.T) {
	files, err := generate()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Error(err)
		} else if !bytes.Equal(got, want) {
			t.Errorf("%s is not what the generator makes; in otel-collector: go run ./dashboards grafana/dashboards", name)
		}
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if files[e.Name()] == nil {
			t.Errorf("%s: no generator makes it", e.Name())
		}
	}
}

// board is what a dashboard's file must have, as Grafana reads it.
type board struct {
	UID        string
	Title      string
	Panels     []panel
	Templating struct{ List []variable }
}

type panel struct {
	ID                       int
	Type, Title, Description string
	Datasource               source
	Targets                  []target
	GridPos                  struct{ X, Y, W, H int }
	FieldConfig              struct{ Defaults struct{ Unit string } }
}

type source struct{ Type, UID string }

type target struct {
	RefID, Expr, LegendFormat string
	Datasource                source
}

type variable struct {
	Name, Definition string
	Query            string
	Datasource       source
}

// boards reads every dashboard that is provisioned.
func boards(t *testing.T) map[string]board {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("got %q, %v", files, err)
	}
	all := make(map[string]board)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var b board
		if err := json.Unmarshal(text, &b); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all[filepath.Base(file)] = b
	}
	return all
}

// provisioned is a data source of Grafana's configuration.
type provisioned struct {
	Type     string
	UID      string
	JSONData struct {
		Exemplars []struct {
			Name          string
			DatasourceUID string `yaml:"datasourceUid"`
		} `yaml:"exemplarTraceIdDestinations"`
		Metrics struct {
			DatasourceUID string `yaml:"datasourceUid"`
			Tags          []struct{ Key, Value string }
			Queries       []struct{ Name, Query string }
		} `yaml:"tracesToMetrics"`
	} `yaml:"jsonData"`
}

// sources reads the data sources, by their uid.
func sources(t *testing.T) map[string]provisioned {
	t.Helper()
	text, err := os.ReadFile("../grafana/datasources/wsproxy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Datasources []provisioned }
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	all := make(map[string]provisioned)
	for _, s := range file.Datasources {
		all[s.UID] = s
	}
	return all
}

func TestEveryPanelExplainsItself(t *testing.T) {
	uids := make(map[string]string)
	for file, b := range boards(t) {
		if other := uids[b.UID]; b.UID == "" || other != "" {
			t.Errorf("%s: got uid %q, want one of its own (other: %q)", file, b.UID, other)
		}
		uids[b.UID] = file
		titles := make(map[string]bool)
		ids := make(map[int]bool)
		for _, p := range b.Panels {
			if p.Title == "" || titles[p.Title] || p.ID == 0 || ids[p.ID] {
				t.Errorf("%s: got title %q and id %d, want its own", file, p.Title, p.ID)
			}
			titles[p.Title], ids[p.ID] = true, true
			if p.Type == "row" {
				continue
			}
			if p.Description == "" || p.FieldConfig.Defaults.Unit == "" || len(p.Targets) == 0 {
				t.Errorf("%s, %s: got description %q, unit %q and %d queries, want all", file, p.Title, p.Description, p.FieldConfig.Defaults.Unit, len(p.Targets))
			}
		}
	}
}

// Of every panel a page says what to do.
func TestEveryPanelHasItsPage(t *testing.T) {
	named := regexp.MustCompile(`\n\nWhat to do: (docs/[\w/.]+\.md)(?:#([\w-]+))?$`)
	for file, b := range boards(t) {
		for _, p := range b.Panels {
			if p.Type == "row" {
				continue
			}
			page := named.FindStringSubmatch(p.Description)
			if page == nil {
				t.Errorf("%s, %s: got %q, want the name of a page at its end", file, p.Title, p.Description)
				continue
			}
			text, err := os.ReadFile(filepath.Join("../..", page[1]))
			if err != nil || page[2] != "" && !slices.Contains(catalog.Headings(string(text)), page[2]) {
				t.Errorf("%s, %s: there is no %s %s: %v", file, p.Title, page[1], page[2], err)
			}
		}
	}
}

func TestDatasourcesAreProvisioned(t *testing.T) {
	known := sources(t)
	check := func(where string, s source) {
		if known[s.UID].Type != s.Type || s.Type == "" {
			t.Errorf("%s: got data source %+v, want one of %q", where, s, slices.Sorted(maps.Keys(known)))
		}
	}
	for file, b := range boards(t) {
		for _, v := range b.Templating.List {
			check(file+", $"+v.Name, v.Datasource)
		}
		for _, p := range b.Panels {
			if p.Type == "row" {
				continue
			}
			check(file+", "+p.Title, p.Datasource)
			for _, q := range p.Targets {
				check(file+", "+p.Title+", "+q.RefID, q.Datasource)
			}
		}
	}
	for uid, s := range known {
		for _, e := range s.JSONData.Exemplars {
			check(uid+", exemplars", source{UID: e.DatasourceUID, Type: "jaeger"})
		}
		if m := s.JSONData.Metrics; len(m.Queries) > 0 {
			check(uid+", metrics", source{UID: m.DatasourceUID, Type: "prometheus"})
		}
	}
}

func TestPanelsFillTheGrid(t *testing.T) {
	type cell struct{ x, y int }
	for file, b := range boards(t) {
		taken := make(map[cell]string)
		bottom := 0
		for _, p := range b.Panels {
			g := p.GridPos
			bottom = max(bottom, g.Y+g.H)
			for x := g.X; x < g.X+g.W; x++ {
				for y := g.Y; y < g.Y+g.H; y++ {
					if other := taken[cell{x, y}]; other != "" || x >= 24 {
						t.Fatalf("%s: %s lies on %q or beyond the grid at %d, %d", file, p.Title, other, x, y)
					}
					taken[cell{x, y}] = p.Title
				}
			}
		}
		if len(taken) != 24*bottom {
			t.Errorf("%s: got %d cells taken of %d, want no gaps", file, len(taken), 24*bottom)
		}
	}
}
