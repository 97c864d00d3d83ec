package telemetry

import (
	"context"
	"log/slog"

	"wsproxy/lifecycle"
)

// debug tells of a phase that has ended, where somebody asked for it.
func (w *watcher) debug(s *lifecycle.Step) {
	ctx := context.Background()
	if !w.tel.steps.Enabled(ctx, slog.LevelDebug) {
		return
	}
	ctx = w.within(ctx)
	f := w.conn.Facts()
	a := lineAttrs{slog.String("id", w.conn.ID)}
	a.text(routeKey, f.Route)
	a.text("phase", s.Phase.String())
	if s.Attempt > 0 {
		a = append(a, slog.Int("attempt", s.Attempt))
	}
	a = append(a, slog.Float64("ms", milliseconds(s.Ended.Sub(s.Begun))))
	a.text("host", s.Host)
	a.text("peer", s.Peer)
	if s.Status != 0 {
		a = append(a, slog.Int("status", s.Status))
	}
	a.text("reason", s.Reason().String())
	if s.Failure != nil && s.Failure.Err != nil {
		a.text("error", s.Failure.Err.Error())
	}
	w.tel.steps.LogAttrs(ctx, slog.LevelDebug, "phase ended", a...)
}
