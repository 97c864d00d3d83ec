package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
)

// errorHandler takes what goes wrong inside the SDK. It writes to the console only, one line per kind
// and reportEvery: a dead collector must not fill the log.
type errorHandler struct {
	console *console

	mu    sync.Mutex
	kinds map[string]*repeats // as many as there are error types
}

func (h *errorHandler) Handle(err error) {
	if err == nil || isEnd(err) {
		return
	}
	kind, attrs := describeError(err)
	omitted, ok := h.due(kind, time.Now())
	if !ok {
		return
	}
	if omitted > 0 {
		attrs = append(attrs, slog.Int64("suppressed", omitted))
	}
	slog.New(h.console.only("telemetry", h.console.lines)).LogAttrs(context.Background(), slog.LevelWarn, "telemetry export has trouble", attrs...)
}

// isEnd says whether err is only that a reader was shut down while it collected.
func isEnd(err error) bool {
	_, export := errors.AsType[*exportError](err)
	return !export && errors.Is(err, context.Canceled)
}

func (h *errorHandler) due(kind string, now time.Time) (omitted int64, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.kinds == nil {
		h.kinds = make(map[string]*repeats)
	}
	r := h.kinds[kind]
	if r == nil {
		r = new(repeats)
		h.kinds[kind] = r
	}
	if now.Sub(r.since) < reportEvery {
		r.omitted++
		h.console.limit.total.Add(1)
		return 0, false
	}
	omitted = r.omitted
	*r = repeats{since: now}
	return omitted, true
}

// describeError sorts an error by signal and reason, or by the type at its root.
func describeError(err error) (kind string, attrs []slog.Attr) {
	text := slog.String("error", clip(err.Error(), 300))
	if e, ok := errors.AsType[*exportError](err); ok {
		return e.signal.String() + "/" + e.why.String(), []slog.Attr{
			slog.String("signal", e.signal.String()), slog.String("reason", e.why.String()), text}
	}
	root := err
	for next := errors.Unwrap(root); next != nil; next = errors.Unwrap(root) {
		root = next
	}
	return fmt.Sprintf("%T", root), []slog.Attr{text}
}

// sdkLogger takes the SDK's own log lines, of which OTEL_LOG_LEVEL says how many are wanted.
func sdkLogger(c *console, level string) logr.Logger {
	least := slog.LevelWarn
	switch strings.ToLower(strings.TrimSpace(level)) {
	case "none":
		return logr.Discard()
	case "error":
		least = slog.LevelError
	case "info":
		least = slog.LevelInfo
	case "debug", "trace", "all":
		least = slog.LevelDebug
	}
	return logr.FromSlogHandler(sdkLines{c.limit.over(c.lines), c, least})
}

// sdkLines maps the SDK's verbosities to levels. logr turns verbosity n into slog's level -n; the SDK
// uses 1 for warnings, 4 for information and 8 for debugging.
type sdkLines struct {
	slog.Handler
	console *console
	least   slog.Level
}

func sdkLevel(l slog.Level) slog.Level {
	switch {
	case l >= slog.LevelError:
		return slog.LevelError
	case l > -4:
		return slog.LevelWarn
	case l > -8:
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

func (h sdkLines) Enabled(_ context.Context, l slog.Level) bool {
	return sdkLevel(l) >= h.least && max(sdkLevel(l), slog.LevelInfo) >= h.console.levels.Load().of("telemetry", "")
}

func (h sdkLines) Handle(ctx context.Context, r slog.Record) error {
	r.Level = sdkLevel(r.Level)
	return h.Handler.Handle(ctx, r)
}

func (h sdkLines) WithAttrs(a []slog.Attr) slog.Handler {
	return sdkLines{h.Handler.WithAttrs(a), h.console, h.least}
}
func (h sdkLines) WithGroup(name string) slog.Handler {
	return sdkLines{h.Handler.WithGroup(name), h.console, h.least}
}
