package access

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"wsproxy/lifecycle"
)

// Request is what a client may show to be let in.
type Request struct {
	*http.Request
	Client       netip.Addr        // behind trusted hops; not valid if it has none
	Certificate  *x509.Certificate // that the TLS handshake has verified, nil without one
	Scheme, Host string            // of the service as the client knows it
}

// Identity is who a client has shown to be.
type Identity struct {
	Method  string    // that knows it: basic, api_key, jwt, mtls or check
	Name    string    // as the method has it. It is for the upstream and for limits, never for telemetry
	Expires time.Time // when it ends; zero: never
}

// Hash tells identities apart without naming them: half of the SHA-256 of method and name, in hex.
// Whoever can guess a name can confirm it.
func (i *Identity) Hash() string {
	if i == nil || i.Name == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(i.Method + ":" + i.Name))
	return hex.EncodeToString(sum[:len(sum)/2])
}

// Method is a way to show who one is.
type Method interface {
	// Identify says whose credentials r has. It is errNone if r has none of this kind, else a
	// *lifecycle.Failure, or what ctx ended with.
	Identify(ctx context.Context, r *Request) (*Identity, error)

	// Challenge is the WWW-Authenticate of a 401; invalid says that there were credentials. Empty: none.
	Challenge(invalid bool) string

	// Strip takes the credentials out of a request that goes on. always names those that no upstream
	// may see.
	Strip(r *http.Request, always bool)
}

// errNone is a request without the credentials that a method looks for.
var errNone = errors.New("no credentials")

// Authenticator lets in who can show one of the credentials that it knows.
type Authenticator struct {
	Methods []Method // one is enough; none: whoever the check lets in
	Check   *Check   // asked in addition; nil: nobody
	Strip   bool     // credentials do not go on to the upstream
}

// Admission is how a client was let in.
type Admission struct {
	Identity *Identity     // nil if a check alone let it in and named nobody
	Forward  *http.Request // what goes on to the upstream, in place of the client's request

	// Again asks the check once more, every Interval. Its error is a *lifecycle.Failure with
	// ReasonUnauthenticated or ReasonForbidden if the client is no longer let in. Nil: nobody is asked.
	Again    func(ctx context.Context) error
	Interval time.Duration
}

// Admit decides about a request. The error is a *lifecycle.Failure, or what ctx ended with.
func (a *Authenticator) Admit(ctx context.Context, r *Request) (*Admission, error) {
	id, err := a.identify(ctx, r)
	if err != nil {
		return nil, err
	}
	out := &Admission{Identity: id, Forward: a.forwarded(r)}
	if a.Check == nil {
		return out, nil
	}
	found, headers, err := a.Check.ask(ctx, r, id)
	if err != nil {
		return nil, err
	}
	if id == nil {
		out.Identity = found
	}
	a.Check.copyTo(out.Forward.Header, headers)
	if out.Interval = a.Check.Interval; out.Interval > 0 {
		kept := a.Check.keep(r)
		out.Again = func(ctx context.Context) error {
			_, _, err := a.Check.send(ctx, kept, id)
			return err
		}
	}
	return out, nil
}

// identify takes the first credentials that are right. What was wrong with others counts only if none are.
func (a *Authenticator) identify(ctx context.Context, r *Request) (*Identity, error) {
	if len(a.Methods) == 0 {
		return nil, nil
	}
	var wrong *lifecycle.Failure
	for _, m := range a.Methods {
		id, err := m.Identify(ctx, r)
		if err == nil {
			return id, nil
		}
		if errors.Is(err, errNone) {
			continue
		}
		f, ok := errors.AsType[*lifecycle.Failure](err)
		if !ok {
			return nil, err
		}
		if wrong == nil || wrong.Reason == lifecycle.ReasonUnauthenticated {
			wrong = f
		}
	}
	if wrong == nil {
		wrong = lifecycle.Fail(lifecycle.ReasonUnauthenticated, errNone)
		return nil, a.challenged(wrong, false)
	}
	if wrong.Reason == lifecycle.ReasonUnauthenticated {
		return nil, a.challenged(wrong, true)
	}
	return nil, wrong
}

func (a *Authenticator) challenged(f *lifecycle.Failure, invalid bool) *lifecycle.Failure {
	c := *f
	for _, m := range a.Methods {
		if challenge := m.Challenge(invalid); challenge != "" && !slices.Contains(c.Challenges, challenge) {
			c.Challenges = append(c.Challenges, challenge)
		}
	}
	return &c
}

// forwarded is the request without what shall not go on.
func (a *Authenticator) forwarded(r *Request) *http.Request {
	out := r.Clone(r.Context())
	for _, m := range a.Methods {
		m.Strip(out, true)
		if a.Strip {
			m.Strip(out, false)
		}
	}
	return out
}

func unauthenticated(format string, args ...any) *lifecycle.Failure {
	return lifecycle.Failf(lifecycle.ReasonUnauthenticated, format, args...)
}

func forbidden(format string, args ...any) *lifecycle.Failure {
	return lifecycle.Failf(lifecycle.ReasonForbidden, format, args...)
}
