package telemetry

import (
	"context"
	"net/http"
	"slices"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"

	"wsproxy/lifecycle"
)

// propagator is OTEL_PROPAGATORS' (W3C trace context and baggage by default). With tracing off, or
// with no propagators, it leaves headers as they are, so that the client's context passes through.
type propagator struct {
	of      propagation.TextMapPropagator
	on      bool // telemetry has traces
	injects bool // of has fields to inject
}

func newPropagator(of propagation.TextMapPropagator, on bool) *propagator {
	return &propagator{of: of, on: on, injects: on && len(of.Fields()) > 0}
}

// fields are the headers of every format that can be configured. One that is not ours must not
// contradict the one that is.
var fields = []string{
	"Traceparent", "Tracestate", "Baggage",
	"B3", "X-B3-Traceid", "X-B3-Spanid", "X-B3-Parentspanid", "X-B3-Sampled", "X-B3-Flags",
	"Uber-Trace-Id", "X-Amzn-Trace-Id", "Ot-Tracer-Traceid", "Ot-Tracer-Spanid", "Ot-Tracer-Sampled",
}

func (p *propagator) Extract(ctx context.Context, h http.Header) context.Context {
	if !p.on {
		return ctx
	}
	return p.of.Extract(ctx, propagation.HeaderCarrier(h))
}

// Inject replaces whatever trace context h has by ctx's, and its baggage by what of ctx's may go on.
func (p *propagator) Inject(ctx context.Context, h http.Header) {
	if !p.injects {
		return
	}
	for _, f := range fields {
		delete(h, f)
	}
	p.of.Inject(withAllowedBaggage(ctx), propagation.HeaderCarrier(h))
}

// withAllowedBaggage is ctx without the baggage that may not go on.
func withAllowedBaggage(ctx context.Context) context.Context {
	incoming := baggage.FromContext(ctx)
	if incoming.Len() == 0 {
		return ctx
	}
	kept, allowed := baggage.Baggage{}, lifecycle.AllowedBaggage(ctx)
	for _, m := range incoming.Members() {
		if !slices.Contains(allowed, m.Key()) {
			continue
		}
		if more, err := kept.SetMember(m); err == nil { // of a baggage that was within its limits
			kept = more
		}
	}
	return baggage.ContextWithBaggage(ctx, kept)
}
