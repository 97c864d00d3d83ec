package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
)

// guard lets requests through that may come in.
type guard struct {
	token *atomic.Pointer[string]
	hosts map[string]bool // nil: any
	next  http.Handler
}

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case g.hosts != nil && !g.hosts[strings.ToLower(r.Host)]:
		// DNS rebinding: a page's own name was made to mean this address, so that its scripts may read.
		problem{Status: http.StatusForbidden, Detail: "the Host header is no address of this listener"}.write(w)
	case r.Method != http.MethodGet && r.Method != http.MethodHead && !(r.Method == http.MethodPut && changeable(r.URL.Path)):
		w.Header().Set("Allow", allowed(r.URL.Path))
		problem{Status: http.StatusMethodNotAllowed}.write(w)
	case !public(r.URL.Path) && !g.admits(r.Header.Get("Authorization")):
		w.Header().Set("WWW-Authenticate", `Bearer realm="wsproxy admin"`)
		problem{Status: http.StatusUnauthorized}.write(w)
	case r.Method == http.MethodPut && foreign(r):
		problem{Status: http.StatusForbidden, Detail: "a change is application/json and has no other Origin than this address"}.write(w)
	default:
		g.next.ServeHTTP(w, r)
	}
}

// changeable says which paths take a PUT.
func changeable(path string) bool { return path == "/api/log-level" }

func allowed(path string) string {
	if changeable(path) {
		return "GET, HEAD, PUT"
	}
	return "GET, HEAD"
}

// public says which paths load balancers and supervisors may ask for without the token.
func public(path string) bool { return path == "/healthz" || path == "/readyz" }

func (g *guard) admits(authorization string) bool {
	token := *g.token.Load()
	if token == "" {
		return true
	}
	scheme, given, _ := strings.Cut(authorization, " ")
	got, want := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(token)) // of one length, whatever came
	return subtle.ConstantTimeCompare(got[:], want[:]) == 1 && strings.EqualFold(scheme, "Bearer")
}

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
