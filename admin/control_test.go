package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"wsproxy/lifecycle"
)

// memoryControl does what it was told to and notes what it was asked for.
type memoryControl struct {
	reload lifecycle.Reload
	drains []Drain
}

func (m *memoryControl) Reload(_ context.Context, cause string) lifecycle.Reload {
	m.reload.Cause = cause
	return m.reload
}

func (m *memoryControl) Drain(d Drain) int { m.drains = append(m.drains, d); return 3 }

func (m *memoryControl) Routes() []Route {
	return []Route{{Name: "chat", Match: "/", Since: 2, Open: 1}}
}

// send sends a change as a program would; headers are names and values.
func (v *visitor) send(method, path, body string, headers ...string) (*http.Response, []byte) {
	return v.get(path, func(r *http.Request) {
		r.Method = method
		r.Header.Set("Content-Type", "application/json")
		for i := 0; i+1 < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		r.Body, r.ContentLength = http.NoBody, 0
		if body != "" {
			b, _ := http.NewRequest(method, "/", strings.NewReader(body))
			r.Body, r.ContentLength = b.Body, b.ContentLength
		}
	})
}

func TestReloadAnswers(t *testing.T) {
	for _, tc := range []struct {
		name   string
		reload lifecycle.Reload
		body   string
		status int
		says   string
	}{
		{"taken", lifecycle.Reload{Generation: 2, Changed: []string{"chat"}}, "", 200, `"changed_routes":["chat"]`},
		{"taken, with a document", lifecycle.Reload{Generation: 2}, "{}", 200, `"generation":2,"changed_routes":[]`},
		{"invalid", lifecycle.Reload{Failure: lifecycle.ReloadInvalid, Err: errors.New("routes[0]: bad")}, "", 422, `routes[0]: bad`},
		{"draining", lifecycle.Reload{Failure: lifecycle.ReloadState, Err: errors.New("draining")}, "", 409, "draining"},
		{"something else asked for", lifecycle.Reload{}, `{"file":"/etc/passwd"}`, 400, "unknown field"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := start(t, &Server{Control: &memoryControl{reload: tc.reload}})
				answer, body := v.send(http.MethodPost, "/api/reload", tc.body)
				if answer.StatusCode != tc.status || !strings.Contains(string(body), tc.says) {
					t.Errorf("got %d %s, want %d with %s", answer.StatusCode, body, tc.status, tc.says)
				}
			})
		})
	}
}

func TestDrainRequests(t *testing.T) {
	for body, want := range map[string]int{
		`{}`: 202, `{"route":"chat","upstream":"u","share":0.5,"spread":1.5,"code":4000,"reason":"moving"}`: 202,
		``: 400, `{"share":2}`: 400, `{"share":-1}`: 400, `{"spread":-1}`: 400, `{"spread":1e9}`: 400, `{"code":1006}`: 400, `{"code":1}`: 400,
		`{"reason":"` + strings.Repeat("x", 124) + `"}`: 400, `{"rout":"chat"}`: 400, `{} {}`: 400,
	} {
		t.Run(body, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := new(memoryControl)
				v := start(t, &Server{Control: m})
				answer, got := v.send(http.MethodPost, "/api/drain", body)
				if answer.StatusCode != want || (len(m.drains) == 1) != (want == 202) {
					t.Errorf("got %d %s with %d drains, want %d", answer.StatusCode, got, len(m.drains), want)
				}
			})
		})
	}
}

func TestClosingConnections(t *testing.T) {
	for _, tc := range []struct {
		name, path string
		status     int
		closed     []string // ids
		code       int
		reason     string
	}{
		{"one", "/api/connections/c2?code=4003&reason=banned", 202, []string{"c2"}, 4003, "banned"},
		{"one with the defaults", "/api/connections/c1", 202, []string{"c1"}, 0, ""},
		{"nobody", "/api/connections/none", 404, nil, 0, ""},
		{"a bad code", "/api/connections/c1?code=1006", 400, nil, 0, ""},
		{"no number", "/api/connections/c1?code=x", 400, nil, 0, ""},
		{"a long reason", "/api/connections/c1?reason=" + strings.Repeat("x", 124), 400, nil, 0, ""},
		{"by route", "/api/connections?route=chat&code=1012", 202, []string{"c1", "c2"}, 1012, ""},
		{"everybody", "/api/connections", 400, nil, 0, ""},
		{"a filter there is not", "/api/connections?rout=chat", 400, nil, 0, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := numbered()
				var closed []string
				for _, route := range []string{"chat", "chat", "news"} {
					c := relaying(r)
					c.Update(func(f *lifecycle.Facts) { f.Route = route })
					c.OnStop(func(s lifecycle.StopRequest) {
						if s.Cause != lifecycle.CauseAdmin || s.Code != tc.code || s.Reason != tc.reason {
							t.Errorf("got %+v, want code %d %q", s, tc.code, tc.reason)
						}
						closed = append(closed, c.ID)
					})
				}
				v := start(t, &Server{Registry: r})
				answer, body := v.send(http.MethodDelete, tc.path, "")
				slices.Sort(closed)
				if answer.StatusCode != tc.status || !slices.Equal(closed, tc.closed) {
					t.Errorf("got %d %s and closed %q, want %d and %q", answer.StatusCode, body, closed, tc.status, tc.closed)
				}
			})
		})
	}
}

