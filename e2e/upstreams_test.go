//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// crowdSize is how many clients the upstreams' test has; a multiple of the targets.
const crowdSize = 150

// upstreams kills one of three targets, with kill -9: each of its clients is told within two seconds and is
// served by another target at once, the clients of the others notice nothing, and Prometheus and the admin
// API know. The target comes back and gets its share again. Without any target there is a 503 that says so.
func (h *house) upstreams(t *testing.T) {
	var targets []*target
	for range 3 {
		targets = append(targets, h.startTarget(t, h.ports.address(t)))
	}
	s := h.newSettings(t)
	checks := object{"interval": "200ms", "timeout": "2s", "fall": 2, "rise": 2}
	s.route("chat", object{"health": checks}, targets[0].url, targets[1].url, targets[2].url)
	s.route("sticky", object{"sticky": object{"cookie": "at"}}, targets[0].url, targets[1].url, targets[2].url)
	w := h.serve(t, s)
	if !bytes.Contains(w.log(t), []byte("6 targets, 0 unhealthy")) {
		t.Error("the log does not tell that the first checks went well")
	}
	h.stays(t, w)

	members := make([]*member, crowdSize)
	for i := range members {
		members[i] = &member{url: "ws://" + w.plain + "/chat/crowd"}
		members[i].join(t)
	}
	h.stack.prometheus.want(t, "sum("+w.of("wsproxy_connection_active", "wsproxy_upstream_name", "chat")+")", crowdSize)
	if got := w.openAt(t, "chat"); !slices.Equal(got, []int{crowdSize / 3, crowdSize / 3, crowdSize / 3}) {
		t.Errorf("got %v connections, want as many everywhere", got)
	}
	h.killed(t, w, targets[0], members)
	targets[0] = h.returned(t, w, targets[0])
	for _, target := range targets {
		target.signal(syscall.SIGKILL)
		target.awaitStatus(t, w, "unhealthy")
	}
	d := h.dialOnce(t.Context(), "ws://"+w.plain+"/chat/late", nil)
	if d.status != 503 || d.reason != "no_upstream" || d.retry == "" {
		t.Errorf("without a target: got %d %s, Retry-After %q, want 503 no_upstream", d.status, d.reason, d.retry)
	}
	h.stack.prometheus.want(t, w.of("wsproxy_connection_rejected_total", "wsproxy_route_name", "chat", "error_type", "no_upstream"), 1)
	closeMembers(members)
}

// killed kills a target under a crowd.
func (h *house) killed(t *testing.T, w *wsproxy, dead *target, members []*member) {
	t.Helper()
	at := time.Now()
	dead.signal(syscall.SIGKILL)
	var told sync.WaitGroup
	for _, m := range members {
		told.Go(func() { m.follow(at.Add(2 * time.Second)) })
	}
	told.Wait()
	lost, longest := 0, time.Duration(0)
	for i, m := range members {
		if m.err != nil {
			t.Errorf("client %d: %v", i, m.err)
		}
		if !m.told.IsZero() {
			lost++
			longest = max(longest, m.told.Sub(at))
		}
	}
	if lost != crowdSize/3 {
		t.Errorf("%d clients lost their upstream, want %d", lost, crowdSize/3)
	}
	t.Logf("%d clients told within %v", lost, longest)
	dead.awaitStatus(t, w, "unhealthy")
	h.stack.prometheus.want(t, w.of("wsproxy_upstream_status", "wsproxy_upstream_name", "chat", "wsproxy_target_name", dead.url, "wsproxy_upstream_state", "healthy"), 0)
	if got, want := w.openAt(t, "chat"), []int{0, crowdSize / 2, crowdSize / 2}; !slices.Equal(got, want) {
		t.Errorf("got %v connections, want %v", got, want)
	}
}

// returned starts a target anew, at its old address.
func (h *house) returned(t *testing.T, w *wsproxy, dead *target) *target {
	t.Helper()
	<-dead.ended
	again := h.startTarget(t, strings.TrimPrefix(dead.url, "ws://"))
	again.awaitStatus(t, w, "healthy")
	fresh := h.dialAll(t, "ws://"+w.plain+"/chat/fresh", 10, nil)
	defer closeAll(fresh)
	eventually(t, "the target that came back has the new connections", func(context.Context) error {
		if got := w.openAt(t, "chat"); got[0] != 10 {
			return fmt.Errorf("got %v connections", got)
		}
		return nil
	})
	return again
}

