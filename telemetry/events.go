package telemetry

import (
	"context"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

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

func (w *watcher) openedEvent(at time.Time) {
	if w.tel.events == nil {
		return
	}
	l := w.tel.events.list()
	w.eventAttributes(l)
	w.tel.events.emit(at, w.server, eventConnectionOpened, slog.LevelInfo, *l)
	w.tel.events.release(l)
}

// endedEvent emits the event of a connection that is over.
func (w *watcher) endedEvent(o *lifecycle.Outcome, level slog.Level, phases []phaseTime) {
	if w.tel.events == nil {
		return
	}
	l := w.tel.events.list()
	defer w.tel.events.release(l)
	w.eventAttributes(l)
	l.int(keyHTTPResponseStatusCode, o.Status)
	for _, p := range phases {
		*l = append(*l, phaseKeys[p.phase].Float64(p.took.Seconds()))
	}
	if o.Failure != nil {
		l.string(keyPhaseName, o.Failure.Phase.String())
		l.failure(o.Failure.Reason)
		w.tel.events.emit(o.At, w.server, eventConnectionFailed, level, *l)
		return
	}
	*l = append(*l, keyConnectionDuration.Float64(o.At.Sub(w.conn.Opened()).Seconds()))
	l.close(o.Close)
	l.string(keyFraming, w.conn.Facts().Framing)
	l.totals(o, w.tunnel)
	w.tel.events.emit(o.At, w.server, eventConnectionClosed, level, *l)
}

func (w *watcher) eventAttributes(l *list) {
	f := w.conn.Facts()
	l.string(keyConnectionID, w.conn.ID)
	l.string(keyMode, f.Mode.String())
	l.string(keyRouteName, f.Route)
	l.string(keyUpstreamName, f.Upstream)
	l.text(keyTargetName, f.Target)
	l.string(keyEgressName, f.Egress)
	l.client(f.Client)
	l.string(keyIdentityHash, f.Identity)
	l.string(keyUpstreamAddress, w.peer)
	l.string(keyTunnelProtocol, f.Tunnel.String())
	l.text(keyTunnelServerName, f.ServerName)
	l.flag(keyTunnelIntercepted, f.Intercepted)
	l.text(keyURLPath, f.Path)
	l.text(keyWebsocketSubprotocol, f.Subprotocol)
	l.text(keyWebsocketExtensions, f.Extensions)
}

// dropping tells that telemetry is lost.
func (t *Telemetry) dropping(s signal, why loss, n int64) {
	ctx := context.Background()
	t.exports.LogAttrs(ctx, slog.LevelWarn, "telemetry is being lost",
		slog.String("signal", s.String()), slog.String("reason", why.String()), slog.Int64("items", n))
	t.events.emit(time.Now(), trace.SpanContext{}, eventTelemetryDropping, slog.LevelWarn, list{
		keySignal.String(s.String()), keyErrorType.String(why.String()), keyTelemetryDroppedItems.Int64(n)})
}
