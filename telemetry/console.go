package telemetry

import (
	"context"
	"io"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/contrib/bridges/otelslog"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/trace"
)

// console is where lines go that a person reads.
type console struct {
	levels atomic.Pointer[Levels]
	limit  *suppressor
	lines  slog.Handler // with trace ids; whatever the levels say

	access *accessLines // nil: lines of connections go through lines, too
}

func newConsole(l Log) *console {
	c := &console{limit: newSuppressor()}
	c.levels.Store((&Levels{l.Level, l.Components, l.Routes}).clone())
	opts := &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: levelNames}
	out := &shared{w: l.Writer}
	var h slog.Handler
	if l.Format == "text" || (l.Format == "" && isTerminal(l.Writer)) {
		h = slog.NewTextHandler(out, opts)
	} else {
		h = slog.NewJSONHandler(out, opts)
		c.access = &accessLines{to: out}
	}
	c.lines = redacting{identified{h}}
	return c
}

// only returns the handler of a component that writes to the console and nowhere else: for what is about
// the export itself, which must not feed it, and for lines whose exported form is a log event.
func (c *console) only(component string, lines slog.Handler) slog.Handler {
	return leveled{Handler: lines, console: c}.WithAttrs([]slog.Attr{slog.String(componentKey, component)})
}

// logger is only, without what repeats.
func (c *console) logger(component string) *slog.Logger {
	return slog.New(c.only(component, c.limit.over(c.lines)))
}

// accessComponent is the component that access lines are of.
const accessComponent = "access"

// connection writes an access line of the span that sc names, if enabled has said that it may be. It may
// be written later, with others, but no later than flush.
func (c *console) connection(sc trace.SpanContext, level slog.Level, message string, attrs []slog.Attr) {
	if c.access != nil {
		c.access.add(time.Now(), level, message, attrs, sc)
		return
	}
	ctx := trace.ContextWithSpanContext(context.Background(), sc)
	c.logger(accessComponent).LogAttrs(ctx, level, message, attrs...)
}

// enabled says whether access lines of a route are written.
func (c *console) enabled(at slog.Level, route string) bool {
	return at >= c.levels.Load().of(accessComponent, route)
}

func (c *console) flush() { c.access.flush() }

// newHandler writes to the console and, if there is a provider, to the collector. What repeats is held
// back from both.
func newHandler(c *console, p log.LoggerProvider, version string) slog.Handler {
	sink := c.lines
	if p != nil {
		bridge := otelslog.NewHandler(scopeName, otelslog.WithLoggerProvider(p), otelslog.WithVersion(version), otelslog.WithSchemaURL(schemaURL))
		sink = slog.NewMultiHandler(c.lines, redacting{bridge})
	}
	return leveled{Handler: c.limit.over(sink), console: c}
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
