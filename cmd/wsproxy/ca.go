package main

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"wsproxy/tlsconf"
)

const day = 24 * time.Hour

// maxCADays keeps the end of a CA's life within what a certificate can say in two digits of a year (2049).
const maxCADays = 20 * 365

func caCommand() *cobra.Command {
	var files tlsconf.Pair
	var name string
	var days int
	c := &cobra.Command{
		Use:   "ca",
		Short: "Make a CA for intercepting TLS, and say how clients come to trust it",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if days < 1 || days > maxCADays {
				return usageError{fmt.Errorf("--days %d: want 1 to %d", days, maxCADays)}
			}
			if name == "" || files.Cert == "" || files.Key == "" || files.Cert == files.Key {
				return usageError{fmt.Errorf("--name, --cert and --key must not be empty, and the files not the same")}
			}
			cert, err := tlsconf.NewCA(files, name, time.Duration(days)*day)
			if err != nil {
				return err
			}
			return tellTrust(c.OutOrStdout(), files, cert)
		},
	}
	c.Flags().StringVar(&files.Cert, "cert", "wsproxy-ca.pem", "`FILE` for the certificate; it must not exist")
	c.Flags().StringVar(&files.Key, "key", "wsproxy-ca-key.pem", "`FILE` for the key; it must not exist")
	c.Flags().StringVar(&name, "name", "wsproxy interception CA", "`NAME` that people see in their list of authorities")
	c.Flags().IntVar(&days, "days", 5*365, "how many days it is valid")
	return c
}

const trustText = `Made a CA, valid until %s:
  certificate  %s
  key          %s  (readable by its owner only; whoever has it can pose as any site to those who trust the CA)
  SHA-256      %s

Clients have to trust the certificate, and only the certificate, before their TLS can be intercepted:
  Debian, Ubuntu   cp %[2]s /usr/local/share/ca-certificates/wsproxy-ca.crt && update-ca-certificates
  Fedora, RHEL     cp %[2]s /etc/pki/ca-trust/source/anchors/ && update-ca-trust
  macOS            security add-trusted-cert -d -k /Library/Keychains/System.keychain %[2]s
  Windows          certutil -addstore Root %[2]s
  Firefox          Settings, Privacy & Security, Certificates, View Certificates, Authorities, Import
  Go, OpenSSL      SSL_CERT_FILE=%[2]s
  Node             NODE_EXTRA_CA_CERTS=%[2]s
  Python requests  REQUESTS_CA_BUNDLE=%[2]s
  curl             curl --cacert %[2]s

Say in the configuration for which hosts:
  forward:
    intercept:
      hosts: ["*.example.com"]
      ca: { cert: %[2]s, key: %[3]s }
`

func tellTrust(w io.Writer, files tlsconf.Pair, cert *x509.Certificate) error {
	certFile, err := filepath.Abs(files.Cert)
	if err != nil {
		return err
	}
	keyFile, err := filepath.Abs(files.Key)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, trustText, cert.NotAfter.Format(time.DateOnly), certFile, keyFile, fingerprint(cert.Raw))
	return err
}

func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":")
}
