package tlsconf

import (
	"cmp"
	"crypto/tls"
	"errors"
)

// sessions bounds how many targets of a Client have a TLS session kept for resumption, about 2 KiB
// each.
const sessions = 256

// Client is how TLS is done towards an upstream's targets or an https egress proxy.
type Client struct {
	// CA is a PEM file of the CAs to trust, instead of the system's. Empty: the system's.
	CA string

	// Cert and Key are the PEM files of our own certificate, sent whenever the peer asks for one.
	// Empty: none. With Cert alone the key is in the same file.
	Cert, Key string

	// ServerName is the name to ask for and to find in the peer's certificate. Empty: the dialler
	// puts the target's host there.
	ServerName string

	// MinVersion is the oldest TLS version, such as tls.VersionTLS13. Zero: TLS 1.2.
	MinVersion uint16

	// NextProtos are the ALPN protocols to offer, best first. Empty: http/1.1.
	NextProtos []string

	// Insecure accepts any certificate: whoever is on the way can read and change everything.
	Insecure bool
}

// Client returns a function that gives the newest configuration. Call it for each dial and change
// only a clone of what it gives. Sessions are resumed until the CA or our certificate is renewed,
// so that none outlives the trust or the identity that it was made with. The error names every
// problem.
func (s *Store) Client(settings Client) (func() *tls.Config, error) {
	problem := checkVersion(settings.MinVersion)
	var pairs []Pair
	switch {
	case settings.Cert != "":
		pairs = []Pair{{Cert: settings.Cert, Key: settings.Key}}
	case settings.Key != "":
		problem = errors.Join(problem, errors.New("a client key without a client certificate"))
	}
	l, err := s.live(settings, pairs, settings.CA, settings.build)
	if err := errors.Join(problem, err); err != nil {
		return nil, err
	}
	s.add(l)
	return l.config, nil
}

func (settings Client) build(l *live) *tls.Config {
	c := &tls.Config{
		ServerName:         settings.ServerName,
		MinVersion:         cmp.Or(settings.MinVersion, tls.VersionTLS12),
		NextProtos:         protocols(settings.NextProtos),
		InsecureSkipVerify: settings.Insecure,
		ClientSessionCache: tls.NewLRUClientSessionCache(sessions),
	}
	if l.pool != nil {
		c.RootCAs = l.pool.value
	}
	if len(l.pairs) > 0 {
		// Not Certificates: crypto/tls keeps those back if the peer's list of CAs lacks theirs, and
		// all that anyone sees then is that no certificate came.
		cert := l.pairs[0].value
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	return c
}
