package config

import "testing"

func TestSize(t *testing.T) {
	f := field{least: "1", most: "1TiB", off: true}
	for _, c := range []struct {
		text string
		want Size
		hint string // of a text that is none
	}{
		{"off", 0, ""}, {"1", 1, ""}, {"125B", 125, ""}, {"64KiB", 64 << 10, ""}, {"1 MiB", 1 << 20, ""}, {"2GiB", 2 << 30, ""}, {"1TiB", 1 << 40, ""},
		{"1MB", -1, "1MiB"}, {"1m", -1, "1MiB"}, {"3kb", -1, "3KiB"}, {"0", -1, ""}, {"2TiB", -1, ""}, {"-1", -1, ""}, {"1.5MiB", -1, ""},
		{"99999999999TiB", -1, ""}, {"", -1, ""}, {"MiB", -1, ""}, {"1iB", -1, ""},
	} {
		got := Size(-1)
		err := f.setSize(&got, c.text)
		if got != c.want {
			t.Errorf("%q: got %d, want %d", c.text, got, c.want)
		}
		if w, ok := err.(*wanted); ok != (c.want < 0) || ok && w.suggestion != c.hint {
			t.Errorf("%q: got %v, want a problem: %t, with suggestion %q", c.text, err, c.want < 0, c.hint)
		}
	}
}
