package telemetry

import (
	"bytes"
	"context"
	"log/slog"
	"math"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// What is written is what slog would write.
func TestLinesOfConnectionsAreSlogs(t *testing.T) {
	sc := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
	for _, test := range []struct {
		name  string
		attrs []slog.Attr
		sc    trace.SpanContext
	}{
		{"nothing", nil, trace.SpanContext{}},
		{"a span", nil, sc},
		{"numbers", []slog.Attr{slog.Int("i", -5), slog.Uint64("u", math.MaxUint64), slog.Bool("b", true), slog.Float64("zero", 0), slog.Float64("ms", 0.001), slog.Float64("day", 86400000.123)}, sc},
		{"a group", []slog.Attr{slog.GroupAttrs("g", slog.Int("a", 1), slog.String("b", "x")), slog.String("behind", "y")}, sc},
		{"text", []slog.Attr{slog.String("t", "a <b> & 'c' /d?e=f"), slog.String("", "no key")}, sc},
		{"a secret", []slog.Attr{slog.String("error", "dial ws://user:pass@host/path?token=x: no")}, sc},
		{"odd text", []slog.Attr{slog.String("t", "\"\\\n\r\t\x00\x1b\u2028 \xff é 日本 \U0001F600")}, sc},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, level := range []slog.Level{slog.LevelInfo, LevelNotice} {
				var want, got bytes.Buffer
				at := time.Date(2026, 5, 4, 3, 2, 1, 123456700, time.FixedZone("x", 3600))
				r := slog.NewRecord(at, level, "connection \"closed\"", 0)
				r.AddAttrs(test.attrs...)
				h := redacting{identified{slog.NewJSONHandler(&want, &slog.HandlerOptions{ReplaceAttr: levelNames})}}
				if err := h.WithAttrs([]slog.Attr{slog.String(componentKey, accessComponent)}).Handle(trace.ContextWithSpanContext(context.Background(), test.sc), r); err != nil {
					t.Fatal(err)
				}
				lines := &accessLines{to: &shared{w: &got}}
				lines.add(at, level, "connection \"closed\"", test.attrs, test.sc)
				lines.flush()
				if got.String() != want.String() {
					t.Errorf("got %s, want %s", got.String(), want.String())
				}
			}
		})
	}
}

func TestLinesOfConnectionsAreWrittenTogether(t *testing.T) {
	var w counting
	lines := &accessLines{to: &shared{w: &w}}
	for range 100 {
		lines.add(time.Now(), slog.LevelInfo, "x", nil, trace.SpanContext{})
	}
	lines.flush()
	lines.flush()
	if w.writes != 1 {
		t.Errorf("got %d writes, want 1", w.writes)
	}
	for range accessBuffer / 60 {
		lines.add(time.Now(), slog.LevelInfo, "x", nil, trace.SpanContext{})
	}
	if w.writes < 2 || len(lines.buf) > accessBuffer {
		t.Errorf("got %d writes and %d bytes waiting, want at most %d waiting", w.writes, len(lines.buf), accessBuffer)
	}
}

type counting struct{ writes int }

func (c *counting) Write(b []byte) (int, error) {
	c.writes++
	return len(b), nil
}
