//go:build e2e

package e2e

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// loadSize is how much goes on while wsproxy is reloaded and upgraded. WSPROXY_LOAD changes it, as
// "clients=1000 rate=5000 reloads=100 upgrades=20".
type loadSize struct{ clients, rate, reloads, upgrades int }

func loadOf(t *testing.T) loadSize {
	t.Helper()
	s := loadSize{clients: 100, rate: 1000, reloads: 20, upgrades: 3}
	for part := range strings.FieldsSeq(os.Getenv("WSPROXY_LOAD")) {
		name, value, _ := strings.Cut(part, "=")
		n, err := strconv.Atoi(value)
		field := map[string]*int{"clients": &s.clients, "rate": &s.rate, "reloads": &s.reloads, "upgrades": &s.upgrades}[name]
		if err != nil || field == nil {
			t.Fatalf("WSPROXY_LOAD: %q", part)
		}
		*field = n
	}
	return s
}

// load is clients that each send a message and wait for it to come back, over and over. A Close with 1012 has a
// client come back and send again what was not answered; anything else is a fault.
type load struct {
	url  string
	size loadSize

	opened   atomic.Int64
	answered atomic.Int64
	told     atomic.Int64 // Closes with 1012
	faults   chan error
}

func (l *load) run(ctx context.Context) {
	var all sync.WaitGroup
	for i := range l.size.clients {
		all.Go(func() {
			if err := l.client(ctx, i); err != nil {
				select {
				case l.faults <- fmt.Errorf("client %d: %w", i, err):
				default:
				}
			}
		})
	}
	all.Wait()
}

func (l *load) client(ctx context.Context, id int) error {
	pace := time.NewTicker(time.Duration(l.size.clients) * time.Second / time.Duration(l.size.rate))
	defer pace.Stop()
	n := 0
	for ctx.Err() == nil {
		c, _, err := (&websocket.Dialer{HandshakeTimeout: patience}).DialContext(ctx, l.url, nil)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("refused: %w", err)
		}
		l.opened.Add(1)
		err = l.talk(ctx, c, id, &n, pace.C)
		c.Close()
		if e, ok := errors.AsType[*websocket.CloseError](err); ok && e.Code == websocket.CloseServiceRestart {
			l.told.Add(1)
			continue
		}
		if err != nil {
			return fmt.Errorf("message %d lost: %w", n, err)
		}
	}
	return nil
}

// talk ends with ctx or an error; message n is the next that has not come back.
func (l *load) talk(ctx context.Context, c *websocket.Conn, id int, n *int, pace <-chan time.Time) error {
	for {
		select {
		case <-pace:
		case <-ctx.Done():
			return nil
		}
		message := fmt.Sprintf("%d of %d", *n, id)
		sent := c.WriteMessage(websocket.TextMessage, []byte(message)) // if it failed, reading tells why
		c.SetReadDeadline(time.Now().Add(patience))
		_, got, err := c.ReadMessage()
		if err != nil {
			return errors.Join(err, sent)
		}
		if string(got) != message {
			return fmt.Errorf("got %q, want %q", got, message)
		}
		l.answered.Add(1)
		*n++
	}
}

