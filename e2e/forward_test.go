//go:build e2e

package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	coder "github.com/coder/websocket"
	"github.com/gorilla/websocket"
	"golang.org/x/crypto/bcrypt"
)

// Credentials of the forward proxy's clients.
const (
	forwardUser     = "traveller"
	forwardPassword = "canary-forward"
)

// journey is what a client behind a proxy saw.
type journey struct {
	Echo string
	Code int
}

// traveller has a client reach a WebSocket through a proxy.
type traveller struct {
	name    string
	schemes []string // of proxies that it speaks
	visit   func(t *testing.T, target string, proxy *url.URL, caFile string) journey
}

func (h *house) travellers(t *testing.T) []traveller {
	all := []traveller{
		{"gorilla", []string{"http", "socks5"}, gorillaThrough},
		{"coder", []string{"http", "socks5"}, coderThrough},
	}
	if !h.missing(t, append(node.needs, node.program)...) {
		all = append(all, traveller{"node", []string{"http", "socks5"}, func(t *testing.T, target string, proxy *url.URL, caFile string) (v journey) {
			h.startPeer(t, node, "through", target, caFile, proxy.String()).report(t, &v)
			return v
		}})
	}
	if h.missing(t, python.program) {
		return all
	}
	for _, p := range []struct {
		library, modules string
		schemes          []string
	}{
		{"aiohttp", "aiohttp", []string{"http"}},
		{"websocket-client", "websocket", []string{"http"}},
		{"websockets", "websockets, socks", []string{"http", "socks5"}},
	} {
		if exec.Command(h.programs[python.program], "-c", "import "+p.modules).Run() != nil {
			h.missing(t, "python3-"+p.library) // it is no program, so it is missing
			continue
		}
		all = append(all, traveller{p.library, p.schemes, func(t *testing.T, target string, proxy *url.URL, caFile string) (v journey) {
			h.startPeer(t, python, "through", p.library, target, caFile, proxy.String()).report(t, &v)
			return v
		}})
	}
	return all
}

