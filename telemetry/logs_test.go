package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"wsproxy/lifecycle"
)

// lines are the JSON lines on the console.
func (h *harness) lines(t *testing.T) []map[string]any {
	t.Helper()
	var list []map[string]any
	d := json.NewDecoder(bytes.NewReader(h.console.Bytes()))
	for d.More() {
		var line map[string]any
		if err := d.Decode(&line); err != nil {
			t.Fatal(err)
		}
		list = append(list, line)
	}
	return list
}

func TestAccessLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Settings{Log: Log{Opened: true}})
		var traces []string
		for _, name := range []string{"wss_through_connect", "reset", "failed_dns", "rejected", "failed_tls_accept", "unused", "dismissed"} {
			i := slices.IndexFunc(timelines, func(x struct {
				name     string
				settings Settings
				play     func(*script)
			}) bool {
				return x.name == name
			})
			s := h.accept("203.0.113.7:51000")
			timelines[i].play(s)
			traces = append(traces, s.c.TraceID(), fmt.Sprint(s.c.TraceID() != ""))
		}
		var out strings.Builder
		for _, line := range h.lines(t) {
			if id, _ := line["trace_id"].(string); !slices.Contains(traces, id) {
				t.Errorf("trace id: got %q, want a connection's", id)
			}
			delete(line, "trace_id")
			delete(line, "span_id")
			delete(line, "time")
			text, _ := json.Marshal(line) // sorts the keys
			fmt.Fprintf(&out, "%s\n", text)
		}
		h.close()
		golden(t, "access.jsonl", out.String())
	})
}

func TestLogEventsHaveTheConnectionsSpan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var y lifecycle.System
		h := newHarness(t, Settings{System: &y})
		y.Enter(lifecycle.StateCreated, "")
		s := h.accept("203.0.113.7:51000")
		s.head()
		s.dial()
		s.upgrade()
		s.relay(time.Second, cleanClose)
		f := h.accept("203.0.113.7:51000")
		f.head()
		fail(f, lifecycle.Step{Phase: lifecycle.PhaseDNS, Host: "backend"}, lifecycle.ReasonDNSNotFound, 502)
		for i, want := range []struct {
			event    string
			severity log.Severity
			trace    string
		}{
			{eventSystemStateChanged, log.SeverityInfo, h.Telemetry.system.parent.TraceID().String()},
			{eventConnectionOpened, log.SeverityInfo, s.c.TraceID()},
			{eventConnectionClosed, log.SeverityInfo, s.c.TraceID()},
			{eventConnectionFailed, log.SeverityInfo2, f.c.TraceID()},
		} {
			r := h.records.records[i]
			if r.EventName() != want.event || r.Severity() != want.severity || r.TraceID().String() != want.trace || !r.SpanID().IsValid() {
				t.Errorf("record %d: got %s severity %d trace %s, want %s severity %d trace %s", i, r.EventName(), r.Severity(), r.TraceID(), want.event, want.severity, want.trace)
			}
		}
		h.close()
	})
}

func TestLoggerShowsNoticeAndHonoursTheLevel(t *testing.T) {
	h := newHarness(t, Settings{})
	l := h.Logger()
	l.Debug("not shown")
	l.Log(t.Context(), LevelNotice, "shown", "group", slog.GroupValue(slog.Int("level", 1)))
	h.SetLevels(Levels{General: slog.LevelDebug})
	l.Debug("shown now")
	lines := h.lines(t)
	if len(lines) != 2 || lines[0]["level"] != "NOTICE" || lines[1]["level"] != "DEBUG" {
		t.Errorf("got %v, want a NOTICE and a DEBUG line", lines)
	}
	if n := len(h.records.records); n != 2 {
		t.Errorf("exported: got %d records, want 2", n)
	}
	h.close()
}

func TestTextFormat(t *testing.T) {
	var out bytes.Buffer
	c := newConsole(Log{Writer: &out, Format: "text"})
	c.logger("x").Log(t.Context(), LevelNotice, "hello", "n", 1)
	if got := out.String(); !strings.Contains(got, "level=NOTICE msg=hello component=x n=1") {
		t.Errorf("got %q", got)
	}
}

func TestRepeatedWarningsAreCountedInsteadOfWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Settings{})
		l := h.Logger().With("component", "x")
		for n := range 100 {
			l.Warn("trouble", "n", n)
			l.Info("not limited")
		}
		time.Sleep(repeatPeriod)
		l.Warn("trouble")
		warnings, suppressed := 0, 0.0
		for _, line := range h.lines(t) {
			if line["msg"] == "trouble" {
				warnings++
				if n, ok := line["suppressed"].(float64); ok {
					suppressed = n
				}
			}
		}
		if warnings != repeatsPerPeriod+1 || suppressed != 90 {
			t.Errorf("got %d warnings and %g suppressed, want %d and 90", warnings, suppressed, repeatsPerPeriod+1)
		}
		if got := total(h, "wsproxy.log.suppressed"); got != 90 {
			t.Errorf("wsproxy.log.suppressed: got %d, want 90", got)
		}
		h.close()
	})
}

