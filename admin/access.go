package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"net"
	"strings"
	"sync/atomic"
)

// Access is who may use the admin port, and how. Everyone may ask for /healthz and /readyz. The zero value lets
// everyone in over plain HTTP, which is for loopback.
type Access struct {
	// Token is asked for as a Bearer token. Empty: none is.
	Token string

	// TLS is spoken with clients. Nil: plain HTTP.
	TLS *tls.Config

	// Certificate has requests come with a certificate that TLS has verified, besides the token.
	Certificate bool
}

// SetAccess changes who may use the port. It may be called at any time. TLS is that of new connections.
func (s *Server) SetAccess(a Access) { s.access.Store(&a) }

// vouched says whether a client has shown the certificate that it needs.
func (a *Access) vouched(state *tls.ConnectionState) bool {
	return !a.Certificate || state != nil && len(state.VerifiedChains) > 0
}

func (a *Access) admits(authorization string) bool {
	if a.Token == "" {
		return true
	}
	scheme, given, _ := strings.Cut(authorization, " ")
	got, want := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(a.Token)) // of one length, whatever came
	return subtle.ConstantTimeCompare(got[:], want[:]) == 1 && strings.EqualFold(scheme, "Bearer")
}

// secured has each client speak TLS if that is what access says when it comes.
type secured struct {
	net.Listener
	access *atomic.Pointer[Access]
}

func (l secured) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if settings := l.access.Load().TLS; settings != nil {
		c = tls.Server(c, settings)
	}
	return c, nil
}
