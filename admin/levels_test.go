package admin

import (
	"errors"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
)

// memoryLogs keeps levels.
type memoryLogs struct{ now LogLevels }

func (m *memoryLogs) LogLevels() LogLevels { return m.now }

func (m *memoryLogs) SetLogLevels(l LogLevels) error {
	if l.Level == "loud" {
		return errors.New(`level: got "loud"`)
	}
	m.now.Level = l.Level
	return nil
}

func TestLogLevels(t *testing.T) {
	for _, test := range []struct {
		name, body, kind, origin string
		status                   int
	}{
		{"a change", `{"level":"debug"}`, "application/json; charset=utf-8", "", 200},
		{"by a page of ours", `{"level":"debug"}`, "application/json", "http://" + address, 200},
		{"by a page of another origin", `{"level":"debug"}`, "application/json", "http://evil.test", 403},
		{"by a page without an origin", `{"level":"debug"}`, "application/json", "null", 403},
		{"as a form", `level=debug`, "application/x-www-form-urlencoded", "", 415},
		{"as text", `{"level":"debug"}`, "text/plain", "", 415},
		{"no such level", `{"level":"loud"}`, "application/json", "", 400},
		{"no such key", `{"levels":"debug"}`, "application/json", "", 400},
		{"two documents", `{"level":"debug"}{}`, "application/json", "", 400},
		{"too much", `{"level":"` + strings.Repeat("x", maxChange) + `"}`, "application/json", "", 400},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				logs := &memoryLogs{LogLevels{Level: "info"}}
				v := start(t, &Server{Logs: logs})
				answer, body := v.get("/api/log-level", func(r *http.Request) {
					r.Method, r.Body = http.MethodPut, io.NopCloser(strings.NewReader(test.body))
					r.Header.Set("Content-Type", test.kind)
					if test.origin != "" {
						r.Header.Set("Origin", test.origin)
					}
				})
				want := map[bool]string{true: "debug", false: "info"}[test.status == 200]
				if answer.StatusCode != test.status || logs.now.Level != want {
					t.Errorf("got %d and %s, want %d and %s: %s", answer.StatusCode, logs.now.Level, test.status, want, body)
				}
				if got := decode[LogLevels](v, "/api/log-level", 200); !reflect.DeepEqual(got, logs.now) {
					t.Errorf("shown: got %v, want %v", got, logs.now)
				}
			})
		})
	}
}