// What a browser can send for a page of another origin changes nothing.
func TestForeignChanges(t *testing.T) {
	changes := [][2]string{
		{"POST", "/api/reload"}, {"POST", "/api/drain"}, {"DELETE", "/api/connections/c1"}, {"DELETE", "/api/connections?route=chat"}, {"PUT", "/api/log-level"},
	}
	for _, tc := range []struct {
		name    string
		headers []string
		status  []int
	}{
		{"another origin", []string{"Origin", "https://evil.example"}, []int{403}},
		{"no origin at all", []string{"Origin", "null"}, []int{403}},
		{"another port of ours", []string{"Origin", "http://localhost:1"}, []int{403}},
		{"a form", []string{"Content-Type", "application/x-www-form-urlencoded", "Origin", "https://evil.example"}, []int{403, 415}},
		{"text", []string{"Content-Type", "text/plain", "Origin", "https://evil.example"}, []int{403, 415}},
		{"another site, without an origin", []string{"Sec-Fetch-Site", "cross-site"}, []int{403}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := numbered()
				relaying(r).OnStop(func(lifecycle.StopRequest) { t.Error("a connection was closed") })
				m := new(memoryControl)
				v := start(t, &Server{Registry: r, Control: m, Logs: &memoryLogs{now: LogLevels{Components: map[string]string{}, Routes: map[string]string{}}}})
				for _, c := range changes {
					answer, body := v.send(c[0], c[1], "{}", tc.headers...)
					if !slices.Contains(tc.status, answer.StatusCode) || answer.Header.Get("Access-Control-Allow-Origin") != "" {
						t.Errorf("%s: got %d %s, want one of %v", c, answer.StatusCode, body, tc.status)
					}
				}
				if len(m.drains) > 0 || m.reload.Cause != "" {
					t.Error("something was changed")
				}
			})
		})
	}
}

func TestEventsAndStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := new(Events)
		r := numbered()
		r.Observers = append(r.Observers, e)
		v := start(t, &Server{Registry: r, Events: e})
		d := websocket.Dialer{NetDialContext: v.network.DialContext}
		if _, answer, err := d.Dial("ws://"+address+"/api/stream", http.Header{"Origin": {"https://evil.example"}}); err == nil || answer.StatusCode != 403 {
			t.Errorf("got %v for a page of another origin, want 403", err)
		}
		c, _, err := d.Dial("ws://"+address+"/api/stream", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		synctest.Wait()
		relaying(r).Closed(lifecycle.Close{Cause: lifecycle.CauseClientClose, Initiator: lifecycle.InitiatorClient, Code: 1000, Clean: true})
		fresh(r)
		failed := r.Open("203.0.113.9:1", time.Now())
		failed.Failed(&lifecycle.Failure{Phase: lifecycle.PhaseRoute, Reason: lifecycle.ReasonNoRoute}, 404)
		var types []string
		for range 3 {
			var got eventDocument
			if err := c.ReadJSON(&got); err != nil {
				t.Fatal(err)
			}
			types = append(types, got.Type)
		}
		if want := []string{eventOpened, eventClosed, eventFailed}; !slices.Equal(types, want) {
			t.Errorf("got %q, want %q", types, want)
		}
		got := decode[list[eventDocument]](v, "/api/events", 200).Items
		if len(got) != 2 || got[0].Failure == nil || got[0].Failure.Reason != "no_route" || got[1].Connection.Close.Cause != "client_close" {
			t.Errorf("got %+v, want the refusal and then the close", got)
		}
	})
}

