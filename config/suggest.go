package config

import (
	"strings"

	"github.com/agnivade/levenshtein"
)

// closest is the name that was probably meant by text, or "": names spelt very differently are no help.
func closest(text string, names []string) string {
	if len(text) > 64 {
		return ""
	}
	best, least := "", len(text)+1
	for _, name := range names {
		distance := levenshtein.ComputeDistance(fold(text), fold(name))
		if distance < least && near(distance, fold(text), fold(name)) {
			best, least = name, distance
		}
	}
	return best
}

// near allows two slips (swapped neighbours are two) or a third of a long name, but never all of a short one; and a name
// that was cut short or goes on.
func near(distance int, text, name string) bool {
	short, long := min(len(text), len(name)), max(len(text), len(name))
	if distance >= short {
		return false
	}
	cut := distance == long-short && short > 2 && (strings.HasPrefix(text, name) || strings.HasPrefix(name, text))
	return cut || distance <= max(2, long/3)
}

// fold makes preserve-host the same as preserve_host.
func fold(name string) string { return strings.ReplaceAll(strings.ToLower(name), "-", "_") }
