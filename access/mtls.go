package access

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"path"
	"strings"
)

// Certificates lets in whose TLS certificate, which the handshake has verified, has one of the names.
type Certificates struct {
	Subjects []string // patterns of the whole subject, as CN=*,O=Example; * stands for anything but a comma
	Names    []string // patterns of DNS, mail and URI names, as *.example.com; * stands for anything but a slash
}

// CheckNamePattern says what is wrong with a pattern of a subject or name.
func CheckNamePattern(pattern string) error {
	if _, err := path.Match(pattern, ""); err != nil {
		return fmt.Errorf("pattern %q: %w", pattern, err)
	}
	return nil
}

// Identify implements Method.
func (c *Certificates) Identify(_ context.Context, r *Request) (*Identity, error) {
	if r.Certificate == nil {
		return nil, errNone
	}
	subject := r.Certificate.Subject.String()
	if len(c.Subjects) == 0 && len(c.Names) == 0 || matches(c.Subjects, swap(subject)) {
		return &Identity{Method: "mtls", Name: subject, Expires: r.Certificate.NotAfter}, nil
	}
	for _, name := range namesOf(r.Certificate) {
		if matchesNames(c.Names, name) {
			return &Identity{Method: "mtls", Name: name, Expires: r.Certificate.NotAfter}, nil
		}
	}
	return nil, forbidden("the client certificate has no name that is let in")
}

func namesOf(c *x509.Certificate) []string {
	names := append(append([]string(nil), c.DNSNames...), c.EmailAddresses...)
	for _, u := range c.URIs {
		names = append(names, u.String())
	}
	return names
}

// swap makes path.Match, whose star stops at a slash, stop at a comma.
func swap(s string) string {
	return strings.NewReplacer("/", ",", ",", "/").Replace(s)
}

func matches(patterns []string, swapped string) bool {
	for _, p := range patterns {
		if ok, _ := path.Match(swap(p), swapped); ok {
			return true
		}
	}
	return false
}

func matchesNames(patterns []string, name string) bool {
	for _, p := range patterns {
		if ok, _ := path.Match(p, name); ok {
			return true
		}
	}
	return false
}

// Challenge implements Method: a certificate is asked for in TLS.
func (c *Certificates) Challenge(bool) string { return "" }

// Strip implements Method.
func (c *Certificates) Strip(*http.Request, bool) {}
