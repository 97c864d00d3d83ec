package proxy

import (
	"context"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"wsproxy/lifecycle"
	"wsproxy/proxy/frame"
	"wsproxy/proxy/relay"
)

// ForwardRoute is the name of all forward traffic where a route's would stand.
const ForwardRoute = "forward"

// Forward is how clients are served that name their targets themselves: by CONNECT, by a request in
// absolute form, or by SOCKS5. One may serve several listeners; its fields are not changed once it does.
type Forward struct {
	// Dial opens a connection to a target, ready to be spoken to. It reports its phases to the connection
	// in ctx. host is a name in lower case and ASCII or an IP address.
	Dial func(ctx context.Context, host string, port uint16) (net.Conn, error)

	// Allow says by its error that a client may not ask for a target. What a name resolves to is for Dial
	// to judge. Nil: every target.
	Allow func(host string, port uint16) error

	// Authenticate says by its error that this is not a user and its password. The error may be a
	// *lifecycle.Failure with another reason than unauthenticated. Nil: nobody has to say who it is.
	Authenticate func(ctx context.Context, client netip.Addr, user, password string) error
	Realm        string // of which clients are told; empty: wsproxy

	Clients []netip.Prefix // where clients may be; empty: anywhere

	// Interception has TLS in tunnels end here. Nil: it passes as it is.
	Interception *Interception

	Framing   frame.Mode    // of WebSockets
	Handshake time.Duration // from the complete request to the tunnel or the 101; 0: 10 s
	Policy    relay.Policy

	route *Route
	plain http.Handler
	idle  func()
}

// compile is called once, under the server's lock.
func (fw *Forward) compile(s *Server) {
	if fw.route != nil {
		return
	}
	fw.route = &Route{Name: ForwardRoute, OwnHost: false, Framing: fw.Framing, Handshake: fw.Handshake, Policy: fw.Policy}
	if fw.route.Handshake == 0 {
		fw.route.Handshake = defaultHandshake
	}
	fw.plain, fw.idle = newForwardPlain(s, fw)
}

// serveForward has every HTTP request on a forward listener whose head is complete.
func (s *Server) serveForward(w http.ResponseWriter, r *http.Request, in *inbound, record *lifecycle.Connection, complete time.Time) {
	fw := in.listener.Forward
	switch {
	case r.Method == http.MethodConnect:
		in.refuse()
		t := &tunnel{server: s, in: in, forward: fw, record: record}
		t.serveHTTP(w, r, in.listener.origin(r), complete)
	case isUpgrade(r) || r.ProtoMajor != 1:
		in.refuse()
		o := in.listener.origin(r)
		o.silent = true
		u := &upgrade{server: s, in: in, forward: fw, record: record, r: r, origin: o}
		u.run(w, complete)
	default:
		record.Dismiss()
		if !in.admit(seatPlain, false) {
			s.refusePlain(w, lifecycle.Fail(lifecycle.ReasonConnectionLimit, nil))
			return
		}
		defer in.seat.keep(seatIdle)
		if s.room.crowded() {
			w.Header().Set("Connection", "close")
		}
		s.serveObserved(fw.plain, w, r, &visit{origin: in.listener.origin(r), in: in})
	}
}

// admits says whether a client may be where it is.
func (fw *Forward) admits(client string) bool {
	if len(fw.Clients) == 0 {
		return true
	}
	ip, ok := parseAddress(client)
	return ok && slices.ContainsFunc(fw.Clients, func(p netip.Prefix) bool { return p.Contains(ip.WithZone("")) })
}

// knows says why the client is not known, nil if it is.
func (fw *Forward) knows(ctx context.Context, client, user, password string) *lifecycle.Failure {
	ip, _ := parseAddress(client)
	err := fw.Authenticate(ctx, ip, user, password)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return lifecycle.Fail(goneOrCanceled(ctx), err)
	}
	if f, ok := errors.AsType[*lifecycle.Failure](err); ok {
		return f
	}
	return lifecycle.Fail(lifecycle.ReasonUnauthenticated, err)
}