// A client that reads nothing costs a bounded queue, and holds up nobody.
func TestStreamDropsWhatIsTooMuch(t *testing.T) {
	e := new(Events)
	s := e.subscribe()
	defer e.unsubscribe(s)
	const more = 10
	for range eventsQueued + more {
		e.State(lifecycle.Transition{})
	}
	if got := s.dropped.Load(); got != more {
		t.Errorf("got %d dropped, want %d", got, more)
	}
	for i := range eventsKept + more {
		e.keep(&event{kind: fmt.Sprint(i)})
	}
	if got := e.latest(); len(got) != eventsKept || got[0].kind != fmt.Sprint(eventsKept+more-1) {
		t.Errorf("got %d events kept, the latest %s", len(got), got[0].kind)
	}
}

func TestOpenAPITellsOfEverything(t *testing.T) {
	s := &Server{Control: noControl{}}
	var served []string
	for _, p := range append(s.pages(), s.changes()...) {
		if !strings.Contains(p.path, " ") {
			p.path = "GET " + p.path
		}
		served = append(served, p.path)
	}
	for _, path := range served {
		if _, told := operations()[path]; !told {
			t.Errorf("%s is served and not in the document", path)
		}
	}
	for path := range operations() {
		if !slices.Contains(served, path) {
			t.Errorf("%s is in the document and not served", path)
		}
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(openAPI()); err != nil {
		t.Fatal(err)
	}
	golden(t, "../../docs/openapi.json", b.Bytes())
}

// What is answered fits the document.
func TestAnswersFitOpenAPI(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := new(Events)
		r := numbered()
		r.Observers = append(r.Observers, e)
		relaying(r)
		relaying(r).Closed(lifecycle.Close{Cause: lifecycle.CauseClientClose, Code: lifecycle.NoCode})
		m := &memoryControl{reload: lifecycle.Reload{Generation: 2}}
		v := start(t, &Server{Registry: r, Events: e, Control: m, Logs: &memoryLogs{now: LogLevels{Components: map[string]string{}, Routes: map[string]string{}}}})
		for name, o := range operations() {
			method, path, _ := strings.Cut(name, " ")
			if o.answer == nil || o.status == http.StatusSwitchingProtocols {
				continue
			}
			path = strings.ReplaceAll(path, "{id}", "c1")
			if name == "DELETE /api/connections" {
				path += "?route=none"
			}
			answer, body := v.send(method, path, "{}")
			var got any
			if err := json.Unmarshal(body, &got); err != nil || answer.StatusCode != max(o.status, 200) && answer.StatusCode != 503 {
				t.Errorf("%s: got %d %s", name, answer.StatusCode, body)
				continue
			}
			if answer.StatusCode == 503 { // /readyz of a process that has not started
				continue
			}
			document := openAPI()["paths"].(object)[strings.SplitN(name, " ", 2)[1]].(object)[strings.ToLower(method)].(object)
			content := document["responses"].(object)[fmt.Sprint(max(o.status, 200))].(object)["content"].(object)
			fits(t, name, content["application/json"].(object)["schema"].(object), got)
		}
	})
}

// fits holds a value to a schema of ours, both ways: no key is missing, none is unknown.
func fits(t *testing.T, at string, schema object, got any) {
	t.Helper()
	types, _ := schema["type"].([]any)
	if types == nil {
		types = []any{schema["type"]}
	}
	is := "null"
	switch v := got.(type) {
	case string:
		is = "string"
	case bool:
		is = "boolean"
	case float64:
		is = "number"
		if v == float64(int64(v)) && slices.Contains(types, any("integer")) {
			is = "integer"
		}
	case []any:
		is = "array"
		for i, element := range v {
			fits(t, fmt.Sprintf("%s[%d]", at, i), schema["items"].(object), element)
		}
	case map[string]any:
		is = "object"
		fitsObject(t, at, schema, v)
	}
	if !slices.Contains(types, any(is)) {
		t.Errorf("%s: got %s %v, want %v", at, is, got, types)
	}
}

func fitsObject(t *testing.T, at string, schema object, got map[string]any) {
	t.Helper()
	properties, _ := schema["properties"].(object)
	required, _ := schema["required"].([]string)
	for _, name := range required {
		if _, there := got[name]; !there {
			t.Errorf("%s: %s is missing", at, name)
		}
	}
	for name, value := range got {
		property, known := properties[name].(object)
		if extra, any := schema["additionalProperties"].(object); any {
			property, known = extra, true
		}
		if properties == nil && !known {
			continue // the document itself
		}
		if !known {
			t.Errorf("%s: %s is unknown", at, name)
			continue
		}
		fits(t, at+"."+name, property, value)
	}
}
