package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"wsproxy/lifecycle"
)

// Auth decides whether a client is who may use a route. The error is a *lifecycle.Failure, or what ctx
// ended with.
type Auth func(ctx context.Context, r AuthRequest) (*Admission, error)

// AuthRequest is what a client shows.
type AuthRequest struct {
	*http.Request
	Client       netip.Addr        // behind trusted hops; not valid if it has none
	Certificate  *x509.Certificate // of the client, verified; nil without one
	Scheme, Host string            // of the service as the client knows it
}

// Admission is how a client was let in.
type Admission struct {
	Identity string        // who it is, for the upstream and for limits; empty: nobody knows
	Hash     string        // of the identity, for telemetry
	Expires  time.Time     // when the connection has to end; zero: never
	Forward  *http.Request // what goes on to the upstream

	// Again decides once more, every Interval while the connection is open. Nil: it does not.
	Again    func(ctx context.Context) error
	Interval time.Duration
}

// authenticate asks the route's Auth, if it has one. What goes on is then what that made of the request.
func (u *upgrade) authenticate(ctx context.Context) error {
	a, err := u.route.admit(ctx, u.r, u.origin, u.in)
	if err != nil || a == nil {
		return err
	}
	u.admission, u.r = a, a.Forward
	u.record.Update(func(f *lifecycle.Facts) { f.Identity = a.Hash })
	return nil
}

// admit is nil without an error where the route lets everyone in.
func (r *Route) admit(ctx context.Context, req *http.Request, o origin, in *inbound) (*Admission, error) {
	if r.Auth == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, r.Handshake, errAuthSlow)
	defer cancel()
	shown := AuthRequest{Request: req, Scheme: o.scheme, Host: o.host, Certificate: in.certificate()}
	shown.Client, _ = parseAddress(o.client)
	a, err := r.Auth(ctx, shown)
	if err != nil && errors.Is(context.Cause(ctx), errAuthSlow) {
		return nil, lifecycle.Fail(lifecycle.ReasonRateLimit, errAuthSlow)
	}
	return a, err
}

// errAuthSlow is what becomes of a client whose password waits for too many others.
var errAuthSlow = errors.New("authentication took as long as a handshake may")

// certificate is the client's, which the TLS handshake has verified.
func (in *inbound) certificate() *x509.Certificate {
	c, ok := in.Conn.(*tls.Conn)
	if !ok {
		return nil
	}
	if s := c.ConnectionState(); len(s.VerifiedChains) > 0 {
		return s.PeerCertificates[0]
	}
	return nil
}

// vigil ends an open connection when whoever let it in no longer would.
type vigil struct {
	record *lifecycle.Connection
	again  func(ctx context.Context) error
	every  time.Duration
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex
	expiry  *time.Timer
	next    *time.Timer
	unheard int // questions in a row that had no answer
	over    bool
}

// mostUnheard is how many questions in a row may be without an answer before that counts as a no.
const mostUnheard = 3

// newVigil begins one, or returns nil where nothing can end the connection.
func newVigil(c *lifecycle.Connection, a *Admission) *vigil {
	if a == nil || a.Expires.IsZero() && (a.Again == nil || a.Interval <= 0) {
		return nil
	}
	v := &vigil{record: c, again: a.Again, every: a.Interval}
	v.mu.Lock()
	defer v.mu.Unlock()
	if !a.Expires.IsZero() {
		v.expiry = time.AfterFunc(time.Until(a.Expires), v.expire)
	}
	if v.again != nil && v.every > 0 {
		v.ctx, v.cancel = context.WithCancel(context.Background())
		v.next = time.AfterFunc(v.every, v.ask)
	}
	return v
}

func (v *vigil) expire() { v.record.Stop(lifecycle.StopRequest{Cause: lifecycle.CauseAuthExpired}) }

// ask runs in a goroutine of its timer.
func (v *vigil) ask() {
	err := v.again(v.ctx)
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.over {
		return
	}
	refused := false
	switch {
	case err == nil:
		v.unheard = 0
	case saysNo(err):
		refused = true
	default:
		v.unheard++
		refused = v.unheard >= mostUnheard
	}
	if refused {
		v.expire()
		return
	}
	v.next.Reset(v.every)
}

func saysNo(err error) bool {
	r := failure(err).Reason
	return r == lifecycle.ReasonUnauthenticated || r == lifecycle.ReasonForbidden
}

// end is called when the connection is over. It may be called on nil.
func (v *vigil) end() {
	if v == nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.over = true
	if v.expiry != nil {
		v.expiry.Stop()
	}
	if v.next != nil {
		v.next.Stop()
		v.cancel()
	}
}
