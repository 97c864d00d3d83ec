package proxy

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path"
	"strings"
	"time"

	"wsproxy/proxy/frame"
	"wsproxy/proxy/relay"
)

// Route is where requests that match go, and how they are treated there.
type Route struct {
	Name     string
	Match    string // a net/http ServeMux pattern without method
	Upstream Upstream

	// Origin decides by the Origin header; scheme and host are the service's as the client knows it.
	// Nil allows every origin.
	Origin func(origin, scheme, host string) bool

	// Auth decides who may use it, upgrades and other requests alike. Nil: everyone.
	Auth Auth

	// Limiter bounds its connections. Nil: nothing does.
	Limiter Limiter

	RequestHeaders  HeaderRules // of what goes to the upstream
	ResponseHeaders HeaderRules // of what goes to the client; answers of our own are as they are

	RejectHTTP   bool // answer 426 to requests that are not upgrades
	OwnHost      bool // send the target's host instead of the client's
	ServerTiming bool // tell the client how long each phase took
	Framing      frame.Mode
	Retries      int           // further targets to try
	Handshake    time.Duration // from the complete request head to the 101; 0: 10 s
	Policy       relay.Policy
	Identity     Identity // by which clients are known again

	pattern string // path part of Match
	plain   http.Handler
	idle    func() // closes idle connections of plain
}

// Upstream is a named group of targets.
type Upstream struct {
	Name string

	// Pick chooses a target whose name is not among those tried. release is called once, when the
	// connection that went there has ended.
	Pick func(tried []string) (t Target, release func(), ok bool)
}

// Target is one place to dial.
type Target struct {
	Name    string // as configured
	Address string // host:port, or a socket's path
	Host    string // for the Host header of a route with OwnHost
	Egress  string // name of the egress proxy, empty when direct
	Single  bool   // a connection is for one client's request: the target is told of that client

	// Dial opens a connection ready for HTTP, TLS done. It reports its phases to the connection in ctx.
	Dial func(ctx context.Context) (net.Conn, error)
}

const defaultHandshake = 10 * time.Second

func (r *Route) compile(s *Server) error {
	if r.plain != nil { // of an earlier table
		return nil
	}
	if r.Upstream.Pick == nil {
		return fmt.Errorf("route %s: no upstream", r.Name)
	}
	for _, rules := range []*HeaderRules{&r.RequestHeaders, &r.ResponseHeaders} {
		if err := rules.compile(); err != nil {
			return fmt.Errorf("route %s: %w", r.Name, err)
		}
	}
	if r.Handshake == 0 {
		r.Handshake = defaultHandshake
	}
	r.Identity.compile(s.identitySeed())
	r.pattern = r.Match[max(strings.IndexByte(r.Match, '/'), 0):]
	r.plain, r.idle = newPlain(s, r)
	return nil
}

// Pattern is the path part of Match.
func (r *Route) Pattern() string { return r.pattern }

// register puts the route into the mux, which panics over a bad or conflicting pattern.
func (r *Route) register(mux *http.ServeMux) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("route %s: match %q: %v", r.Name, r.Match, v)
		}
	}()
	mux.Handle(r.Match, r)
	return nil
}

// ServeHTTP makes a Route something that a ServeMux can find; it is never called.
func (r *Route) ServeHTTP(http.ResponseWriter, *http.Request) {}

func cleanPath(p string) string {
	clean := path.Clean("/" + p)
	if strings.HasSuffix(p, "/") && clean != "/" {
		clean += "/"
	}
	return clean
}
