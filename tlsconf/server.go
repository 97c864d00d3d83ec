package tlsconf

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"

	"wsproxy/lifecycle"
)

// ClientAuth says what a listener with a client CA asks of its clients.
type ClientAuth int

const (
	ClientAuthRequire  ClientAuth = iota // a certificate signed by the CA
	ClientAuthOptional                   // one signed by the CA, or none
)

var clientAuthNames = [...]string{ClientAuthRequire: "required", ClientAuthOptional: "optional"}

func (a ClientAuth) known() bool { return a >= 0 && int(a) < len(clientAuthNames) }

func (a ClientAuth) String() string {
	if !a.known() {
		return fmt.Sprintf("ClientAuth(%d)", int(a))
	}
	return clientAuthNames[a]
}

// Server is how a listener does TLS.
type Server struct {
	// Certificates are chosen by the name that the client asks for (SNI), an exact name before a
	// wildcard, then in this order. The first that the client can use is for clients that ask for
	// no name or for one that no certificate has. At least one is needed.
	Certificates []Pair

	// ClientCA is a PEM file of the CAs that sign clients' certificates. Empty: none are asked for.
	ClientCA string

	// ClientAuth is what is asked of clients. Zero: a certificate signed by ClientCA, if that is set.
	ClientAuth ClientAuth

	// MinVersion is the oldest TLS version, such as tls.VersionTLS13. Zero: TLS 1.2.
	MinVersion uint16

	// NextProtos are the ALPN protocols, best first. Empty: http/1.1.
	NextProtos []string
}

// Server returns the configuration of a listener; it stays the same one, and gives each new
// handshake what the files held when they were last read and good. Session tickets outlive a
// renewal, but a client whose certificate a new ClientCA does not vouch for has to begin anew.
// The error names every problem.
func (s *Store) Server(settings Server) (*tls.Config, error) {
	problem := settings.problem()
	l, err := s.live(settings, settings.Certificates, settings.ClientCA, settings.build)
	if err := errors.Join(problem, err); err != nil {
		return nil, err
	}
	if l.outer == nil {
		// Ticket keys belong to this outer configuration, and crypto/tls checks a ticket's client
		// against the CAs of the inner one.
		l.outer = &tls.Config{
			MinVersion: cmp.Or(settings.MinVersion, tls.VersionTLS12),
			NextProtos: protocols(settings.NextProtos),
			GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
				return l.config(), nil
			},
		}
	}
	s.add(l)
	return l.outer, nil
}

func (settings Server) problem() error {
	var problems []error
	if len(settings.Certificates) == 0 {
		problems = append(problems, errors.New("no certificate"))
	}
	if !settings.ClientAuth.known() {
		problems = append(problems, fmt.Errorf("unknown client authentication %d", int(settings.ClientAuth)))
	}
	if settings.ClientAuth != ClientAuthRequire && settings.ClientCA == "" {
		problems = append(problems, fmt.Errorf("client certificates are %s, but there is no client CA", settings.ClientAuth))
	}
	return errors.Join(append(problems, checkVersion(settings.MinVersion))...)
}

func (settings Server) build(l *live) *tls.Config {
	c := &tls.Config{
		MinVersion:     cmp.Or(settings.MinVersion, tls.VersionTLS12),
		NextProtos:     protocols(settings.NextProtos),
		GetCertificate: newChooser(l.pairs).certificate,
	}
	if l.pool != nil {
		c.ClientCAs = l.pool.value
		c.ClientAuth = tls.VerifyClientCertIfGiven
		if settings.ClientAuth == ClientAuthRequire {
			c.VerifyConnection = requireCertificate
		}
	}
	return c
}

// requireCertificate is in place of tls.RequireAndVerifyClientCert, which reports a certificate that is
// missing by text only. It is asked about resumed sessions, too.
func requireCertificate(s tls.ConnectionState) error {
	if len(s.PeerCertificates) == 0 {
		return lifecycle.Failf(lifecycle.ReasonTLSClientCertificate, "the client sent no certificate")
	}
	return nil
}

func checkVersion(v uint16) error {
	if v == 0 || tls.VersionTLS10 <= v && v <= tls.VersionTLS13 {
		return nil
	}
	return fmt.Errorf("minimum version: %s is not TLS 1.0 to 1.3", tls.VersionName(v))
}

func protocols(p []string) []string {
	if len(p) == 0 {
		return []string{"http/1.1"}
	}
	return p
}

// chooser finds the certificate for a client.
type chooser struct {
	all    []*tls.Certificate
	byName map[string][]*tls.Certificate // exact and wildcard names, lower case
}

func newChooser(pairs []*material[*tls.Certificate]) *chooser {
	c := &chooser{byName: map[string][]*tls.Certificate{}}
	for _, m := range pairs {
		c.all = append(c.all, m.value)
		for _, name := range m.value.Leaf.DNSNames {
			name = strings.ToLower(name)
			c.byName[name] = append(c.byName[name], m.value)
		}
	}
	return c
}

// certificate never fails: for a client that can use none of them the handshake itself has the
// right alert.
func (c *chooser) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := strings.ToLower(hello.ServerName)
	_, parent, _ := strings.Cut(name, ".")
	for _, candidates := range [][]*tls.Certificate{c.byName[name], c.byName["*."+parent]} {
		if cert := firstUsable(hello, candidates); cert != nil {
			return cert, nil
		}
	}
	// Without a name only the algorithms and the version count.
	anyName := *hello
	anyName.ServerName = ""
	return cmp.Or(firstUsable(&anyName, c.all), c.all[0]), nil
}

func firstUsable(hello *tls.ClientHelloInfo, certs []*tls.Certificate) *tls.Certificate {
	for _, cert := range certs {
		if hello.SupportsCertificate(cert) == nil {
			return cert
		}
	}
	return nil
}