func TestKindsOfRepeatedLinesAreBounded(t *testing.T) {
	s := newSuppressor()
	for n := range 10 * repeatKinds {
		s.pass(lineKind{slog.LevelWarn, fmt.Sprint(n)}, time.Now())
	}
	if got := len(s.kinds); got > repeatKinds {
		t.Errorf("got %d kinds, want at most %d", got, repeatKinds)
	}
}

func TestSDKErrorsAreOneLinePerKindAndTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		h := &errorHandler{console: newConsole(Log{Writer: &out})}
		for range 50 {
			h.Handle(&exportError{signalTraces, lossExportFailed, errors.New("refused")})
			h.Handle(&exportError{signalLogs, lossExportTimeout, context.DeadlineExceeded})
			h.Handle(fmt.Errorf("a: %w", os.ErrNotExist))
			h.Handle(nil)
		}
		if got := strings.Count(out.String(), "\n"); got != 3 {
			t.Errorf("got %d lines, want 3:\n%s", got, &out)
		}
		time.Sleep(reportEvery)
		h.Handle(&exportError{signalTraces, lossExportFailed, errors.New("refused")})
		if !strings.Contains(out.String(), `"suppressed":49`) {
			t.Errorf("got %s, want the 49 left out", &out)
		}
	})
}

func TestSDKLogLevel(t *testing.T) {
	for level, want := range map[string]string{"": "WARN ERROR", "error": "ERROR", "none": "", "info": "INFO WARN ERROR", "debug": "DEBUG INFO WARN ERROR"} {
		var out bytes.Buffer
		l := sdkLogger(newConsole(Log{Writer: &out}), level)
		l.V(8).Info("x")
		l.V(4).Info("x")
		l.V(1).Info("x")
		l.Error(errors.New("e"), "x")
		var got []string
		d := json.NewDecoder(&out)
		for d.More() {
			var line map[string]any
			if err := d.Decode(&line); err != nil {
				t.Fatal(err)
			}
			got = append(got, line["level"].(string))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("OTEL_LOG_LEVEL=%s: got %v, want %s", level, got, want)
		}
	}
}

// TestSecretsGoNowhere sends canaries through everything that must not be told, and looks for them in
// every exported byte and every line.
func TestSecretsGoNowhere(t *testing.T) {
	const canary = "c4nary"
	c := newFakeCollector(t)
	tel, h := start(t, Settings{Routes: chat, OTLP: OTLP{Endpoint: c.URL, Headers: map[string]string{"Authorization": "Bearer " + canary}}, Log: Log{Opened: true, Level: slog.LevelDebug}})
	header := http.Header{"Authorization": {canary}, "Cookie": {canary}, "Proxy-Authorization": {canary}, "Sec-Websocket-Key": {canary}, "Baggage": {"k=" + canary}}
	s := h.accept("203.0.113.7:51000")
	s.step(lifecycle.Step{Phase: lifecycle.PhaseRequest}, 0, nil, nil)
	s.c.Update(facts)
	s.c.Update(route)
	s.ctx = tel.Propagator().Extract(s.ctx, header)
	s.ctx = s.step(lifecycle.Step{Phase: lifecycle.PhaseRoute}, 0, nil, nil)
	ctx := s.step(lifecycle.Step{Phase: lifecycle.PhaseConnect}, 0, nil, nil)
	tel.Propagator().Inject(ctx, header)
	s.step(lifecycle.Step{Phase: lifecycle.PhaseUpgrade, Host: "backend:9000"}, 0, nil, nil)
	s.step(lifecycle.Step{Phase: lifecycle.PhaseTransfer}, 0, nil, nil)
	s.c.Closed(cleanClose)

	r := httptest.NewRequest("GET", "http://user:"+canary+"@chat.example.com/poll?token="+canary, nil)
	r.Header = header.Clone()
	tel.HTTP(http.NotFoundHandler(), func(*http.Request) string { return "/poll" }, nil).ServeHTTP(httptest.NewRecorder(), r)
	otel.Handle(&exportError{signalTraces, lossExportFailed, errors.New("refused")})
	answer := httptest.NewRecorder()
	tel.Metrics().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	for where, text := range map[string]string{"collector": c.got(""), "console": h.console.String(), "/metrics": answer.Body.String()} {
		if strings.Contains(text, canary) {
			t.Errorf("%s: got the canary", where)
		}
		if !strings.Contains(text, "chat") && where != "/metrics" {
			t.Errorf("%s: got nothing of the connection", where)
		}
	}
	if header.Get("Baggage") != "" {
		t.Error("the untrusted client's baggage went upstream")
	}
	if _, err := (OTLP{Endpoint: "http://user:" + canary + "@collector:4318"}).collector(); err == nil || strings.Contains(err.Error(), canary) {
		t.Errorf("endpoint with a password: got %v, want an error without it", err)
	}
}

