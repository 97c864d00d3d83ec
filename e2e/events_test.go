//go:build e2e

package e2e

import (
	"bytes"
	"strings"
)

// event is a log record as the collector's debug exporter tells of it in detail.
type event struct {
	service    string
	name       string // of the event; empty for a plain line
	attributes map[string]string
}

// parseEvents reads the collector's output. A record belongs to the resource told before it.
func parseEvents(output []byte) []*event {
	var all []*event
	var service, section string
	for raw := range bytes.Lines(output) {
		text := strings.TrimRight(string(raw), "\r\n")
		switch {
		case strings.Contains(text, "ResourceLog #"):
			service = ""
		case strings.HasPrefix(text, "LogRecord #"):
			all = append(all, &event{service: service, attributes: make(map[string]string)})
		case strings.HasPrefix(text, "EventName: ") && len(all) > 0:
			all[len(all)-1].name = strings.TrimPrefix(text, "EventName: ")
		case strings.HasPrefix(text, "     -> "):
			key, value, _ := strings.Cut(strings.TrimPrefix(text, "     -> "), ": ")
			if _, inner, ok := strings.Cut(strings.TrimSuffix(value, ")"), "("); ok {
				value = inner
			}
			if section == "Resource attributes:" && key == "service.name" {
				service = value
			}
			if section == "Attributes:" && len(all) > 0 {
				all[len(all)-1].attributes[key] = value
			}
			continue
		}
		section = text
	}
	return all
}
