//go:build e2e

package e2e

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// page opens a WebSocket, has a message echoed, closes, and reports.
const page = `<!doctype html><title>through</title><script>
const report = (v) => fetch('/report', { method: 'POST', body: JSON.stringify(v) })
const ws = new WebSocket(TARGET, 'chat.v2')
let echo = ''
ws.onopen = () => ws.send('hello')
ws.onmessage = (e) => { echo = e.data; ws.close(1000) }
ws.onclose = (e) => report({ echo, code: e.code })
</script>`

// chromiumPatience is for a browser to start on a busy machine.
const chromiumPatience = 90 * time.Second

// chromiumThrough has Chromium load a page and open its WebSocket by a forward proxy, HTTP and SOCKS5.
func (h *house) chromiumThrough(t *testing.T, w *wsproxy, e *echo) {
	if h.missing(t, "chromium") {
		return
	}
	for _, scheme := range []string{"http", "socks5"} {
		for _, target := range []string{"ws://" + e.plain, "wss://" + e.secure} {
			target = strings.Replace(target, "127.0.0.1", "localhost", 1) + "/chromium-" + scheme
			t.Run("by "+scheme+" to "+target[:strings.Index(target, ":")], func(t *testing.T) {
				var got journey
				h.browse(t, page, target, &got, "--proxy-server="+scheme+"://"+w.plain, "--proxy-bypass-list=<-loopback>")
				if want := (journey{"hello", 1000}); got != want {
					t.Errorf("got %+v, want %+v", got, want)
				}
				if strings.HasPrefix(target, "ws:") { // and seen
					w.traceOf(t, func(l line) bool { return l.Tunnel == "websocket" && l.Path == "/chromium-"+scheme })
				}
			})
		}
	}
}

// browse has Chromium open a page, with target put in, by flags, and reads what the page reports.
func (h *house) browse(t *testing.T, page, target string, into any, flags ...string) {
	t.Helper()
	reported := make(chan []byte, 1)
	quoted, err := json.Marshal(target)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			rw.Header().Set("Content-Type", "text/html")
			rw.Write([]byte(strings.Replace(page, "TARGET", string(quoted), 1)))
			return
		}
		if body, err := io.ReadAll(r.Body); err == nil {
			select {
			case reported <- body:
			default: // it says so twice
			}
		}
	}))
	defer server.Close()
	start(t, "chromium", nil, h.programs["chromium"], slices.Concat([]string{
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--user-data-dir=" + t.TempDir(),
		"--ignore-certificate-errors-spki-list=" + h.pin(t), "--remote-debugging-port=0",
	}, flags, []string{server.URL})...).shown = 10
	select {
	case body := <-reported:
		if err := json.Unmarshal(body, into); err != nil {
			t.Errorf("Chromium reported %q: %v", body, err)
		}
	case <-time.After(chromiumPatience):
		t.Errorf("Chromium did not report within %v", chromiumPatience)
	}
}

// pin is how Chromium is told to trust our certificate.
func (h *house) pin(t *testing.T) string {
	t.Helper()
	leaf, err := x509.ParseCertificate(h.pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	return base64.StdEncoding.EncodeToString(sum[:])
}