// trusting is TLS of a client that trusts the authorities in a file.
func trusting(t *testing.T, caFile string) *tls.Config {
	t.Helper()
	text, err := os.ReadFile(caFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return &tls.Config{RootCAs: pool, NextProtos: []string{"http/1.1"}}
}

func gorillaThrough(t *testing.T, target string, proxy *url.URL, caFile string) journey {
	d := websocket.Dialer{
		Proxy: http.ProxyURL(proxy), TLSClientConfig: trusting(t, caFile), HandshakeTimeout: patience,
		Subprotocols: []string{subprotocol}, EnableCompression: true,
	}
	c, _, err := d.DialContext(t.Context(), target, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	_, back, err := c.ReadMessage()
	if err != nil {
		t.Fatal(err)
	}
	c.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(1000, ""))
	c.ReadMessage()
	hearOut(c.NetConn())
	return journey{string(back), 1000}
}

// hearOut closes a connection when the other side has: a socket that is closed with unread bytes is reset, and so is
// one that still sends, as TLS does at its end.
func hearOut(c net.Conn) {
	c.SetReadDeadline(time.Now().Add(patience))
	io.Copy(io.Discard, c)
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	c.Close()
}

func coderThrough(t *testing.T, target string, proxy *url.URL, caFile string) journey {
	transport := &http.Transport{Proxy: http.ProxyURL(proxy), TLSClientConfig: trusting(t, caFile), DisableKeepAlives: true}
	c, _, err := coder.Dial(t.Context(), target, &coder.DialOptions{HTTPClient: &http.Client{Transport: transport}, Subprotocols: []string{subprotocol}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	if err := c.Write(t.Context(), coder.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	_, back, err := c.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(coder.StatusNormalClosure, ""); err != nil {
		t.Fatal(err)
	}
	return journey{string(back), 1000}
}

// forward has clients of several makers reach WebSockets, in the clear and through TLS, by a forward proxy
// and by two in a row, and wants the connections in Jaeger.
func (h *house) forward(t *testing.T) {
	e := startEcho(t, h)
	users := filepath.Join(t.TempDir(), "users")
	hash, err := bcrypt.GenerateFromPassword([]byte(forwardPassword), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(users, []byte(forwardUser+":"+string(hash)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	far := h.newSettings(t)
	far.service += " far"
	far.telemetry["service_name"] = far.service
	far.forward = object{"allow": []string{"127.0.0.0/8"}, "auth": object{"htpasswd": users}}
	w := h.serve(t, far)
	near := h.newSettings(t)
	near.egress = []object{{
		"name": "far", "url": "http://" + w.plain, "credentials": near.secret("far", forwardUser+":"+forwardPassword), "trusted": true,
	}}
	near.forward = object{"allow": []string{"127.0.0.0/8"}, "egress": "far"}
	chain := h.serve(t, near)
	for _, c := range h.travellers(t) {
		for _, scheme := range c.schemes {
			for _, target := range []string{"ws://" + e.plain, "wss://" + e.secure} {
				target = strings.Replace(target, "127.0.0.1", "localhost", 1) + "/" + c.name + "-" + scheme
				t.Run(c.name+" by "+scheme+" to "+target[:strings.Index(target, ":")], func(t *testing.T) {
					direct := &url.URL{Scheme: scheme, Host: w.plain, User: url.UserPassword(forwardUser, forwardPassword)}
					if got, want := c.visit(t, target, direct, h.caFile), (journey{"hello", 1000}); got != want {
						t.Errorf("got %+v, want %+v", got, want)
					}
					through := &url.URL{Scheme: scheme, Host: chain.plain}
					if got, want := c.visit(t, target, through, h.caFile), (journey{"hello", 1000}); got != want {
						t.Errorf("through two proxies: got %+v, want %+v", got, want)
					}
				})
			}
		}
	}
	t.Run("curl", func(t *testing.T) { h.curlThrough(t, w, e) })
	t.Run("Chromium", func(t *testing.T) { h.chromiumThrough(t, chain, e) })
	t.Run("in Jaeger", func(t *testing.T) { h.checkForwarded(t, w, chain, e) })
	for _, l := range complaints(append(w.log(t), chain.log(t)...)) {
		t.Errorf("wsproxy complains: %s", l)
	}
}

func (h *house) curlThrough(t *testing.T, w *wsproxy, e *echo) {
	if h.missing(t, "curl") {
		return
	}
	user := forwardUser + ":" + forwardPassword
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"absolute form":  {[]string{"-x", "http://" + w.plain, "-U", user}, "200"},
		"CONNECT":        {[]string{"-p", "-x", "http://" + w.plain, "-U", user}, "200"},
		"SOCKS5":         {[]string{"-x", "socks5h://" + user + "@" + w.plain}, "200"},
		"no password":    {[]string{"-x", "http://" + w.plain}, "407"},
		"wrong password": {[]string{"-x", "http://" + w.plain, "-U", forwardUser + ":no"}, "407"},
	} {
		out, err := exec.Command(h.programs["curl"], append(c.args, "-sS", "-o", "/dev/null", "-w", "%{http_code}", "http://"+e.plain+"/")...).Output()
		if string(out) != c.want {
			t.Errorf("%s: got %s, %v, want %s", name, out, err, c.want)
		}
	}
}

// checkForwarded makes two more visits, one of which stays opaque, and looks at their traces.
func (h *house) checkForwarded(t *testing.T, w, chain *wsproxy, e *echo) {
	proxy := &url.URL{Scheme: "http", Host: chain.plain}
	gorillaThrough(t, "ws://"+e.plain+"/seen", proxy, h.caFile)
	trace := h.stack.jaeger.await(t, chain.traceOf(t, func(l line) bool { return l.Path == "/seen" }),
		spansNamed("CONNECT", "proxy CONNECT", spanUpgrade, spanTransfer, spanClose))
	root := trace.root()
	for key, want := range map[string]string{
		"wsproxy.mode": "forward", "wsproxy.route.name": "forward", "wsproxy.egress.name": "far", "wsproxy.tunnel.protocol": "websocket", "http.request.method": "CONNECT",
	} {
		if got := root.text(key); got != want {
			t.Errorf("%s: got %q, want %q", key, got, want)
		}
	}
	wantNumber(t, root, "http.response.status_code", 200)
	wantNumber(t, trace.span(spanClose), "wsproxy.total.upstream.messages", 1)

	gorillaThrough(t, "wss://"+e.secure+"/opaque", &url.URL{Scheme: "socks5", Host: w.plain, User: url.UserPassword(forwardUser, forwardPassword)}, h.caFile)
	opaque := w.traceOf(t, func(l line) bool { return l.Method == "SOCKS5" && l.Tunnel == "tls" })
	trace = h.stack.jaeger.await(t, opaque, spansNamed("SOCKS5", "tunnel transfer", "tunnel close"))
	if got := trace.span("tunnel close").text("wsproxy.close.cause"); got != "tunnel_end" {
		t.Errorf("cause: got %q, want tunnel_end", got)
	}
	h.stack.prometheus.want(t, "sum("+w.of("wsproxy_tunnel_active")+")", 0)
}
