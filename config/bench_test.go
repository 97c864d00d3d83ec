package config

import (
	"fmt"
	"strings"
	"testing"
)

// A file of the largest size is read in a moment, right or wrong.
func BenchmarkParseLargest(b *testing.B) {
	for name, upstream := range map[string]string{"right": "u", "wrong": "v"} {
		b.Run(name, func(b *testing.B) {
			var text strings.Builder
			text.WriteString("listeners: [{ address: \":8080\" }]\nroutes:\n")
			for i := range 9000 {
				fmt.Fprintf(&text, "- { name: r%d, match: \"/m%d/{x}\", upstream: %s%d }\n", i, i, upstream, i)
			}
			text.WriteString("upstreams:\n")
			for i := range 9000 {
				fmt.Fprintf(&text, "- { name: u%d, targets: [\"ws://h\"] }\n", i)
			}
			for b.Loop() {
				if _, err := Parse("x", []byte(text.String()), noEnv); (err == nil) != (name == "right") {
					b.Fatalf("got %.100v", err)
				}
			}
		})
	}
}
