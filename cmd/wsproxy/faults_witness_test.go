//go:build linux

package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	collectorlogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"wsproxy/internal/otlpsink"
	"wsproxy/lifecycle"
)

// witness is somebody from whom an operator hears how a connection ended.
type witness struct {
	name      string
	testimony func(*stage, ended) ending
	blind     func(*ending) // takes out what it can't know
}

// witnesses are in the order in which they can be asked: spans and log events arrive when the app ends.
var witnesses = []witness{
	{"API", (*stage).events, func(e *ending) { e.kind, e.spans, e.hop, e.class = "", "", "", "" }},
	{"metrics", (*stage).series, func(e *ending) {
		e.status, e.spans, e.hop, e.code, e.clean, e.truncated, e.unnotified = 0, "", "", 0, false, false, false
	}},
	{"log line", (*stage).line, func(e *ending) { e.spans, e.hop, e.class = "", "", "" }},
	{"log event", (*stage).event, func(e *ending) { e.kind, e.spans, e.hop, e.class = "", "", "", "" }},
	{"spans", (*stage).spans, func(e *ending) { e.kind, e.class = "", "" }},
}

// events is what the admin API tells.
func (s *stage) events(c ended) (e ending) {
	resp, err := http.Get("http://" + s.adminAddr.Addr().String() + "/api/events?limit=256")
	if err != nil {
		s.t.Error(err)
		return e
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer resp.Body.Close()
	var page struct {
		Items []struct {
			Connection struct {
				ID    string
				Close *struct {
					Cause, Initiator, Leg string
					Code                  int
					Clean                 bool
					FrameTruncated        bool `json:"frame_truncated"`
					TLSTruncated          bool `json:"tls_truncated"`
				}
			}
			Failure *struct {
				Phase, Reason string
				Status        int
			}
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&page); err != nil {
		s.t.Error(err)
	}
	for _, v := range page.Items {
		if v.Connection.ID != c.ID {
			continue
		}
		if f := v.Failure; f != nil {
			e.phase, e.reason, e.status = f.Phase, f.Reason, f.Status
		} else if f := v.Connection.Close; f != nil {
			e.cause, e.initiator, e.leg, e.code, e.clean = f.Cause, f.Initiator, f.Leg, f.Code, f.Clean
			e.truncated, e.unnotified = f.FrameTruncated, f.TLSTruncated
		}
	}
	return e
}

// series is what /metrics has counted.
func (s *stage) series(ended) (e ending) {
	all := s.scraped()
	if f := s.once(all.by("wsproxy_phase_duration_seconds_count", "wsproxy_phase_name", "error_type")); f != nil {
		e.phase, e.reason = f[0], f[1]
	}
	if f := s.once(all.by("wsproxy_connection_closes_total", "wsproxy_close_cause", "wsproxy_close_initiator", "wsproxy_close_code_class")); f != nil {
		e.cause, e.initiator, e.class = f[0], f[1], f[2]
	}
	if f := s.once(all.by("wsproxy_connection_closes_total", "wsproxy_close_leg")); f != nil {
		e.leg = f[0]
	}
	for kind, labels := range map[string][]string{"failed": {"wsproxy_phase_name", "error_type"}, "rejected": {"error_type"}} {
		f := s.once(all.by("wsproxy_connection_"+kind+"_total", labels...))
		if f == nil {
			continue
		}
		if e.kind += kind; !strings.HasSuffix(e.phase+" "+e.reason, strings.Join(f, " ")) {
			s.t.Errorf("metrics: got %q among %s connections, and %s in %s among phases", f, kind, e.reason, e.phase)
		}
	}
	return e
}

// once is the values of the one series that has counted, and has counted one; nil if none has.
func (s *stage) once(by map[string]int) (values []string) {
	for key, n := range by {
		if n != 1 || values != nil {
			s.t.Errorf("metrics: got %v, want one", by)
		}
		values = strings.Fields(key)
	}
	return values
}

// line is what the log says.
func (s *stage) line(c ended) (e ending) {
	for text := range strings.Lines(s.console.String()) {
		var l struct {
			ID, Msg, Phase, Reason, Cause, Initiator, Leg string
			Status, Code                                  int
			Clean                                         bool
			FrameTruncated                                bool `json:"frame_truncated"`
			TLSTruncated                                  bool `json:"tls_truncated"`
		}
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			s.t.Errorf("the log has %q: %v", text, err)
		}
		if l.ID != c.ID {
			continue
		}
		e = ending{phase: l.Phase, reason: l.Reason, cause: l.Cause, initiator: l.Initiator, leg: l.Leg, code: l.Code, clean: l.Clean}
		e.truncated, e.unnotified = l.FrameTruncated, l.TLSTruncated
		if l.Reason != "" {
			e.kind, e.status = strings.TrimPrefix(l.Msg, "connection "), l.Status
		}
	}
	return e
}

// event is the log event that the collector has.
func (s *stage) event(c ended) (e ending) {
	s.end() // which sends it
	for _, r := range recordsIn(s.t, s.sink) {
		a := attributes(r.Attributes)
		if a.text("wsproxy.connection.id") != c.ID {
			continue
		}
		switch r.EventName {
		case "wsproxy.connection.failed":
			e.phase, e.reason, e.status = a.text("wsproxy.phase.name"), a.text("error.type"), a.int("http.response.status_code")
		case "wsproxy.connection.closed":
			e = a.close()
		}
	}
	return e
}

// spans are those of the connection's trace.
func (s *stage) spans(c ended) (e ending) {
	s.end()
	all := traceOf(c.ID, spansIn(s.t, s.sink))
	var failed []string
	hop := ""
	for _, span := range all {
		a, name := attributes(span.Attributes), span.Name
		if span.Kind == tracepb.Span_SPAN_KIND_SERVER && name != "request" {
			name = "SERVER"
		}
		if span.GetStatus().GetCode() == tracepb.Status_STATUS_CODE_ERROR {
			failed = append(failed, name)
			hop = cmp.Or(a.text("wsproxy.dial.hop"), a.text("wsproxy.tls.peer"))
		}
		root := len(span.ParentSpanId) == 0
		switch {
		case strings.HasSuffix(name, " close"):
			e = a.close()
		case root && a.text("error.type") != "":
			e.phase, e.reason, e.status = a.text("wsproxy.phase.name"), a.text("error.type"), a.int("http.response.status_code")
			if name == "TLS server handshake" { // there is no other phase with this name
				e.phase = lifecycle.PhaseTLSAccept.String()
			}
		case a.text("error.type") != "" && a.text("error.type") != c.Failure.Reason.String():
			s.t.Errorf("span %s: got error.type %s", name, a.text("error.type"))
		}
	}
	e.spans, e.hop = strings.Join(failed, ", "), hop
	return e
}

// attributes are those of a span or log record.
type attributes []*commonpb.KeyValue

func (a attributes) value(key string) *commonpb.AnyValue {
	for _, kv := range a {
		if kv.Key == key {
			return kv.Value
		}
	}
	return nil
}

func (a attributes) text(key string) string { return a.value(key).GetStringValue() }
func (a attributes) int(key string) int     { return int(a.value(key).GetIntValue()) }
func (a attributes) flag(key string) bool   { return a.value(key).GetBoolValue() }

func (a attributes) close() ending {
	return ending{
		cause: a.text("wsproxy.close.cause"), initiator: a.text("wsproxy.close.initiator"), leg: a.text("wsproxy.close.leg"),
		code: a.int("wsproxy.close.code"), clean: a.flag("wsproxy.close.clean"),
		truncated: a.flag("wsproxy.close.frame_truncated"), unnotified: a.flag("wsproxy.close.tls_truncated"),
	}
}

// recordsIn are all log records that a sink got by now.
func recordsIn(t *testing.T, sink *otlpsink.Sink) (all []*logspb.LogRecord) {
	t.Helper()
	var found collectorlogs.ExportLogsServiceRequest
	if err := proto.Unmarshal(sink.Got(otlpsink.Logs), &found); err != nil {
		t.Fatal(err)
	}
	for _, r := range found.ResourceLogs {
		for _, scope := range r.ScopeLogs {
			all = append(all, scope.LogRecords...)
		}
	}
	return all
}

// traceOf is the trace of a connection, by the begin of its spans.
func traceOf(connection string, spans []*tracepb.Span) (all []*tracepb.Span) {
	var id []byte
	for _, s := range spans {
		if attributes(s.Attributes).text("wsproxy.connection.id") == connection {
			id = s.TraceId
		}
	}
	for _, s := range spans {
		if bytes.Equal(s.TraceId, id) {
			all = append(all, s)
		}
	}
	slices.SortStableFunc(all, func(a, b *tracepb.Span) int {
		if order := cmp.Compare(a.StartTimeUnixNano, b.StartTimeUnixNano); order != 0 {
			return order
		}
		return bytes.Compare(a.ParentSpanId, b.ParentSpanId) // the root has none
	})
	return all
}