func TestPeersTextIsClippedAndValid(t *testing.T) {
	for _, test := range []struct{ name, in, want string }{
		{"plain", "abc", "abc"},
		{"invalid", "a\xffb", "a\uFFFDb"},
		{"long", strings.Repeat("x", 5000), strings.Repeat("x", textLimit)},
	} {
		if got := text(test.in); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
	c := newFakeCollector(t)
	tel, h := start(t, Settings{OTLP: OTLP{Endpoint: c.URL}, Log: Log{Level: 12}})
	s := h.accept("203.0.113.7:51000")
	s.step(lifecycle.Step{Phase: lifecycle.PhaseRequest}, 0, nil, nil)
	s.c.Update(facts)
	s.c.Update(func(f *lifecycle.Facts) {
		f.UserAgent, f.Path, f.Host, f.Subprotocol = "\xff\xfe", "/\xff", "\xff:80", "\xff"
	})
	fail(s, lifecycle.Step{Phase: lifecycle.PhaseRoute}, lifecycle.ReasonNoRoute, 404)
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Errorf("got %v, want the batch to be accepted", err)
	}
	if !strings.Contains(c.got("/v1/traces"), "no_route") || !strings.Contains(c.got("/v1/logs"), "no_route") {
		t.Error("the span or the event of a client with invalid UTF-8 did not arrive")
	}
}

func TestPlainHTTP(t *testing.T) {
	h := newHarness(t, Settings{})
	statuses := map[string]http.HandlerFunc{
		"/ok":      func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("x")) },
		"/nothing": func(http.ResponseWriter, *http.Request) {},
		"/missing": http.NotFound,
		"/hints": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusTeapot)
		},
		"/bad":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
		"/panic": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"/flush": func(w http.ResponseWriter, _ *http.Request) {
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Errorf("flush: %v", err)
			}
		},
	}
	var mux http.ServeMux
	for path, handler := range statuses {
		mux.HandleFunc(path, handler)
	}
	server := h.HTTP(&mux, func(r *http.Request) string { return r.URL.Path }, func(*http.Request) bool { return false })
	for _, path := range slices.Sorted(maps.Keys(statuses)) {
		func() {
			defer func() { recover() }()
			r := httptest.NewRequest("GET", "http://example.com"+path+"?token=x", nil)
			server.ServeHTTP(httptest.NewRecorder(), r)
		}()
	}
	var got []string
	for _, s := range h.spans.GetSpans() {
		status := attribute.Value{}
		for _, a := range s.Attributes {
			if a.Key == keyHTTPResponseStatusCode {
				status = a.Value
			}
		}
		got = append(got, fmt.Sprintf("%s %s %s %s", s.SpanKind, s.Name, status.String(), s.Status.Code))
	}
	want := []string{"server GET /bad 502 Error", "server GET /flush 200 Unset", "server GET /hints 418 Unset", "server GET /missing 404 Unset",
		"server GET /nothing 200 Unset", "server GET /ok 200 Unset", "server GET /panic 500 Error"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	count := 0
	for _, p := range points(h.collect()) {
		if strings.HasPrefix(p, "http.server.request.duration{") {
			count++
		}
		if strings.HasPrefix(p, "wsproxy.connection.accepted{") && !strings.HasSuffix(p, " 0") {
			t.Errorf("plain requests counted as connections: %s", p)
		}
	}
	if count != len(statuses) {
		t.Errorf("http.server.request.duration: got %d series, want %d", count, len(statuses))
	}
	h.close()
}

func TestExemplarsLeadToTheTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Settings{Routes: chat})
		s := h.accept("203.0.113.7:51000")
		s.head()
		s.dial()
		s.upgrade()
		s.relay(time.Second, cleanClose)
		seen := make(map[string]bool)
		for _, scope := range h.collect().ScopeMetrics {
			for _, m := range scope.Metrics {
				d, ok := m.Data.(metricdata.Histogram[float64])
				for _, p := range d.DataPoints {
					for _, e := range p.Exemplars {
						seen[m.Name] = ok && fmt.Sprintf("%x", e.TraceID) == s.c.TraceID()
					}
				}
			}
		}
		for _, name := range []string{"wsproxy.phase.duration", "http.server.request.duration", "http.client.request.duration", "dns.lookup.duration", "wsproxy.connection.duration"} {
			if !seen[name] {
				t.Errorf("%s: got no exemplar of the connection's trace", name)
			}
		}
		h.close()
	})
}

func TestProcessUsage(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("no /proc")
	}
	before, ok := readUsage()
	if !ok || before.threads < 1 || before.resident < 1<<20 || before.descriptors < 3 {
		t.Errorf("got %+v %t, want plausible numbers", before, ok)
	}
	const more = 100
	for range more {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
	}
	if after, _ := readUsage(); after.descriptors < before.descriptors+more-10 || after.descriptors > before.descriptors+more+10 { // others come and go
		t.Errorf("%d descriptors became %d with %d more open", before.descriptors, after.descriptors, more)
	}
}
