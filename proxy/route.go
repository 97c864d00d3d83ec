package proxy

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"path"
	"strings"
	"time"

	"wsproxy/lifecycle"
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

	// Baggage are the keys of a trusted client's baggage that go on to the upstream.
	Baggage []string

	RejectHTTP   bool // answer 426 to requests that are not upgrades
	OwnHost      bool // send the target's host instead of the client's
	ServerTiming bool // tell the client how long each phase took
	Framing      frame.Mode
	Retries      int           // further targets to try
	RetryOn      []int         // also after these answers of an upstream: 502, 503, 504
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

	// Pick chooses a target for a connection. The lease is ended once.
	Pick func(Choice) (t Target, l Lease, ok bool)
}

// Choice is what the choice of a target may depend on.
type Choice struct {
	Request *http.Request // not to be kept
	Client  string        // address of the client behind trusted hops, maybe with a port
	Tried   []string      // ids of targets that this connection could not use; any make it a retry

	Failed *lifecycle.Failure // why it could not use the last of them
}

// Lease is a connection's place at a target. Failed or Closed ends it; what comes behind that has no
// effect.
type Lease interface {
	// Opened tells that the target's handshake is done.
	Opened()
	// Failed tells why no connection was opened. Nil: there is nothing to tell.
	Failed(*lifecycle.Failure)
	// Closed tells, after Opened, how the connection ended, and whether a message had passed by then.
	Closed(c lifecycle.Close, spoke bool)
}

// unleased is the lease of a target that was not chosen by an upstream.
type unleased struct{}

func (unleased) Opened()                      {}
func (unleased) Failed(*lifecycle.Failure)    {}
func (unleased) Closed(lifecycle.Close, bool) {}

// Target is one place to dial.
type Target struct {
	ID      string // of the target and the address that was chosen; empty: Name
	Name    string // as configured
	Address string // host:port, or a socket's path
	Host    string // for the Host header of a route with OwnHost
	Egress  string // name of the egress proxy, empty when direct
	Single  bool   // a connection is for one client's request: the target is told of that client

	// Cookie brings the client back to this target; over TLS it is made Secure. Nil: none is set.
	Cookie *http.Cookie

	// Dial opens a connection ready for HTTP, TLS done. It reports its phases to the connection in ctx.
	Dial func(ctx context.Context) (net.Conn, error)
}

// id tells the target apart from every other one.
func (t *Target) id() string { return cmp.Or(t.ID, t.Name) }

// setCookie gives the client what brings it back, if there is anything.
func (t *Target) setCookie(h http.Header, o origin) {
	if t.Cookie == nil {
		return
	}
	c := *t.Cookie
	c.Secure = c.Secure || o.scheme == "https"
	h.Add("Set-Cookie", c.String())
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
