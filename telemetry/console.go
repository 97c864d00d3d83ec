package telemetry

import (
	"context"
	"io"
	"log/slog"
	"os"

	"go.opentelemetry.io/contrib/bridges/otelslog"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/trace"
)

// console is where lines go that a person reads.
type console struct {
	level slog.LevelVar
	limit *suppressor
	lines slog.Handler // with trace ids and the limit on repetition
}

func newConsole(l Log) *console {
	c := &console{limit: newSuppressor()}
	c.level.Set(l.Level)
	opts := &slog.HandlerOptions{Level: &c.level, ReplaceAttr: levelNames}
	var h slog.Handler
	if l.Format == "text" || (l.Format == "" && isTerminal(l.Writer)) {
		h = slog.NewTextHandler(l.Writer, opts)
	} else {
		h = slog.NewJSONHandler(l.Writer, opts)
	}
	c.lines = identified{h}
	return c
}

// logger writes to the console only: for what is about the export itself, which must not feed it, and
// for lines whose exported form is a log event.
func (c *console) logger() *slog.Logger { return slog.New(c.limit.over(c.lines)) }

// newHandler writes to the console and, if there is a provider, to the collector. What repeats is held
// back from both.
func newHandler(c *console, p log.LoggerProvider, version string) slog.Handler {
	if p == nil {
		return c.limit.over(c.lines)
	}
	bridge := otelslog.NewHandler(scopeName, otelslog.WithLoggerProvider(p), otelslog.WithVersion(version), otelslog.WithSchemaURL(schemaURL))
	return c.limit.over(slog.NewMultiHandler(c.lines, leveled{bridge, &c.level}))
}

// leveled gives a handler a least level.
type leveled struct {
	slog.Handler
	least slog.Leveler
}

func (h leveled) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= h.least.Level() && h.Handler.Enabled(ctx, l)
}

func (h leveled) WithAttrs(a []slog.Attr) slog.Handler {
	return leveled{h.Handler.WithAttrs(a), h.least}
}
func (h leveled) WithGroup(name string) slog.Handler {
	return leveled{h.Handler.WithGroup(name), h.least}
}

// identified adds the ids of ctx's span to a line.
type identified struct{ slog.Handler }

func (h identified) Handle(ctx context.Context, r slog.Record) error {
	if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
		r = r.Clone()
		r.AddAttrs(slog.String("trace_id", sc.TraceID().String()), slog.String("span_id", sc.SpanID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

func (h identified) WithAttrs(a []slog.Attr) slog.Handler { return identified{h.Handler.WithAttrs(a)} }
func (h identified) WithGroup(name string) slog.Handler   { return identified{h.Handler.WithGroup(name)} }

// levelNames shows slog's level 1 as NOTICE.
func levelNames(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.LevelKey && a.Value.Any() == LevelNotice {
		a.Value = slog.StringValue("NOTICE")
	}
	return a
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
