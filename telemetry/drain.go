package telemetry

import (
	"context"

	"go.opentelemetry.io/otel/codes"
)

// Drain is a drain of open connections.
type Drain struct {
	Route, Upstream string  // that it is limited to; empty: every one
	Share           float64 // of those connections; 0: all
	Connections     int     // asked to leave
}

// Drain makes the span of a drain that begins now. ended is called once, with how many connections had to be
// cut off.
func (t *Telemetry) Drain(d Drain) (ended func(cut int)) {
	if t.tracer == nil {
		return func(int) {}
	}
	_, span := t.tracer.Start(context.Background(), spanWsproxyDrain)
	l := list{keyDrainConnections.Int(d.Connections)}
	l.string(keyRouteName, d.Route)
	l.string(keyUpstreamName, d.Upstream)
	if d.Share > 0 {
		l = append(l, keyDrainShare.Float64(d.Share))
	}
	span.SetAttributes(l...)
	return func(cut int) {
		span.SetAttributes(keyDrainCut.Int(cut))
		if cut > 0 {
			span.SetStatus(codes.Error, "connections were cut off")
		}
		span.End()
	}
}
