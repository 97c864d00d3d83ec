package main

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"wsproxy/tlsconf"
)

const day = 24 * time.Hour

// maxCADays keeps the end of a CA's life within what a certificate can say in two digits of a year (2049).
const maxCADays = 20 * 365

// isDomain is for names in ASCII: that of an internationalized domain begins with xn--.
var isDomain = regexp.MustCompile(`^([a-z0-9_]([a-z0-9_-]*[a-z0-9_])?\.)*[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

// authority is the CA that is asked for.
type authority struct {
	files   tlsconf.Pair
	name    string
	days    int
	domains []string
}

func caCommand() *cobra.Command {
	var a authority
	c := &cobra.Command{
		Use:   "ca",
		Short: "Make a CA for intercepting TLS, and say how clients come to trust it",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := a.check(); err != nil {
				return usageError{err}
			}
			cert, err := tlsconf.NewCA(a.files, a.name, time.Duration(a.days)*day, a.domains...)
			if err != nil {
				return err
			}
			return tellTrust(c.OutOrStdout(), a.files, cert)
		},
	}
	c.Flags().StringVar(&a.files.Cert, "cert", "wsproxy-ca.pem", "`FILE` for the certificate; it must not exist")
	c.Flags().StringVar(&a.files.Key, "key", "wsproxy-ca-key.pem", "`FILE` for the key; it must not exist")
	c.Flags().StringVar(&a.name, "name", "wsproxy interception CA", "`NAME` that people see in their list of authorities")
	c.Flags().StringSliceVar(&a.domains, "domain", nil, "`DOMAIN` that it may vouch for, with the names under it; may be repeated. Without any it may vouch for every site")
	c.Flags().IntVar(&a.days, "days", 5*365, "how many days it is valid")
	return c
}

func (a *authority) check() error {
	if a.days < 1 || a.days > maxCADays {
		return fmt.Errorf("--days %d: want 1 to %d", a.days, maxCADays)
	}
	if a.name == "" || a.files.Cert == "" || a.files.Key == "" || a.files.Cert == a.files.Key {
		return errors.New("--name, --cert and --key must not be empty, and the files not the same")
	}
	for i, domain := range a.domains {
		if a.domains[i] = strings.ToLower(domain); !isDomain.MatchString(a.domains[i]) {
			return fmt.Errorf("--domain %q: want a domain such as example.com; the names under it need no mention", domain)
		}
	}
	return nil
}

const trustText = `Made a CA, valid until %[1]s:
  certificate  %[2]s
  key          %[3]s  (readable by its owner only; whoever has it can pose as %[5]s to those who trust the CA)
  SHA-256      %[4]s

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
SSL_CERT_FILE, REQUESTS_CA_BUNDLE and --cacert take the place of the authorities that are trusted already.

Say in the configuration for which hosts:
  forward:
    intercept:
      hosts: [%[6]s]
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
	as, hosts := "any site", []string{`"*.example.com"`}
	if domains := cert.PermittedDNSDomains; len(domains) > 0 {
		as, hosts = "any site of "+strings.Join(domains, " and "), nil
		for _, d := range domains {
			hosts = append(hosts, strconv.Quote(d), strconv.Quote("*."+d))
		}
	}
	_, err = fmt.Fprintf(w, trustText, cert.NotAfter.Format(time.DateOnly), certFile, keyFile, fingerprint(cert.Raw), as, strings.Join(hosts, ", "))
	return err
}

func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":")
}
