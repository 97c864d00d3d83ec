package lifecycle

import (
	"context"
	"errors"
	"time"
)

// Hop says whose name, address or certificate a dial phase is about.
type Hop uint8

const (
	HopTarget Hop = iota
	HopEgress
	hopCount
)

var hopNames = [hopCount]string{"target", "egress"}

func (h Hop) String() string { return name(hopNames[:], h) }

// Step is one run of one phase. Whoever begins it gives what is known at the start and adds the rest
// before End; afterwards it is not changed.
type Step struct {
	Phase   Phase
	Attempt int       // from 1 in dns to upgrade; 0 in other phases; set by Begin
	Begun   time.Time // zero: now
	Ended   time.Time // set by End
	Failure *Failure  // set by End, nil on success

	Hop        Hop      // dns, connect, tls
	Host       string   // dns: the name looked up; tls: the server name; proxy, upgrade: the target
	Answers    []string // dns: the addresses found
	Tries      []Try    // connect: every address tried, in order of time
	Peer       string   // connect, proxy, tls, upgrade: address of the socket's other end
	EgressType string   // connect, proxy, tls through an egress: http, https, socks5, socks5h
	EgressName string
	Status     int      // proxy, upgrade: the HTTP status answered
	TLS        *TLSInfo // tls_accept, tls: on success

	conn *Connection
	done bool
}

// Try is one TCP connect to one address.
type Try struct {
	Address string
	Begun   time.Time
	Ended   time.Time // zero if it was still under way when the phase ended
	Err     error
	Won     bool // this socket is the one in use; one that neither won nor failed lost the race
}

// Reason is why the try failed, ReasonNone if it did not.
func (t Try) Reason() Reason {
	if t.Err == nil || t.Won {
		return ReasonNone
	}
	if f, ok := errors.AsType[*Failure](t.Err); ok {
		return f.Reason
	}
	return reasonOf(context.Background(), PhaseConnect, t.Err)
}

// TLSInfo is what is worth telling about a TLS session.
type TLSInfo struct {
	Version       string // "1.2", "1.3"
	Cipher        string // IANA name
	Curve         string
	ALPN          string
	ServerName    string
	Resumed       bool
	ClientSubject string // SHA-256 of the client certificate's subject, hex; empty without one
}

// Reason is why the step failed, ReasonNone if it did not.
func (s *Step) Reason() Reason {
	if s.Failure == nil {
		return ReasonNone
	}
	return s.Failure.Reason
}

// Duration is how long the step took; while it runs, how long it has run.
func (s *Step) Duration() time.Duration {
	if s.Ended.IsZero() {
		return time.Since(s.Begun)
	}
	return s.Ended.Sub(s.Begun)
}

// End ends the step, once, and returns what became of err: nil, or a *Failure with the phase and a
// reason from the closed set. ctx is the one that Begin returned, or one made from it.
func (s *Step) End(ctx context.Context, err error) error { return s.EndAt(ctx, time.Time{}, err) }

// EndAt is End at a moment that was noted before; zero means now.
func (s *Step) EndAt(ctx context.Context, at time.Time, err error) error {
	if s.done {
		panic("lifecycle: phase " + s.Phase.String() + " ended twice")
	}
	if s.conn != nil && s.conn.registry.Fault != nil {
		err = s.conn.registry.Fault(ctx, s, err)
	}
	if at.IsZero() {
		at = time.Now()
	}
	s.done, s.Ended = true, at
	if err != nil {
		s.Failure = failureOf(ctx, s.Phase, err)
	}
	if s.conn != nil {
		s.conn.ended(ctx, s)
	}
	if s.Failure != nil {
		return s.Failure
	}
	return nil
}
