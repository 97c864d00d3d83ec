package main

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	"wsproxy/admin"
	"wsproxy/config"
)

// logs has the admin API show and change what is logged. It implements admin.Logs.
type logs struct {
	*app
	changing sync.Mutex
}

// routeNames are those of the configuration in force.
func (a *app) routeNames() []string {
	return slices.Sorted(maps.Keys(a.current().routes))
}

func (l *logs) LogLevels() admin.LogLevels {
	names := func(table map[string]slog.Level) map[string]string {
		all := make(map[string]string)
		for name, level := range table {
			all[name] = levelName(level)
		}
		return all
	}
	now := l.telemetry.Levels()
	return admin.LogLevels{Level: levelName(now.General), Components: names(now.Components), Routes: names(now.Routes)}
}

func levelName(l slog.Level) string {
	for _, name := range config.LogLevels() {
		if name.Slog() == l {
			return string(name)
		}
	}
	return l.String()
}

// SetLogLevels changes the levels that are given, or none of them.
func (l *logs) SetLogLevels(change admin.LogLevels) error {
	l.changing.Lock()
	defer l.changing.Unlock()
	levels := l.telemetry.Levels()
	if change.Level != "" {
		level, err := parseLevel(change.Level)
		if err != nil {
			return fmt.Errorf("level: %w", err)
		}
		levels.General = level
	}
	if err := setLevels(&levels.Components, change.Components, config.LogComponents()); err != nil {
		return fmt.Errorf("components: %w", err)
	}
	if err := setLevels(&levels.Routes, change.Routes, l.routeNames()); err != nil {
		return fmt.Errorf("routes: %w", err)
	}
	l.telemetry.SetLevels(levels)
	return nil
}

func setLevels(table *map[string]slog.Level, change map[string]string, known []string) error {
	if *table == nil {
		*table = make(map[string]slog.Level)
	}
	for _, name := range slices.Sorted(maps.Keys(change)) {
		if !slices.Contains(known, name) {
			return fmt.Errorf("no %q; there are %s", name, strings.Join(known, ", "))
		}
		if change[name] == "" {
			delete(*table, name)
			continue
		}
		level, err := parseLevel(change[name])
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		(*table)[name] = level
	}
	return nil
}

func parseLevel(name string) (slog.Level, error) {
	known := config.LogLevels()
	if !slices.Contains(known, config.LogLevel(name)) {
		return 0, fmt.Errorf("got %q, want error, warn, notice, info or debug", name)
	}
	return config.LogLevel(name).Slog(), nil
}
