// Command dashboards writes Grafana's dashboards as files. It knows nothing of Grafana's provisioning, which is
// configured beside them.
//
//	go run ./dashboards grafana/dashboards
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: dashboards FOLDER")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "dashboards:", err)
		os.Exit(1)
	}
}

func write(folder string) error {
	files, err := generate()
	if err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// generate returns each dashboard's file, by the file's name.
func generate() (map[string][]byte, error) {
	files := make(map[string][]byte)
	for name, build := range map[string]*dashboard.DashboardBuilder{
		"overview.json":  overview(),
		"phases.json":    phases(),
		"traffic.json":   traffic(),
		"process.json":   process(),
		"upstreams.json": upstreams(),
	} {
		text, err := encode(build)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		files[name] = text
	}
	return files, nil
}

func encode(build *dashboard.DashboardBuilder) ([]byte, error) {
	built, err := build.Build()
	if err != nil {
		return nil, err
	}
	identify(built.Panels)
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false) // queries compare
	e.SetIndent("", "  ")
	err = e.Encode(built)
	return text.Bytes(), err
}

// identify gives panels their ids, so that links to one hold as long as it keeps its place.
func identify(panels []dashboard.PanelOrRowPanel) {
	for i, p := range panels {
		if p.Panel != nil {
			p.Panel.Id = new(uint32(i + 1))
		} else {
			p.RowPanel.Id = uint32(i + 1)
		}
	}
}
