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
	"slices"
	"strings"
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

// Interception is whose TLS is terminated here, and in whose name.
type Interception struct {
	// CA signs the certificates that clients see; they have to trust it. It is the operator's own, and
	// read anew when its files change.
	CA Pair

	// Hosts are those to intercept: a name, the names under a domain ("*.example.com"), an address, or
	// "*" for all. Every other host's TLS passes untouched.
	Hosts []string

	// MinVersion is the oldest TLS version towards clients. Zero: TLS 1.2.
	MinVersion uint16

	// NextProtos are the ALPN protocols, best first. Empty: http/1.1.
	NextProtos []string
}

// Minter makes certificates for hosts whose TLS is intercepted. It may be used concurrently.
//
// A certificate is for one host, for a day, and is made when the host is first asked for. All of them
// share a key, which lives in memory only.
type Minter struct {
	settings Interception
	hosts    []string // lower case; those under a domain begin with a dot
	ca       *live
	key      *ecdsa.PrivateKey

	mu    sync.Mutex
	known *lru.Cache[string, *mintedHost]
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
	problem := checkVersion(settings.MinVersion)
	for _, host := range settings.Hosts {
		h, err := interceptHost(host)
		m.hosts, problem = append(m.hosts, h), errors.Join(problem, err)
	}
	l, err := s.live(settings, []Pair{settings.CA}, "", func(l *live) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{*l.pairs[0].value}}
	})
	if err := errors.Join(problem, err); err != nil {
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

// interceptHost reads an entry of Hosts; "*" becomes ".".
func interceptHost(text string) (string, error) {
	host := hostName(text)
	domain, under := strings.CutPrefix(host, "*.")
	switch {
	case host == "*":
		return ".", nil
	case domain == "" || strings.ContainsAny(domain, "*/[] ") || strings.Contains(domain, ":") && net.ParseIP(domain) == nil:
		return "", fmt.Errorf("host %q: want a name, *.domain, an address or *", text)
	case under:
		return "." + domain, nil
	}
	return host, nil
}

func hostName(text string) string {
	host := strings.ToLower(strings.TrimSuffix(text, "."))
	if ip := net.ParseIP(host); ip != nil {
		return ip.String()
	}
	return host
}

// Config is TLS towards a client that is on its way to serverName, a host name or an address; nil if
// that host is not intercepted. The same host gets the same configuration, so that sessions resume.
func (m *Minter) Config(serverName string) *tls.Config {
	host := hostName(serverName)
	if host == "" || !slices.ContainsFunc(m.hosts, func(h string) bool { return coversHost(h, host) }) {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	h, ok := m.known.Get(host)
	if !ok {
		h = &mintedHost{}
		h.config = &tls.Config{
			MinVersion:     cmp.Or(m.settings.MinVersion, tls.VersionTLS12),
			NextProtos:     protocols(m.settings.NextProtos),
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return m.leaf(h, host) },
		}
		m.known.Add(host, h)
	}
	return h.config
}

func coversHost(pattern, host string) bool {
	switch {
	case pattern == ".":
		return true
	case strings.HasPrefix(pattern, "."):
		return strings.HasSuffix(host, pattern) && len(host) > len(pattern) && net.ParseIP(host) == nil
	}
	return pattern == host
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
