package proxy

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"wsproxy/lifecycle"
)

// admitting lets everyone in as a says, with the request as it is unless a has another.
func admitting(a Admission) Auth {
	return func(_ context.Context, r AuthRequest) (*Admission, error) {
		in := a
		if in.Forward == nil {
			in.Forward = r.Request
		}
		return &in, nil
	}
}

func refusing(f *lifecycle.Failure) Auth {
	return func(context.Context, AuthRequest) (*Admission, error) { return nil, f }
}

// What the route's Auth makes of a request is what goes on, and the identity is what limits count.
func TestAdmittedRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var identity atomic.Value
		w.route.Limiter = identityLimiter{&identity}
		w.route.Auth = func(_ context.Context, r AuthRequest) (*Admission, error) {
			if r.Client.String() != "127.0.0.1" || r.Scheme != "http" || r.Host != "example.com" {
				t.Errorf("got client %s of %s://%s", r.Client, r.Scheme, r.Host)
			}
			forward := r.Clone(r.Context())
			forward.Header.Del("X-Token")
			forward.Header.Set("X-Role", "admin")
			return &Admission{Identity: "ann", Hash: "5f0a", Forward: forward}, nil
		}
		w.start()
		p := w.send(request("X-Token: secret"))
		for c := range w.server.Registry.All() {
			if got := c.Facts().Identity; got != "5f0a" {
				t.Errorf("record: got identity %q, want 5f0a", got)
			}
		}
		if got := w.received(); strings.Contains(got, "secret") || !strings.Contains(got, "X-Role: admin\r\n") {
			t.Errorf("upstream: got %q, want the role and no token", got)
		}
		if got := identity.Load(); got != "ann" {
			t.Errorf("limits: got identity %v, want ann", got)
		}
		p.conn.Close()
		time.Sleep(time.Minute)
		w.settled()
		w.wantEmpty()
	})
}

type identityLimiter struct{ seen *atomic.Value }

func (identityLimiter) Handshake(netip.Addr) *lifecycle.Failure { return nil }

func (l identityLimiter) Connect(_ netip.Addr, identity string) (func(), *lifecycle.Failure) {
	l.seen.Store(identity)
	return func() {}, nil
}

// Plain requests need the same credentials.
func TestPlainRequestsAreAuthenticated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		f := lifecycle.Failf(lifecycle.ReasonUnauthenticated, "no")
		f.Challenges = []string{"Basic realm=r", "Bearer realm=r"}
		w.route.Auth = refusing(f)
		w.start()
		for name, raw := range map[string]string{"plain": head("GET / HTTP/1.1", "Host: example.com"), "upgrade": request()} {
			got := w.send(raw).String()
			if !strings.HasPrefix(got, "HTTP/1.1 401 ") || strings.Count(got, "Www-Authenticate: ") != 2 {
				t.Errorf("%s: got %q, want a 401 with two challenges", name, got)
			}
		}
		if got := w.received(); got != "" {
			t.Errorf("upstream: got %q, want nothing", got)
		}
		time.Sleep(time.Minute)
		w.wantEmpty()
	})
}

// A connection ends when the credentials that let it in do.
func TestCredentialsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.targets[0].script = func(p *peer) {
			p.awaitHead()
			p.conn.Write([]byte(switching()))
			p.awaitEnd()
		}
		w.route.Auth = func(_ context.Context, r AuthRequest) (*Admission, error) {
			return &Admission{Forward: r.Request, Expires: time.Now().Add(time.Hour)}, nil
		}
		w.start()
		p := w.handshaken()
		time.Sleep(time.Hour - time.Second)
		if p.ended() || strings.Contains(p.String(), "expired") {
			t.Fatal("got the end before the hour")
		}
		time.Sleep(2 * time.Second)
		if got := p.String(); !strings.HasSuffix(got, "\x11\x31authentication expired") { // 4401
			t.Errorf("client: got %q, want a Close with 4401", got)
		}
		time.Sleep(time.Minute)
		if got, want := w.journal.ends(), "closed 101 auth_expired"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		w.settled()
		w.wantEmpty()
	})
}

// Credentials that end while the connection is set up end it as soon as it is open.
func TestCredentialsThatAreAlreadyOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.route.Auth = admitting(Admission{Expires: time.Now().Add(-time.Second)})
		w.start()
		w.send(request())
		time.Sleep(time.Minute)
		if got, want := w.journal.ends(), "closed 101 auth_expired"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// An open connection is asked about again: a no ends it, and so do three questions without an answer.
func TestAskedAgain(t *testing.T) {
	down := errors.New("down")
	for name, tc := range map[string]struct {
		answers []error // then yes for ever
		ends    time.Duration
	}{
		"yes":                    {},
		"no":                     {answers: []error{nil, lifecycle.Fail(lifecycle.ReasonForbidden, nil)}, ends: 2 * time.Minute},
		"who are you":            {answers: []error{lifecycle.Fail(lifecycle.ReasonUnauthenticated, nil)}, ends: time.Minute},
		"down for two questions": {answers: []error{down, down, nil, down, down}},
		"down":                   {answers: []error{nil, down, down, down}, ends: 4 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				var asked atomic.Int32
				w.route.Auth = admitting(Admission{Interval: time.Minute, Again: func(context.Context) error {
					n := int(asked.Add(1))
					if n > len(tc.answers) {
						return nil
					}
					return tc.answers[n-1]
				}})
				w.start()
				p := w.handshaken()
				if tc.ends == 0 {
					time.Sleep(10*time.Minute + time.Second)
					if p.ended() || asked.Load() != 10 {
						t.Errorf("ended %t, asked %d times; want open, asked ten times", p.ended(), asked.Load())
					}
					p.conn.Close()
				} else {
					time.Sleep(tc.ends - time.Second)
					if strings.Contains(p.String(), "expired") {
						t.Error("got the end too early")
					}
					time.Sleep(2 * time.Second)
					if !strings.Contains(p.String(), "expired") {
						t.Error("got no end")
					}
				}
				time.Sleep(time.Minute)
				before := asked.Load()
				time.Sleep(time.Hour)
				if got := asked.Load(); got != before {
					t.Errorf("asked %d times more about a connection that is over", got-before)
				}
				w.settled()
			})
		})
	}
}

// The certificate that a client has shown is known to the route's Auth.
func TestAuthSeesTheCertificate(t *testing.T) {
	var none *inbound = &inbound{}
	if none.certificate() != nil {
		t.Error("without TLS: got a certificate")
	}
	if _, err := (&Route{}).admit(t.Context(), &http.Request{}, origin{}, none); err != nil {
		t.Errorf("a route without Auth: got %v", err)
	}
}
