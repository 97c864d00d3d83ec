package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"wsproxy/lifecycle"
)

// patience is for what should come at once but on a busy machine does not.
const patience = 20 * time.Second

type object = map[string]any

// rig is a running app with an echo upstream, on loopback. Its configuration can be changed.
type rig struct {
	*app
	t        *testing.T
	upstream *echoUpstream
	file     string
	cfg      object
	first    net.Addr // of the first listener, at the start
	over     sync.Once
}

// newRig serves one route, chat, on one listener. change, if not nil, changes the configuration before.
func newRig(t *testing.T, change func(cfg object)) *rig {
	t.Helper()
	return newRigWith(t, options{}, change)
}

func newRigWith(t *testing.T, o options, change func(cfg object)) *rig {
	t.Helper()
	r := &rig{t: t, upstream: newEchoUpstream(t), file: filepath.Join(t.TempDir(), "wsproxy.yaml")}
	r.cfg = object{
		"listeners": []object{{"address": "127.0.0.1:0"}},
		"routes":    []object{route("chat")},
		"upstreams": []object{{"name": "echo", "targets": []string{r.upstream.url}}},
		"admin":     object{"address": "127.0.0.1:0"},
		"log":       object{"level": "error"},
		"drain":     object{"timeout": "10s", "spread": "0s"},
	}
	if change != nil {
		change(r.cfg)
	}
	r.write()
	o.file = r.file
	cfg, err := loadConfig(r.file)
	if err != nil {
		t.Fatal(err)
	}
	if r.app, err = newApp(t.Context(), cfg, o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.end)
	if err := r.start(); err != nil {
		t.Fatal(err)
	}
	r.first = r.listeners[0].Addr()
	return r
}

// end closes the app, once.
func (r *rig) end() { r.over.Do(r.app.close) }

func route(name string, with ...any) object {
	o := object{"name": name, "match": "/" + name, "upstream": "echo"}
	for i := 0; i+1 < len(with); i += 2 {
		o[with[i].(string)] = with[i+1]
	}
	return o
}

// write makes the file what cfg says.
func (r *rig) write() {
	r.t.Helper()
	b, err := json.Marshal(r.cfg) // JSON is YAML, too
	if err == nil {
		err = os.WriteFile(r.file, b, 0o600)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// reloaded writes the configuration and has it read.
func (r *rig) reloaded() lifecycle.Reload {
	r.t.Helper()
	r.write()
	return r.reload(r.t.Context(), "test")
}

// mustReload is reloaded for what is right.
func (r *rig) mustReload() {
	r.t.Helper()
	if got := r.reloaded(); got.Err != nil {
		r.t.Fatalf("reload: %v", got.Err)
	}
}

// dial opens a WebSocket through the first listener.
func (r *rig) dial(path string) *websocket.Conn {
	r.t.Helper()
	c, err := r.tryDial(r.first, path)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (r *rig) tryDial(to net.Addr, path string) (*websocket.Conn, error) {
	d := websocket.Dialer{HandshakeTimeout: patience}
	c, resp, err := d.DialContext(r.t.Context(), "ws://"+to.String()+path, nil)
	if err != nil {
		if resp != nil {
			err = fmt.Errorf("%w: %s", err, resp.Status)
		}
		return nil, err
	}
	r.t.Cleanup(func() { c.Close() })
	c.SetReadDeadline(time.Now().Add(patience))
	return c, nil
}

// talks fails the test unless a message comes back.
func (r *rig) talks(c *websocket.Conn) {
	r.t.Helper()
	if err := c.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
		r.t.Fatal(err)
	}
	if _, got, err := c.ReadMessage(); err != nil || string(got) != "hello" {
		r.t.Fatalf("got %q and %v, want the message back", got, err)
	}
}

// wantClose reads until the connection ends, with a Close frame, and closes it.
func wantClose(t *testing.T, c *websocket.Conn, code int, reason string) {
	t.Helper()
	defer c.Close()
	for {
		_, _, err := c.ReadMessage()
		if err == nil {
			continue
		}
		e, ok := errors.AsType[*websocket.CloseError](err)
		if !ok || e.Code != code || e.Text != reason {
			t.Errorf("got %v, want a Close with %d %q", err, code, reason)
		}
		return
	}
}

// eventually waits for what other goroutines do.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	if !within(t, done) {
		t.Fatalf("%s: not within %s", what, patience)
	}
}

// within says whether what other goroutines do is done in time.
func within(t *testing.T, done func() bool) bool {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// echoUpstream sends messages back and notes with which codes its connections ended.
type echoUpstream struct {
	url string

	mu    sync.Mutex
	codes []int
}

func newEchoUpstream(t *testing.T) *echoUpstream {
	u := new(echoUpstream)
	var serving sync.WaitGroup
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		up := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
		c, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		serving.Add(1)
		defer serving.Done()
		defer c.Close()
		u.echo(c)
	}))
	t.Cleanup(func() { server.Close(); serving.Wait() })
	u.url = "ws" + strings.TrimPrefix(server.URL, "http")
	return u
}

func (u *echoUpstream) echo(c *websocket.Conn) {
	for {
		kind, message, err := c.ReadMessage()
		if err != nil {
			code := -1
			if e, ok := errors.AsType[*websocket.CloseError](err); ok {
				code = e.Code
			}
			u.mu.Lock()
			u.codes = append(u.codes, code)
			u.mu.Unlock()
			return
		}
		if c.WriteMessage(kind, message) != nil {
			return
		}
	}
}

func (u *echoUpstream) ended() []int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]int(nil), u.codes...)
}

// scrape is what Prometheus gets.
func (r *rig) scrape() string {
	w := httptest.NewRecorder()
	r.telemetry.Metrics().ServeHTTP(w, httptest.NewRequestWithContext(r.t.Context(), http.MethodGet, "/metrics", nil))
	return w.Body.String()
}

// metric says whether a series, given by parts of its line, has a value.
func (r *rig) metric(value string, parts ...string) bool {
lines:
	for line := range bytes.Lines([]byte(r.scrape())) {
		text := strings.TrimSpace(string(line))
		for _, p := range parts {
			if !strings.Contains(text, p) {
				continue lines
			}
		}
		if strings.HasSuffix(text, " "+value) {
			return true
		}
	}
	return false
}
