package tlsconf

import (
	"cmp"
	"crypto/x509"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Certificate is one of our own certificates in use, of a listener or towards an upstream.
type Certificate struct {
	// Name is the first DNS name, or else the common name, or else the file's name without its
	// extension. If several files share it, the file is added in parentheses, so that it is unique.
	Name string
	// File is the certificate's file as configured.
	File string
	// NotBefore and NotAfter bound its validity; those of the intermediate certificates don't count.
	NotBefore, NotAfter time.Time
}

// Check says whether the certificate is valid at a time, and what to do if it is not. An invalid
// one is served all the same, since the peer judges by its own clock.
func (c Certificate) Check(now time.Time) error {
	switch {
	case now.Before(c.NotBefore):
		return fmt.Errorf("%s: certificate of %s is not valid before %s (is this machine's clock right?)",
			c.File, c.Name, c.NotBefore.Format(time.RFC3339))
	case now.After(c.NotAfter):
		return fmt.Errorf("%s: certificate of %s expired at %s (renew it)",
			c.File, c.Name, c.NotAfter.Format(time.RFC3339))
	}
	return nil
}

// Certificates lists the certificates in use, by name, each file once.
func (s *Store) Certificates() []Certificate {
	var list []Certificate
	for _, l := range s.all() {
		list = append(list, l.current.Load().certificates...)
	}
	slices.SortStableFunc(list, func(x, y Certificate) int {
		return cmp.Or(cmp.Compare(x.Name, y.Name), cmp.Compare(x.File, y.File))
	})
	list = slices.CompactFunc(list, func(x, y Certificate) bool { return x.File == y.File })
	return distinguish(list)
}

func newCertificate(file string, leaf *x509.Certificate) Certificate {
	name := cmp.Or(leaf.Subject.CommonName, strings.TrimSuffix(filepath.Base(file), filepath.Ext(file)))
	if len(leaf.DNSNames) > 0 {
		name = leaf.DNSNames[0]
	}
	return Certificate{Name: name, File: file, NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter}
}

// distinguish adds the file to a name that several certificates of the sorted list have.
func distinguish(list []Certificate) []Certificate {
	count := map[string]int{}
	for _, c := range list {
		count[c.Name]++
	}
	for i, c := range list {
		if count[c.Name] > 1 {
			list[i].Name += " (" + c.File + ")"
		}
	}
	return list
}
