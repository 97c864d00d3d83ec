package tlsconf

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"time"
)

// NewCA makes a CA for interception and writes its certificate and key, which only the owner can read,
// to two files that must not exist. What was written is removed again if it fails. Where domains are given
// it can vouch for them and for the names under them, and for nothing else (RFC 5280 §4.2.1.10).
func NewCA(files Pair, name string, life time.Duration, domains ...string) (*x509.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-leeway),
		NotAfter:              now.Add(life),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		IsCA:                  true,
		MaxPathLenZero:        true, // it signs leaves, no further CAs
		BasicConstraintsValid: true,
	}
	if len(domains) > 0 {
		template.PermittedDNSDomains, template.PermittedDNSDomainsCritical = domains, true
		template.ExcludedIPRanges = []*net.IPNet{everyIP(net.IPv4len), everyIP(net.IPv6len)}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode the key: %w", err)
	}
	if err := create(files.Key, "PRIVATE KEY", secret, 0o600); err != nil {
		return nil, err
	}
	if err := create(files.Cert, "CERTIFICATE", der, 0o644); err != nil {
		return nil, errors.Join(err, os.Remove(files.Key))
	}
	return x509.ParseCertificate(der)
}

// everyIP is every address of so many bytes.
func everyIP(size int) *net.IPNet {
	return &net.IPNet{IP: make(net.IP, size), Mask: make(net.IPMask, size)}
}

// create writes a file that is not there yet.
func create(path, kind string, der []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	switch {
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%s is there already and is not overwritten: clients may trust it", path)
	case err != nil:
		return readProblem(path, err)
	}
	err = errors.Join(f.Chmod(mode), pem.Encode(f, &pem.Block{Type: kind, Bytes: der}), f.Close())
	if err != nil {
		return errors.Join(readProblem(path, err), os.Remove(path))
	}
	return nil
}
