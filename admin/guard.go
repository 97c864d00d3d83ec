package admin

import (
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/gorilla/websocket"
)

// guard lets requests through that may come in.
type guard struct {
	access *atomic.Pointer[Access]
	hosts  map[string]bool // nil: any
	change *http.ServeMux  // what requests may change
	next   http.Handler
}

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case g.hosts != nil && !g.hosts[strings.ToLower(r.Host)]:
		// DNS rebinding: a page's own name was made to mean this address, so that its scripts may read.
		problem{Status: http.StatusForbidden, Detail: "the Host header is no address of this listener"}.write(w)
	case !reads(r) && !g.changes(r):
		w.Header().Set("Allow", g.allowed(r))
		problem{Status: http.StatusMethodNotAllowed}.write(w)
	case !public(r.URL.Path) && !g.access.Load().vouched(r.TLS):
		problem{Status: http.StatusForbidden, Detail: "a client certificate is needed"}.write(w)
	case !public(r.URL.Path) && !g.access.Load().admits(r.Header.Get("Authorization")):
		w.Header().Set("WWW-Authenticate", `Bearer realm="wsproxy admin"`)
		problem{Status: http.StatusUnauthorized}.write(w)
	case !reads(r) && r.Method != http.MethodDelete && !isJSON(r):
		problem{Status: http.StatusUnsupportedMediaType, Detail: "a change is application/json"}.write(w)
	case (!reads(r) || websocket.IsWebSocketUpgrade(r)) && foreign(r):
		problem{Status: http.StatusForbidden, Detail: "the Origin is not this address"}.write(w)
	case embedded(r):
		problem{Status: http.StatusForbidden, Detail: "a page of another site asks for it"}.write(w)
	default:
		g.next.ServeHTTP(w, r)
	}
}

func reads(r *http.Request) bool { return r.Method == http.MethodGet || r.Method == http.MethodHead }

// changes says whether the request's path takes its method.
func (g *guard) changes(r *http.Request) bool {
	_, pattern := g.change.Handler(r)
	return pattern != ""
}

func (g *guard) allowed(r *http.Request) string {
	methods := []string{http.MethodGet, http.MethodHead}
	for _, method := range []string{http.MethodDelete, http.MethodPost, http.MethodPut} {
		if g.changes(&http.Request{Method: method, Host: r.Host, URL: r.URL}) {
			methods = append(methods, method)
		}
	}
	return strings.Join(methods, ", ")
}

// isJSON is asked of changes: what a page of another origin can send without asking (a form, or text) is not.
func isJSON(r *http.Request) bool {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && kind == "application/json"
}

// foreign says whether a browser sends the request for a page of another origin. It names the origin with
// changes and WebSockets; other programs send none.
func foreign(r *http.Request) bool {
	origin := r.Header["Origin"]
	if len(origin) == 0 {
		return false
	}
	u, err := url.Parse(origin[0])
	return err != nil || len(origin) > 1 || u.Host == "" || !strings.EqualFold(u.Host, r.Host)
}

// embedded says whether a browser says that a page of another site asks, by a script, an image or a frame, and not its
// user who follows a link. Such a page can't read the answer, but could have profiles made and connections listed.
func embedded(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") { // W3C Fetch Metadata; other programs send none
	case "", "none", "same-origin":
		return false
	}
	return r.Header.Get("Sec-Fetch-Dest") != "document"
}

// public says which paths load balancers and supervisors may ask for without token and certificate.
func public(path string) bool { return path == "/healthz" || path == "/readyz" }

// legalHosts lists the Host headers of a listener on loopback; nil for any other, which a page's script
// reaches without rebinding anything.
func legalHosts(at net.Addr, configured string) map[string]bool {
	tcp, ok := at.(*net.TCPAddr)
	if !ok || !tcp.IP.IsLoopback() {
		return nil
	}
	names := []string{"localhost", "127.0.0.1", "::1", tcp.IP.String()}
	if host, _, err := net.SplitHostPort(configured); err == nil && host != "" {
		names = append(names, strings.ToLower(host))
	}
	legal := make(map[string]bool)
	for _, name := range names {
		legal[net.JoinHostPort(name, strconv.Itoa(tcp.Port))] = true
	}
	return legal
}