// permits is the part of the route phase that all ways to ask for a target have in common. known tells
// why the client is not known; wrong is what is wrong with the target.
func (fw *Forward) permits(client string, known func() *lifecycle.Failure, to destination, wrong error) *lifecycle.Failure {
	if !fw.admits(client) {
		return lifecycle.Failf(lifecycle.ReasonForbidden, "client %s is in none of the networks that may be served", client)
	}
	if f := known(); f != nil {
		return f
	}
	if wrong != nil {
		return lifecycle.Fail(lifecycle.ReasonRequestInvalid, wrong)
	}
	if fw.Allow != nil {
		if err := fw.Allow(to.host, to.port); err != nil {
			return lifecycle.Fail(lifecycle.ReasonForbidden, err)
		}
	}
	return nil
}

// permitsHTTP is permits for a request. Who the client is stands in Proxy-Authorization.
func (fw *Forward) permitsHTTP(ctx context.Context, r *http.Request, client string, to destination, wrong error) *lifecycle.Failure {
	return fw.permits(client, func() *lifecycle.Failure {
		if fw.Authenticate == nil {
			return nil
		}
		user, password, ok := proxyCredentials(r.Header)
		if !ok {
			return lifecycle.Failf(lifecycle.ReasonUnauthenticated, "no credentials")
		}
		return fw.knows(ctx, client, user, password)
	}, to, wrong)
}

// proxyCredentials reads the Basic scheme (RFC 7617).
func proxyCredentials(h http.Header) (user, password string, ok bool) {
	scheme, encoded, _ := strings.Cut(h.Get("Proxy-Authorization"), " ")
	if !strings.EqualFold(scheme, "Basic") {
		return "", "", false
	}
	b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	if err != nil {
		return "", "", false
	}
	return strings.Cut(string(b), ":")
}

// challenge is the value of Proxy-Authenticate.
func (fw *Forward) challenge() string {
	realm := fw.Realm
	if realm == "" {
		realm = "wsproxy"
	}
	return "Basic realm=" + quote(oneLine.Replace(realm)) + `, charset="UTF-8"`
}

// status is what a client is answered for f. Where clients choose targets, being refused one is about
// what they may do, and not about what a target is like.
func (fw *Forward) status(f *lifecycle.Failure) int {
	switch {
	case fw == nil:
		return statusFor(f)
	case f.Reason == lifecycle.ReasonUnauthenticated:
		return http.StatusProxyAuthRequired
	case f.Reason == lifecycle.ReasonAddressDenied:
		return http.StatusForbidden
	}
	return statusFor(f)
}

// absolute reads where a request in absolute form (RFC 9112 §3.2.2) is to go. The scheme is http or,
// for an upgrade, ws, which is the same; TLS is for the client to do, in a tunnel.
func absolute(r *http.Request) (destination, error) {
	switch {
	case r.URL.Host == "":
		return destination{}, errors.New("want a target in absolute form: this is a proxy")
	case r.URL.Scheme != "http" && r.URL.Scheme != "ws":
		return destination{}, errors.New("want a target with http:// or ws://, or CONNECT for one with TLS")
	}
	return parseDestination(r.URL.Host, 80)
}

// target is a destination as what an upgrade dials; scheme is ws or, where the connection has TLS, wss.
func (fw *Forward) target(scheme string, to destination) Target {
	return Target{
		Name: scheme + "://" + to.String(), Address: to.String(),
		Dial: func(ctx context.Context) (net.Conn, error) { return fw.Dial(ctx, to.host, to.port) },
	}
}

// describeForward notes what forward traffic is.
func describeForward(f *lifecycle.Facts) {
	f.Mode, f.Route = lifecycle.ModeForward, ForwardRoute
}
