package telemetry

import (
	"context"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"

	"wsproxy/lifecycle"
)

// phaseKeys are the attributes of phases' durations, by phase.
var phaseKeys = [...]attribute.Key{
	lifecycle.PhaseTLSAccept: keyPhaseTLSAcceptDuration,
	lifecycle.PhaseRequest:   keyPhaseRequestDuration,
	lifecycle.PhaseRoute:     keyPhaseRouteDuration,
	lifecycle.PhaseDNS:       keyPhaseDNSDuration,
	lifecycle.PhaseConnect:   keyPhaseConnectDuration,
	lifecycle.PhaseProxy:     keyPhaseProxyDuration,
	lifecycle.PhaseTLS:       keyPhaseTLSDuration,
	lifecycle.PhaseUpgrade:   keyPhaseUpgradeDuration,
	lifecycle.PhaseTransfer:  keyPhaseTransferDuration,
	lifecycle.PhaseClose:     keyPhaseCloseDuration,
}

func (w *watcher) openedEvent(ctx context.Context) {
	if w.tel.events != nil {
		w.tel.emit(ctx, eventConnectionOpened, slog.LevelInfo, w.eventAttributes())
	}
}

// ended emits the event of a connection that is over.
func (w *watcher) ended(ctx context.Context, o *lifecycle.Outcome, level slog.Level, phases []phaseTime) {
	if w.tel.events == nil {
		return
	}
	l := w.eventAttributes()
	l.int(keyHTTPResponseStatusCode, o.Status)
	for _, p := range phases {
		l = append(l, phaseKeys[p.phase].Float64(p.took.Seconds()))
	}
	if o.Failure != nil {
		l.string(keyPhaseName, o.Failure.Phase.String())
		l.failure(o.Failure.Reason)
		w.tel.emit(ctx, eventConnectionFailed, level, l)
		return
	}
	l = append(l, keyConnectionDuration.Float64(o.At.Sub(w.conn.Opened()).Seconds()))
	l.close(o.Close)
	l.string(keyFraming, w.conn.Facts().Framing)
	l.totals(o)
	w.tel.emit(ctx, eventConnectionClosed, level, l)
}

func (w *watcher) eventAttributes() list {
	f := w.conn.Facts()
	l := make(list, 0, 40)
	l.string(keyConnectionID, w.conn.ID)
	l.string(keyMode, f.Mode.String())
	l.string(keyRouteName, f.Route)
	l.string(keyUpstreamName, f.Upstream)
	l.string(keyTargetName, f.Target)
	l.string(keyEgressName, f.Egress)
	l.client(f.Client)
	l.string(keyUpstreamAddress, w.peer)
	l.text(keyURLPath, f.Path)
	l.text(keyWebsocketSubprotocol, f.Subprotocol)
	l.text(keyWebsocketExtensions, f.Extensions)
	return l
}

// emit sends a log event to the collector, if there is one.
func (t *Telemetry) emit(ctx context.Context, name string, level slog.Level, attrs list) {
	if t.events == nil {
		return
	}
	var r log.Record
	r.SetEventName(name)
	r.SetTimestamp(time.Now())
	r.SetSeverity(log.Severity(int(level) + int(log.SeverityInfo)))
	r.SetSeverityText(severityText(level))
	r.AddAttributes(attrs...)
	t.events.Emit(ctx, r)
}

func severityText(l slog.Level) string {
	if l == LevelNotice {
		return "NOTICE"
	}
	return l.String()
}

// dropping tells that telemetry is lost.
func (t *Telemetry) dropping(s signal, why loss, n int64) {
	ctx := context.Background()
	t.lines.LogAttrs(ctx, slog.LevelWarn, "telemetry is being lost",
		slog.String("signal", s.String()), slog.String("reason", why.String()), slog.Int64("items", n))
	t.emit(ctx, eventTelemetryDropping, slog.LevelWarn, list{
		keySignal.String(s.String()), keyErrorType.String(why.String()), keyTelemetryDroppedItems.Int64(n)})
}
