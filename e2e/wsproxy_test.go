//go:build e2e

package e2e

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// wsproxy is a running one.
type wsproxy struct {
	*process
	service string // its service.name, which no other has
	plain   string // address of the listener without TLS
	tls     string // of the one with
	admin   string
	started time.Time
	within  *namespace
}

// Quick exports, so that tests need not wait. The intervals' defaults are for production.
var impatient = []string{"OTEL_BSP_SCHEDULE_DELAY=100", "OTEL_BLRP_SCHEDULE_DELAY=100"}

var listening = regexp.MustCompile(`listening on (\S+), (\S+), ([^\s"]+)`)

// serve starts wsproxy with a configuration and returns when it is ready.
func (h *house) serve(t *testing.T, s *settings, env ...string) *wsproxy {
	t.Helper()
	file := filepath.Join(t.TempDir(), "wsproxy.yaml")
	if err := os.WriteFile(file, s.document(t), 0o600); err != nil {
		t.Fatal(err)
	}
	w := &wsproxy{service: s.service, started: time.Now(), within: s.within}
	t.Cleanup(func() { w.judge(t) }) // when it has ended
	command := []string{h.binary, "serve", "--config", file}
	if s.files > 0 {
		command = append([]string{"sh", "-c", `ulimit -n "$0" && exec "$@"`, strconv.Itoa(s.files)}, command...)
	}
	if s.resolver != "" {
		command = resolvingAt(t, s.resolver, command)
	}
	if s.prompt {
		command = append([]string{"sh", "-c", `chrt --fifo --pid 1 $$; exec "$0" "$@"`}, command...)
	}
	err := s.within.do(func() error {
		w.process = start(t, "wsproxy", slices.Concat(impatient, env), command[0], command[1:]...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "wsproxy listens", func(context.Context) error {
		m := listening.FindSubmatch(w.log(t))
		switch {
		case m != nil:
			w.plain, w.tls, w.admin = string(m[1]), string(m[2]), string(m[3])
			return nil
		case !w.running():
			t.Fatal("wsproxy ended")
		}
		return errNotYet
	})
	eventually(t, "wsproxy is ready", func(ctx context.Context) error {
		_, err := w.ask(ctx, "/readyz")
		return err
	})
	return w
}

// fault is a line of wsproxy's log that nothing done to it from outside accounts for.
var fault = regexp.MustCompile(`(?i)"level":"ERROR"|deprecat|panic:|DATA RACE`)

func (w *wsproxy) judge(t *testing.T) {
	t.Helper()
	if w.process == nil {
		return
	}
	for line := range bytes.Lines(w.log(t)) {
		if fault.Match(line) {
			t.Errorf("wsproxy complains: %s", line)
		}
	}
}

// ask returns what the admin port answers to a GET.
func (w *wsproxy) ask(ctx context.Context, path string) ([]byte, error) {
	return getWith(ctx, w.within.web(), "http://"+w.admin+path)
}

// settings make a configuration file. JSON is YAML, too.
type settings struct {
	house     *house
	service   string
	routes    []object
	upstreams []object
	egress    []object
	telemetry object
	drain     object
	logLevel  string // empty: info
	files     int    // limit of open files; 0: as it is
	trusted   object // of both listeners; nil: nobody
	forward   object // not nil: both listeners are in forward mode
	clientCA  string // of the listener with TLS; empty: it asks for no certificate
	engine    string // empty: auto
	within    *namespace
	host      string // that both listeners are on; empty: 127.0.0.1
	resolver  string // address of a name server; empty: as it is
	prompt    bool   // it runs before whatever else the machine does, where that is allowed
}

type object = map[string]any

// newSettings export to the stack by gRPC.
func (h *house) newSettings(t *testing.T) *settings {
	service := "e2e " + strings.TrimPrefix(t.Name(), "TestEndToEnd/")
	s := &settings{house: h, service: service, drain: object{"timeout": "5s", "spread": "0s"}}
	s.telemetry = object{
		"service_name": service, "metrics": object{"interval": "500ms"},
		"resource": object{"deployment.environment.name": "test"},
	}
	if h.stack != nil {
		s.telemetry["otlp"] = object{"endpoint": "http://" + h.stack.collector.grpc}
	}
	return s
}

// route adds a route for /name and everything under it, with an upstream of its own. In with, keys of an
// upstream go there, the others into the route.
func (s *settings) route(name string, with object, targets ...string) {
	r := object{"name": name, "match": "/" + name + "/{visit}", "upstream": name}
	u := object{"name": name, "targets": targets}
	for k, v := range with {
		switch k {
		case "tls", "egress", "balance", "proxy_protocol", "health", "passive", "hash", "weights", "slow_start", "resolve_interval":
			u[k] = v
		default:
			r[k] = v
		}
	}
	s.routes = append(s.routes, r)
	s.upstreams = append(s.upstreams, u)
}

// trust is the tls block for targets that have one of our certificates.
func (s *settings) trust() object { return object{"ca": s.house.caFile} }

// secret puts a text into a file, as the configuration wants it.
func (s *settings) secret(name, text string) string {
	file := filepath.Join(s.house.folder, name+".secret")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		panic(err)
	}
	return "file:" + file
}

func (s *settings) document(t *testing.T) []byte {
	t.Helper()
	server := object{"certificates": []object{{"cert": s.house.cert, "key": s.house.key}}}
	if s.clientCA != "" {
		server["client_ca"] = s.clientCA
	}
	address := cmp.Or(s.host, "127.0.0.1") + ":0"
	listeners := []object{
		{"address": address},
		{"address": address, "tls": server},
	}
	for _, l := range listeners {
		if s.trusted != nil {
			l["trust"] = s.trusted
		}
	}
	c := object{
		"listeners": listeners,
		"routes":    s.routes, "upstreams": s.upstreams, "telemetry": s.telemetry, "drain": s.drain,
		"admin": object{"address": "127.0.0.1:0"},
	}
	if s.forward != nil {
		for _, l := range c["listeners"].([]object) {
			l["mode"] = "forward"
		}
		c["forward"] = s.forward
		delete(c, "routes")
		delete(c, "upstreams")
	}
	if s.engine != "" {
		c["engine"] = s.engine
	}
	if s.logLevel != "" {
		c["log"] = object{"level": s.logLevel}
	}
	if len(s.egress) > 0 {
		c["egress"] = s.egress
	}
	b, err := json.MarshalIndent(c, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// line is what the tests read of a line of wsproxy's log.
type line struct {
	Message string `json:"msg"`
	Path    string `json:"path"`
	Client  string `json:"client"`
	Method  string `json:"method"`
	Phase   string `json:"phase"` // that failed
	Tunnel  string `json:"tunnel"`
	TraceID string `json:"trace_id"`

	Cause, Initiator, Leg string
	Intercepted           bool `json:"intercepted"`
}

// traceOf is the id of the trace of the connection that the log tells of and that match describes.
func (w *wsproxy) traceOf(t testing.TB, match func(line) bool) string {
	t.Helper()
	return w.lineOf(t, match).TraceID
}

// lineOf is the line about a connection that match describes.
func (w *wsproxy) lineOf(t testing.TB, match func(line) bool) (l line) {
	t.Helper()
	eventually(t, "wsproxy's log tells of the connection", func(context.Context) error {
		for text := range bytes.Lines(w.log(t)) {
			l = line{}
			if json.Unmarshal(text, &l) == nil && strings.HasPrefix(l.Message, "connection ") && match(l) {
				return nil
			}
		}
		return errNotYet
	})
	return l
}

// open are the connections that the admin API lists.
func (w *wsproxy) open(ctx context.Context) ([]connection, error) {
	var list struct{ Items []connection }
	body, err := w.ask(ctx, "/api/connections")
	if err != nil {
		return nil, err
	}
	return list.Items, json.Unmarshal(body, &list)
}

// connection is what the tests read of one.
type connection struct {
	ID      string
	TraceID string `json:"trace_id"`
	Client  string
	Phase   string
}

// awaitPhase waits until the live connection from a client's address is in a phase, and returns its trace's id.
func (w *wsproxy) awaitPhase(t testing.TB, client, phase string) (trace string) {
	t.Helper()
	eventually(t, "a connection in phase "+phase, func(ctx context.Context) error {
		all, err := w.open(ctx)
		for _, c := range all {
			if c.Client == client && c.Phase == phase {
				trace = c.TraceID
				return nil
			}
		}
		return errors.Join(err, errNotYet)
	})
	return trace
}

// of is a selector for this process's series of a metric. Labels are names and values; a value behind ~ is a
// pattern.
func (w *wsproxy) of(metric string, labels ...string) string {
	all := []string{fmt.Sprintf("service_name=%q", w.service)}
	for i := 0; i+1 < len(labels); i += 2 {
		operator, value := "=", labels[i+1]
		if pattern, ok := strings.CutPrefix(value, "~"); ok {
			operator, value = "=~", pattern
		}
		all = append(all, labels[i]+operator+strconv.Quote(value))
	}
	return metric + "{" + strings.Join(all, ",") + "}"
}
