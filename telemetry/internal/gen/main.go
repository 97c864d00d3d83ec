// Gen makes names.go, instruments.go, a table for tests and docs/telemetry.md from telemetry/schema.yaml. It runs in the
// telemetry folder, by go generate.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if err := run("."); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

// run writes every output of the schema in folder dir.
func run(dir string) error {
	files, err := generate(dir)
	if err != nil {
		return err
	}
	for name, content := range files {
		if err := os.WriteFile(name, content, 0o644); err != nil {
			return fmt.Errorf("write output: %w", err)
		}
	}
	return nil
}

// generate returns the outputs by file name.
func generate(dir string) (map[string][]byte, error) {
	s, err := load(filepath.Join(dir, "schema.yaml"))
	if err != nil {
		return nil, err
	}
	names, err := names(s)
	if err != nil {
		return nil, err
	}
	instruments, err := instruments(s)
	if err != nil {
		return nil, err
	}
	table, err := table(s)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{
		filepath.Join(dir, "table_test.go"):              table,
		filepath.Join(dir, "names.go"):                   names,
		filepath.Join(dir, "instruments.go"):             instruments,
		filepath.Join(dir, "..", "docs", "telemetry.md"): markdown(s),
	}, nil
}