// stays has a client come back with its cookie: to the same target, whoever else is there.
func (h *house) stays(t *testing.T, w *wsproxy) {
	t.Helper()
	dial := func(header http.Header) (*websocket.Conn, string) {
		conn, resp, err := websocket.DefaultDialer.DialContext(t.Context(), "ws://"+w.plain+"/sticky/x", header)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn, strings.Split(resp.Header.Get("Set-Cookie"), ";")[0]
	}
	_, cookie := dial(nil)
	if !strings.HasPrefix(cookie, "at=") {
		t.Fatalf("got the cookie %q", cookie)
	}
	before := w.openAt(t, "sticky")
	for range 6 {
		if _, again := dial(http.Header{"Cookie": {cookie}}); again != "" {
			t.Errorf("got another cookie %q", again)
		}
	}
	after := w.openAt(t, "sticky")
	for i := range after {
		if want := before[i] * 7; after[i] != want {
			t.Errorf("target %d: got %d connections, want %d", i, after[i], want)
		}
	}
}

// target is a `wsproxy echo` of its own.
type target struct {
	*process
	h   *house
	url string
}

func (h *house) startTarget(t *testing.T, address string) *target {
	t.Helper()
	p := &target{process: start(t, "target", nil, h.binary, "echo", "--listen", address), h: h, url: "ws://" + address}
	eventually(t, "the target listens", func(context.Context) error {
		if bytes.Contains(p.log(t), []byte("echo listens on")) {
			return nil
		}
		return errNotYet
	})
	return p
}

// awaitStatus waits until Prometheus has the target in a state.
func (p *target) awaitStatus(t *testing.T, w *wsproxy, state string) {
	t.Helper()
	p.h.stack.prometheus.want(t, w.of("wsproxy_upstream_status", "wsproxy_upstream_name", "chat", "wsproxy_target_name", p.url, "wsproxy_upstream_state", state), 1)
}

// openAt are the connections of an upstream's targets, as the admin API tells them.
func (w *wsproxy) openAt(t *testing.T, upstream string) []int {
	t.Helper()
	body, err := get(t.Context(), "http://"+w.admin+"/api/upstreams")
	if err != nil {
		t.Fatal(err)
	}
	var all struct {
		Items []struct {
			Name    string
			Targets []struct{ Open int }
		}
	}
	if err := json.Unmarshal(body, &all); err != nil {
		t.Fatal(err)
	}
	var open []int
	for _, u := range all.Items {
		for _, target := range u.Targets {
			if u.Name == upstream {
				open = append(open, target.Open)
			}
		}
	}
	return open
}

// member is one of a crowd of clients, which connects again when it lost its upstream.
type member struct {
	url  string
	conn *websocket.Conn
	told time.Time // that the upstream is lost; zero if it was not
	err  error
}

func (m *member) join(t *testing.T) {
	t.Helper()
	if err := m.connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.conn.Close() })
}

// connect connects and has a message echoed.
func (m *member) connect(ctx context.Context) error {
	conn, resp, err := websocket.DefaultDialer.DialContext(ctx, m.url, nil)
	for resp != nil && resp.StatusCode == http.StatusBadGateway && ctx.Err() == nil { // by a target whose sockets are being closed
		<-time.After(pause)
		conn, resp, err = websocket.DefaultDialer.DialContext(ctx, m.url, nil)
	}
	if err != nil {
		return err
	}
	m.conn = conn
	return m.talk()
}

func (m *member) talk() error {
	m.conn.SetReadDeadline(time.Now().Add(patience))
	if err := m.conn.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
		return err
	}
	_, got, err := m.conn.ReadMessage()
	if err == nil && string(got) != "hello" {
		err = fmt.Errorf("got %q back", got)
	}
	return err
}

// follow waits until the deadline for a Close; with one it connects again, without one its connection works.
func (m *member) follow(deadline time.Time) {
	m.conn.SetReadDeadline(deadline)
	_, _, err := m.conn.ReadMessage()
	if e, ok := errors.AsType[*websocket.CloseError](err); ok {
		m.told = time.Now()
		m.conn.Close()
		if e.Code != websocket.CloseServiceRestart {
			m.err = fmt.Errorf("got %w, want 1012", e)
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		m.err = m.connect(ctx)
		return
	}
	if e, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err); !ok || !e.Timeout() {
		m.err = fmt.Errorf("got %w, want a Close or nothing", err)
	}
}

func closeMembers(all []*member) {
	for _, m := range all {
		m.conn.Close()
	}
}
