package tlsconf

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wsproxy/internal/selfca"
)

func newInterceptionCA(t *testing.T) (Pair, *x509.CertPool) {
	t.Helper()
	folder := t.TempDir()
	files := Pair{Cert: filepath.Join(folder, "ca.pem"), Key: filepath.Join(folder, "ca-key.pem")}
	cert, err := NewCA(files, "interception", 48*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return files, poolOf(cert)
}

func poolOf(certs ...*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, c := range certs {
		pool.AddCert(c)
	}
	return pool
}

func newMinter(t *testing.T, s *Store, ca Pair) *Minter {
	t.Helper()
	m, err := s.Minter(Interception{CA: ca})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMinterCertifiesTheHost(t *testing.T) {
	files, roots := newInterceptionCA(t)
	m := newMinter(t, &Store{}, files)
	for _, host := range []string{"chat.example.com", "127.0.0.1", "2001:db8::1", "a_b.example.com", strings.Repeat("a.", 120) + "example.com"} {
		o := mustConnect(t, m.Config(host), &tls.Config{RootCAs: roots, ServerName: host, NextProtos: []string{"h2", "http/1.1"}})
		leaf := o.leaf()
		if err := leaf.VerifyHostname(host); err != nil || o.client.NegotiatedProtocol != "http/1.1" {
			t.Errorf("%s: got %v and %q, want it certified and http/1.1", host, err, o.client.NegotiatedProtocol)
		}
		if life := leaf.NotAfter.Sub(leaf.NotBefore); life > 26*time.Hour || leaf.IsCA {
			t.Errorf("%s: got a life of %s and CA %t, want a day or so and no CA", host, life, leaf.IsCA)
		}
	}
	if o := handshake(t, m.Config("chat.example.com"), &tls.Config{RootCAs: roots, ServerName: "other.example.com"}); o.clientErr == nil {
		t.Error("got a certificate for another name than the tunnel's, want none")
	}
}

// A CA for some domains is of no use for others, whoever has its key.
func TestMinterOfDomains(t *testing.T) {
	folder := t.TempDir()
	files := Pair{Cert: filepath.Join(folder, "ca.pem"), Key: filepath.Join(folder, "ca-key.pem")}
	cert, err := NewCA(files, "interception", 48*time.Hour, "example.com", "a.test")
	if err != nil {
		t.Fatal(err)
	}
	m, roots := newMinter(t, &Store{}, files), poolOf(cert)
	for host, want := range map[string]bool{
		"example.com": true, "chat.example.com": true, "a.test": true,
		"anexample.com": false, "b.test": false, "127.0.0.1": false, "2001:db8::1": false,
	} {
		o := handshake(t, m.Config(host), &tls.Config{RootCAs: roots, ServerName: host})
		if got := o.clientErr == nil; got != want {
			t.Errorf("%s: got %t (%v), want %t", host, got, o.clientErr, want)
		}
	}
}

func TestMinterRefuses(t *testing.T) {
	files, _ := newInterceptionCA(t)
	ca, folder := newCA(t, "test"), t.TempDir()
	leaf := writePair(t, issue(t, ca, selfca.Leaf{Names: []string{"a.test"}}), folder, "leaf")
	for name, tt := range map[string]struct {
		settings Interception
		want     string
	}{
		"a leaf":             {Interception{CA: leaf}, "not the certificate of a CA"},
		"no files":           {Interception{CA: Pair{Cert: filepath.Join(folder, "none")}}, "no such file"},
		"an unknown version": {Interception{CA: files, MinVersion: 7}, "minimum version"},
	} {
		if _, err := new(Store).Minter(tt.settings); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, tt.want)
		}
	}
}

// The same host has the same certificate, until half of its life is over or the CA is another.
func TestMinterKeepsAndRenews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files, _ := newInterceptionCA(t)
		s := &Store{}
		m := newMinter(t, s, files)
		leaf := func() []byte {
			c, err := m.Config("a.test").GetCertificate(nil)
			if err != nil {
				t.Fatal(err)
			}
			return c.Certificate[0]
		}
		first, config := leaf(), m.Config("a.test")
		if m.Config("a.test") != config || !bytes.Equal(first, leaf()) {
			t.Error("got something new for the same host, want what was there")
		}
		time.Sleep(13 * time.Hour)
		second := leaf()
		if bytes.Equal(first, second) {
			t.Error("got the certificate of 13 hours ago, want another")
		}
		if err := os.Remove(files.Cert); err != nil {
			t.Fatal(err)
		}
		if err := s.Reload(); err == nil || !bytes.Equal(second, leaf()) {
			t.Errorf("got %v without the CA's file, want an error and the old certificate", err)
		}
		os.Remove(files.Key)
		renewed, err := NewCA(files, "another", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Reload(); err != nil {
			t.Fatal(err)
		}
		parsed, err := x509.ParseCertificate(leaf())
		if err != nil || parsed.CheckSignatureFrom(renewed) != nil {
			t.Errorf("got %v, want a certificate of the renewed CA", err)
		}
	})
}

func TestMinterIsBounded(t *testing.T) {
	files, _ := newInterceptionCA(t)
	m := newMinter(t, &Store{}, files)
	var wg sync.WaitGroup
	for part := range 4 {
		wg.Go(func() {
			for i := range minted {
				m.Config(fmt.Sprintf("%d-%d.test", part, i))
			}
		})
	}
	wg.Wait()
	if got := m.known.Len(); got != minted {
		t.Errorf("got %d hosts kept, want %d", got, minted)
	}
}
