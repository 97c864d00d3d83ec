package tlsconf

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

const (
	// minted bounds how many hosts have their certificate and TLS configuration kept, a few KiB each.
	minted = 1024

	leafLife = 24 * time.Hour
	// leeway is how long before now a certificate is valid, for clients whose clock is behind.
	leeway = time.Hour
)

// Interception is in whose name TLS is terminated here that a client meant for another.
type Interception struct {
	// CA signs the certificates that clients see; they have to trust it. It is the operator's own, and
	// read anew when its files change.
	CA Pair

	// MinVersion is the oldest TLS version towards clients. Zero: TLS 1.2.
	MinVersion uint16

	// NextProtos are the ALPN protocols, best first. Empty: http/1.1.
	NextProtos []string
}

// Minter makes certificates for hosts whose TLS is intercepted. It may be used concurrently. Which hosts
// these are is for its user to know.
//
// A certificate is for one host, for a day, and is made when the host is first asked for. All of them
// share a key, which lives in memory only.
type Minter struct {
	settings Interception
	ca       *live
	key      *ecdsa.PrivateKey
	known    *lru.Cache[string, *mintedHost]
}

// mintedHost is what was made for a host.
type mintedHost struct {
	config *tls.Config

	mu     sync.Mutex
	signer *tls.Certificate // of leaf
	leaf   *tls.Certificate
}

// Minter makes a Minter. The error names every problem.
func (s *Store) Minter(settings Interception) (*Minter, error) {
	settings.CA.signs = true
	m := &Minter{settings: settings}
	l, err := s.live(settings, []Pair{settings.CA}, "", func(l *live) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{*l.pairs[0].value}}
	})
	if err := errors.Join(checkVersion(settings.MinVersion), err); err != nil {
		return nil, err
	}
	if m.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("make a key for interception: %w", err)
	}
	if m.known, err = lru.New[string, *mintedHost](minted); err != nil {
		return nil, err
	}
	m.ca = l
	s.add(l)
	return m, nil
}

// Config is TLS towards a client that is on its way to host, a name in lower case and ASCII or an
// address. The same host gets the same configuration, so that sessions resume.
func (m *Minter) Config(host string) *tls.Config {
	if h, ok := m.known.Get(host); ok {
		return h.config
	}
	h := &mintedHost{}
	h.config = &tls.Config{
		MinVersion:     cmp.Or(m.settings.MinVersion, tls.VersionTLS12),
		NextProtos:     protocols(m.settings.NextProtos),
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return m.leaf(h, host) },
	}
	if before, ok, _ := m.known.PeekOrAdd(host, h); ok { // meanwhile
		return before.config
	}
	return h.config
}

// leaf is the host's certificate: a new one when the CA was renewed or half its life is over.
func (m *Minter) leaf(h *mintedHost, host string) (*tls.Certificate, error) {
	signer := &m.ca.config().Certificates[0]
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.leaf != nil && h.signer == signer && time.Until(h.leaf.Leaf.NotAfter) > leafLife/2 {
		return h.leaf, nil
	}
	leaf, err := m.mint(signer, host)
	if err != nil {
		return nil, fmt.Errorf("make a certificate for %s: %w", host, err)
	}
	h.signer, h.leaf = signer, leaf
	return leaf, nil
}

func (m *Minter) mint(signer *tls.Certificate, host string) (*tls.Certificate, error) {
	now := time.Now()
	template := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"wsproxy interception"}},
		NotBefore:             now.Add(-leeway),
		NotAfter:              now.Add(leafLife),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer.Leaf, m.key.Public(), signer.PrivateKey)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	chain := [][]byte{der}
	if signer.Leaf.CheckSignatureFrom(signer.Leaf) != nil { // an intermediate, whose issuer clients trust
		chain = append(chain, signer.Certificate...)
	}
	return &tls.Certificate{Certificate: chain, PrivateKey: m.key, Leaf: leaf}, nil
}