// underLoad reloads and upgrades wsproxy while clients talk through it: no message of a route that stays as it is gets
// lost, and nobody is refused.
func (h *house) underLoad(t *testing.T) {
	size := loadOf(t)
	s := h.newSettings(t)
	e := startEcho(t, h)
	s.route("chat", nil, "ws://"+e.plain)
	s.drain = object{"timeout": "10s", "spread": "300ms"}
	w := h.serve(t, s)
	w.stopUpgraded(t)

	ctx, stop := context.WithCancel(t.Context())
	l := &load{url: "ws://" + w.plain + "/chat/1", size: size, faults: make(chan error, 10)}
	var running sync.WaitGroup
	running.Go(func() { l.run(ctx) })
	defer running.Wait()
	defer stop()
	eventually(t, "every client is there", func(context.Context) error {
		if l.opened.Load() < int64(size.clients) {
			return errNotYet
		}
		return nil
	})

	began := time.Now()
	for i := range size.reloads {
		s.routes = s.routes[:1]
		s.upstreams = s.upstreams[:1]
		s.route("other", object{"retries": i % 3, "on_change": "close"}, "ws://"+e.plain)
		if err := os.WriteFile(w.file(), s.document(t), 0o600); err != nil {
			t.Fatal(err)
		}
		w.change(t, http.MethodPost, "/api/reload", http.StatusOK)
	}
	t.Logf("%d reloads in %v, %d messages answered by then", size.reloads, time.Since(began), l.answered.Load())
	if told, opened := l.told.Load(), l.opened.Load(); told != 0 || opened != int64(size.clients) {
		t.Errorf("reloads closed %d connections of a route that stayed as it is (%d opened), want none", told, opened)
	}

	began = time.Now()
	for i := range size.upgrades {
		w.upgrade(t)
		want := int64(size.clients * (i + 1))
		eventually(t, "every client was told to come back, and did", func(context.Context) error {
			if len(l.faults) > 0 {
				t.Fatal(<-l.faults)
			}
			// Who comes back late would find the process after the next one, and not be told by that.
			if told, opened := l.told.Load(), l.opened.Load(); told < want || opened < want+int64(size.clients) {
				return fmt.Errorf("upgrade %d: %d told, %d opened", i+1, told, opened)
			}
			return nil
		})
	}
	t.Logf("%d upgrades in %v, %d messages answered, %d connections opened", size.upgrades, time.Since(began), l.answered.Load(), l.opened.Load())
	stop()
	running.Wait()
	close(l.faults)
	for err := range l.faults {
		t.Error(err)
	}
}

// file is the configuration that w was started with.
func (w *wsproxy) file() string { return w.cmd.Args[len(w.cmd.Args)-1] }

// pid is the id of the process that serves now: the newest of the group that the first one began.
func (w *wsproxy) pid(t testing.TB) int {
	t.Helper()
	newest := 0
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		id, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if group, err := syscall.Getpgid(id); err == nil && group == w.cmd.Process.Pid {
			newest = max(newest, id)
		}
	}
	return cmp.Or(newest, w.cmd.Process.Pid)
}

// upgrade has the process that serves start another, and returns when that one serves alone.
func (w *wsproxy) upgrade(t *testing.T) {
	t.Helper()
	former := w.pid(t)
	if err := syscall.Kill(former, syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the former process has ended", func(context.Context) error {
		if syscall.Kill(former, 0) == nil && !zombie(former) {
			return errNotYet
		}
		return nil
	})
	eventually(t, "the new process is ready", answers("http://"+w.admin+"/readyz"))
}

// upgradesInARow asks the new process for the next upgrade while the one before still waits for a client that does not
// leave.
func (h *house) upgradesInARow(t *testing.T) {
	s := h.newSettings(t)
	e := startEcho(t, h)
	s.route("chat", nil, "ws://"+e.plain)
	s.drain = object{"timeout": "2s", "spread": "0s"}
	w := h.serve(t, s)
	w.stopUpgraded(t)
	h.open(t, w, "/chat/stays", request{}) // nobody reads what it is told
	for n := 1; n <= 2; n++ {
		if err := syscall.Kill(w.pid(t), syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the next process has taken over", func(context.Context) error {
			if bytes.Count(w.log(t), []byte("a new process has taken over")) < n {
				return errNotYet
			}
			return nil
		})
	}
	c := h.open(t, w, "/chat/comes", request{})
	c.talk(t, websocket.TextMessage, []byte("hello"))
	if log := w.log(t); bytes.Contains(log, []byte("upgrade failed")) {
		t.Errorf("an upgrade was refused, want that it waits:\n%s", tail(log, 10))
	}
}

func zombie(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(text), ") Z ")
}

// stopUpgraded ends, with the test, the processes that took over from the first one.
func (w *wsproxy) stopUpgraded(t *testing.T) {
	t.Cleanup(func() { syscall.Kill(-w.cmd.Process.Pid, syscall.SIGKILL) })
}

// change asks the admin API for one.
func (w *wsproxy) change(t testing.TB, method, path string, want int, headers ...string) {
	t.Helper()
	w.changeTo(t, method, path, "{}", want, headers...)
}

func (w *wsproxy) changeTo(t testing.TB, method, path, body string, want int, headers ...string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+w.admin+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != want {
		var problem struct{ Detail string }
		json.NewDecoder(resp.Body).Decode(&problem)
		t.Errorf("%s %s: got %d (%s), want %d", method, path, resp.StatusCode, problem.Detail, want)
	}
}
