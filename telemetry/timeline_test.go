package telemetry

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

// timeline prints spans as trees, with times since the earliest and without ids.
func timeline(spans tracetest.SpanStubs) string {
	spans = slices.Clone(spans)
	slices.SortStableFunc(spans, func(a, b tracetest.SpanStub) int { return a.StartTime.Compare(b.StartTime) })
	if len(spans) == 0 {
		return "no spans\n"
	}
	p := printer{spans: spans, zero: spans[0].StartTime, ids: make(map[trace.SpanID]string)}
	for i, s := range spans {
		p.ids[s.SpanContext.SpanID()] = fmt.Sprintf("#%d", i+1)
	}
	for _, s := range spans {
		if _, known := p.ids[s.Parent.SpanID()]; !known {
			p.print(s, 0)
		}
	}
	return p.out.String()
}

type printer struct {
	spans tracetest.SpanStubs
	zero  time.Time
	ids   map[trace.SpanID]string
	out   strings.Builder
}

func (p *printer) print(s tracetest.SpanStub, depth int) {
	indent := strings.Repeat("  ", depth)
	fmt.Fprintf(&p.out, "%s%s %s %s [%s … %s]", indent, p.ids[s.SpanContext.SpanID()], s.SpanKind, s.Name, s.StartTime.Sub(p.zero), s.EndTime.Sub(p.zero))
	if s.Status.Code != codes.Unset {
		fmt.Fprintf(&p.out, " %s %q", s.Status.Code, s.Status.Description)
	}
	if s.Parent.IsRemote() {
		fmt.Fprintf(&p.out, " parent=%s/%s", s.Parent.TraceID(), s.Parent.SpanID())
	}
	for _, l := range s.Links {
		if id, ok := p.ids[l.SpanContext.SpanID()]; ok {
			fmt.Fprintf(&p.out, " link=%s", id)
		} else {
			fmt.Fprintf(&p.out, " link=%s/%s", l.SpanContext.TraceID(), l.SpanContext.SpanID())
		}
	}
	p.out.WriteByte('\n')
	slices.SortFunc(s.Attributes, func(a, b attribute.KeyValue) int { return strings.Compare(string(a.Key), string(b.Key)) })
	for _, a := range s.Attributes {
		fmt.Fprintf(&p.out, "%s    %s=%s\n", indent, a.Key, a.Value.String())
	}
	for _, c := range p.spans {
		if c.Parent.SpanID() == s.SpanContext.SpanID() && c.Parent.SpanID().IsValid() {
			p.print(c, depth+1)
		}
	}
}
