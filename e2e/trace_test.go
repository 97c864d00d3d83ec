//go:build e2e

package e2e

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// trace is one trace as Jaeger has it, spans in the order of their beginning.
type trace struct {
	id       string
	spans    []*span
	resource map[string]any
	document []byte
}

// span is one span. Attributes are string, int64, float64, bool or []string.
type span struct {
	id, parent, name, kind string
	begun, ended           time.Time
	attributes             map[string]any
	failed                 bool // status Error
	message                string
	links                  []string // trace and span id of each
	scope                  string
}

// The parts of OTLP in JSON that are looked at.
type (
	otlpAnswer struct {
		Result struct{ ResourceSpans []otlpResource }
	}
	otlpResource struct {
		Resource   struct{ Attributes []otlpAttribute }
		ScopeSpans []struct {
			Scope struct{ Name string }
			Spans []otlpSpan
		}
	}
	otlpSpan struct {
		TraceID, SpanID, ParentSpanID, Name string
		Kind                                int
		StartTimeUnixNano, EndTimeUnixNano  string
		Attributes                          []otlpAttribute
		Status                              struct {
			Code    int
			Message string
		}
		Links []struct{ TraceID, SpanID string }
	}
	otlpAttribute struct {
		Key   string
		Value otlpValue
	}
	otlpValue struct {
		StringValue *string
		IntValue    *string
		DoubleValue *float64
		BoolValue   *bool
		ArrayValue  *struct{ Values []otlpValue }
	}
)

var kinds = [...]string{"unspecified", "internal", "server", "client", "producer", "consumer"}

const statusError = 2

func parseTrace(id string, document []byte) (*trace, error) {
	t := &trace{id: id, document: document}
	for d := json.NewDecoder(bytes.NewReader(document)); ; {
		var a otlpAnswer
		if err := d.Decode(&a); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		for _, r := range a.Result.ResourceSpans {
			t.resource = attributesOf(r.Resource.Attributes)
			for _, s := range r.ScopeSpans {
				for _, o := range s.Spans {
					t.spans = append(t.spans, o.span(s.Scope.Name))
				}
			}
		}
	}
	if len(t.spans) == 0 {
		return nil, errors.New("no spans")
	}
	slices.SortFunc(t.spans, func(a, b *span) int {
		return cmp.Or(a.begun.Compare(b.begun), b.ended.Compare(a.ended), cmp.Compare(a.name, b.name))
	})
	return t, nil
}

func (o otlpSpan) span(scope string) *span {
	s := &span{
		id: o.SpanID, parent: o.ParentSpanID, name: o.Name, kind: kinds[o.Kind], begun: nano(o.StartTimeUnixNano), ended: nano(o.EndTimeUnixNano),
		attributes: attributesOf(o.Attributes), failed: o.Status.Code == statusError, message: o.Status.Message, scope: scope,
	}
	for _, l := range o.Links {
		s.links = append(s.links, l.TraceID+"/"+l.SpanID)
	}
	return s
}

func nano(text string) time.Time {
	n, _ := strconv.ParseInt(text, 10, 64)
	return time.Unix(0, n).UTC()
}

func attributesOf(list []otlpAttribute) map[string]any {
	m := make(map[string]any, len(list))
	for _, a := range list {
		m[a.Key] = a.Value.value()
	}
	return m
}

func (v otlpValue) value() any {
	switch {
	case v.StringValue != nil:
		return *v.StringValue
	case v.IntValue != nil:
		n, _ := strconv.ParseInt(*v.IntValue, 10, 64)
		return n
	case v.DoubleValue != nil:
		return *v.DoubleValue
	case v.BoolValue != nil:
		return *v.BoolValue
	case v.ArrayValue != nil:
		texts := make([]string, len(v.ArrayValue.Values))
		for i, e := range v.ArrayValue.Values {
			texts[i] = fmt.Sprint(e.value())
		}
		return texts
	}
	return nil
}

func (s *span) took() time.Duration { return s.ended.Sub(s.begun) }

// text and number are attributes, zero where there is none.
func (s *span) text(key string) string {
	v, _ := s.attributes[key].(string)
	return v
}

func (s *span) number(key string) int64 {
	v, _ := s.attributes[key].(int64)
	return v
}

// span is the first of that name, nil without one.
func (t *trace) span(name string) *span {
	i := slices.IndexFunc(t.spans, func(s *span) bool { return s.name == name })
	if i < 0 {
		return nil
	}
	return t.spans[i]
}

// named are all of that name.
func (t *trace) named(name string) []*span {
	var all []*span
	for _, s := range t.spans {
		if s.name == name {
			all = append(all, s)
		}
	}
	return all
}

// root is the span without a parent, nil unless there is exactly one.
func (t *trace) root() *span {
	var root *span
	for _, s := range t.spans {
		if s.parent != "" {
			continue
		}
		if root != nil {
			return nil
		}
		root = s
	}
	return root
}

// String is the waterfall with all it says.
func (t *trace) String() string {
	if t == nil {
		return "nothing there"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "trace %s of %v\n", t.id, t.resource["service.name"])
	zero := t.spans[0].begun
	for _, s := range t.spans {
		fmt.Fprintf(&b, "%s%s  %s  [%v … %v]  %v%s\n", indent(s), s.name, s.kind, s.begun.Sub(zero), s.ended.Sub(zero), s.took(), s.state())
		for _, k := range slices.Sorted(maps.Keys(s.attributes)) {
			fmt.Fprintf(&b, "%s    %s=%v\n", indent(s), k, s.attributes[k])
		}
	}
	return b.String()
}

func indent(s *span) string {
	if s.parent == "" {
		return ""
	}
	return "  "
}

func (s *span) state() string {
	if !s.failed {
		return ""
	}
	return fmt.Sprintf("  Error %q", s.message)
}
