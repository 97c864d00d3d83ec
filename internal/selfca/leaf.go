package selfca

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
	"os"
	"path/filepath"
	"time"
)

// Leaf is what to put into a certificate.
type Leaf struct {
	// Names are DNS names, wildcards such as *.example.com, and IP addresses.
	Names []string
	// CommonName is the subject. Empty: the first name.
	CommonName string
	// NotBefore is when it begins to be valid. Zero: an hour ago.
	NotBefore time.Time
	// NotAfter is when it ends to be valid. Zero: in 24 hours.
	NotAfter time.Time
	// Usage is what it may be used for. Empty: server and client authentication.
	Usage []x509.ExtKeyUsage
	// Key is the key to certify, as when a certificate is renewed. Nil: a new P-256 key.
	Key *ecdsa.PrivateKey
}

// Certificate is a signed certificate with its key.
type Certificate struct {
	Leaf *x509.Certificate
	Key  *ecdsa.PrivateKey
}

// Issue signs a certificate for the leaf.
func (ca *CA) Issue(leaf Leaf) (*Certificate, error) {
	name := leaf.CommonName
	if name == "" && len(leaf.Names) > 0 {
		name = leaf.Names[0]
	}
	key := leaf.Key
	if key == nil {
		var err error
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return nil, fmt.Errorf("issue certificate for %s: %w", name, err)
		}
	}
	cert, err := sign(leaf.template(name), ca.cert, key, ca.key)
	if err != nil {
		return nil, fmt.Errorf("issue certificate for %s: %w", name, err)
	}
	return &Certificate{Leaf: cert, Key: key}, nil
}

func (l Leaf) template(name string) *x509.Certificate {
	now := time.Now()
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: name},
		NotBefore:   cmp.Or(l.NotBefore, now.Add(-leeway)),
		NotAfter:    cmp.Or(l.NotAfter, now.Add(leafLife)),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: l.Usage,
	}
	if len(l.Usage) == 0 {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	for _, n := range l.Names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	return template
}

// TLS is the certificate as crypto/tls takes it.
func (c *Certificate) TLS() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{c.Leaf.Raw}, PrivateKey: c.Key, Leaf: c.Leaf}
}

// CertPEM is the certificate.
func (c *Certificate) CertPEM() []byte { return encode("CERTIFICATE", c.Leaf.Raw) }

// KeyPEM is the private key in PKCS #8.
func (c *Certificate) KeyPEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(c.Key)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return encode("PRIVATE KEY", der), nil
}

// Write puts name.pem and name-key.pem (readable by the owner only) into folder, which must exist,
// over what was there.
func (c *Certificate) Write(folder, name string) (cert, key string, err error) {
	cert = filepath.Join(folder, name+".pem")
	key = filepath.Join(folder, name+"-key.pem")
	keyPEM, err := c.KeyPEM()
	if err != nil {
		return "", "", err
	}
	err = errors.Join(
		os.WriteFile(cert, c.CertPEM(), 0o644),
		os.WriteFile(key, keyPEM, 0o600),
	)
	if err != nil {
		return "", "", fmt.Errorf("write certificate: %w", err)
	}
	return cert, key, nil
}

// Write puts name.pem, the root's certificate without its key, into folder.
func (ca *CA) Write(folder, name string) (file string, err error) {
	file = filepath.Join(folder, name+".pem")
	if err := os.WriteFile(file, ca.PEM(), 0o644); err != nil {
		return "", fmt.Errorf("write CA: %w", err)
	}
	return file, nil
}
