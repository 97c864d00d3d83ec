//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gorilla/websocket"
)

// foreignPages sends what a browser would for a page of another origin: nothing can be changed, nothing read.
func (h *house) foreignPages(t *testing.T) {
	s := h.newSettings(t)
	e := startEcho(t, h)
	s.route("chat", nil, "ws://"+e.plain)
	w := h.serve(t, s)
	c := h.open(t, w, "/chat/1", request{})
	c.talk(t, websocket.TextMessage, []byte("hello"))
	evil := []string{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}
	w.change(t, http.MethodPost, "/api/reload", http.StatusForbidden, evil...)
	w.change(t, http.MethodPost, "/api/drain", http.StatusForbidden, evil...)
	w.change(t, http.MethodDelete, "/api/connections?route=chat", http.StatusForbidden, evil...)
	w.change(t, http.MethodPost, "/api/drain", http.StatusUnsupportedMediaType, append(evil, "Content-Type", "text/plain")...)
	if _, resp, err := websocket.DefaultDialer.DialContext(t.Context(), "ws://"+w.admin+"/api/stream", http.Header{"Origin": {evil[1]}}); err == nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("stream: got %v, want 403", err)
	}
	rebound, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+w.admin+"/api/state", nil)
	if err != nil {
		t.Fatal(err)
	}
	rebound.Host, rebound.Close = "evil.example", true
	resp, err := http.DefaultClient.Do(rebound)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden || resp.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("a rebound name: got %d, want 403", resp.StatusCode)
	}
	h.foreignPageInChromium(t, w)
	c.talk(t, websocket.TextMessage, []byte("still here"))
}

// foreignPage tries, from another origin, to read each part of an admin port and to change something there, in every
// way that a browser has, and reports what it could read. The last request tells that all were sent.
const foreignPage = `<!doctype html><title>foreign</title><script>
const admin = TARGET
const read = []
const until = (event) => new Promise((resolve, reject) => { setTimeout(reject, 5000, 'late'); event(resolve, reject) })
const text = async (path, options) => { if (!(await (await fetch(admin + path, options)).text())) throw 'opaque' }
const json = { 'Content-Type': 'application/json' }
const tries = {
  'fetch state': () => text('/api/state'),
  'fetch page': () => text('/'),
  'fetch metrics without CORS': () => text('/metrics', { mode: 'no-cors' }),
  'stream': () => until((done, fail) => {
    const ws = new WebSocket(admin.replace('http', 'ws') + '/api/stream')
    ws.onopen = done
    ws.onerror = fail
  }),
  'script': () => until((done, fail) => {
    const s = document.createElement('script')
    s.src = admin + '/api/state'
    s.onload = done
    s.onerror = fail
    document.head.append(s)
  }),
  'reload as JSON': () => text('/api/reload', { method: 'POST', headers: json, body: '{}' }),
  'reload as text': () => text('/api/reload', { method: 'POST', mode: 'no-cors', body: '{}' }),
  'drain as a blob': () => text('/api/drain', { method: 'POST', mode: 'no-cors', body: new Blob(['{}'], { type: 'text/plain' }) }),
  'delete': () => text('/api/connections?route=chat', { method: 'DELETE' }),
}
addEventListener('load', async () => {
  const frame = document.createElement('iframe')
  frame.name = 'hidden'
  document.body.append(frame)
  const form = document.createElement('form')
  Object.assign(form, { method: 'POST', action: admin + '/api/drain', target: 'hidden', enctype: 'text/plain' })
  document.body.append(form)
  form.submit()
  navigator.sendBeacon(admin + '/api/reload', '{}')
  for (const [name, attempt] of Object.entries(tries)) await attempt().then(() => read.push(name), () => {})
  await fetch('/report', { method: 'POST', body: JSON.stringify({ read, tried: Object.keys(tries) }) })
})
</script>`

// foreignPageInChromium has a real browser on this machine, and not our idea of its headers, try. That the page can do
// what it tries is seen at a server that forbids nothing.
func (h *house) foreignPageInChromium(t *testing.T, w *wsproxy) {
	if h.missing(t, "chromium") {
		return
	}
	var report struct{ Read, Tried []string }
	careless := &carelessServer{}
	open := httptest.NewServer(careless)
	defer open.Close()
	if h.browse(t, foreignPage, open.URL, &report); len(report.Read) != 6 {
		t.Errorf("at a careless server the page read %q, want 6 of %q", report.Read, report.Tried)
	}
	eventually(t, "every way to change something was tried", func(context.Context) error {
		if n := careless.changed.Load(); n != 6 {
			return fmt.Errorf("%d of 6", n)
		}
		return nil
	})
	states := func() int { return bytes.Count(w.log(t), []byte(`"system state"`)) }
	before := states()
	for _, admin := range []string{w.admin, strings.Replace(w.admin, "127.0.0.1", "localhost", 1)} { // of the same site, and of another
		report.Read, report.Tried = nil, nil
		h.browse(t, foreignPage, "http://"+admin, &report)
		if len(report.Tried) == 0 || len(report.Read) > 0 {
			t.Errorf("the page tried %q at %s and could read %q, want nothing", report.Tried, admin, report.Read)
		}
	}
	if after := states(); after != before {
		t.Errorf("the page had the process change its state %d times, want never:\n%s", after-before, tail(w.log(t), 5))
	}
}

// carelessServer lets every page do everything.
type carelessServer struct{ changed atomic.Int64 }

func (s *carelessServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if websocket.IsWebSocketUpgrade(r) {
		if c, err := (&websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}).Upgrade(w, r, nil); err == nil {
			c.Close()
		}
		return
	}
	w.Header().Set("Access-Control-Allow-Origin", "*")
	w.Header().Set("Access-Control-Allow-Methods", "*")
	w.Header().Set("Access-Control-Allow-Headers", "*")
	if r.Method == http.MethodPost || r.Method == http.MethodDelete {
		s.changed.Add(1)
	}
	w.Write([]byte("0"))
}
