package selfca

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

func verify(ca *CA, c *Certificate, name string, use x509.ExtKeyUsage, at time.Time) error {
	_, err := c.Leaf.Verify(x509.VerifyOptions{
		Roots: ca.Pool(), DNSName: name, KeyUsages: []x509.ExtKeyUsage{use}, CurrentTime: at,
	})
	return err
}

func TestIssue(t *testing.T) {
	ca, err := New("test CA")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	server, client := x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth
	both := Leaf{Names: []string{"chat.example.com", "*.chat.example.com", "127.0.0.1", "::1"}}
	for _, tc := range []struct {
		name string
		leaf Leaf
		host string
		use  x509.ExtKeyUsage
		at   time.Time
		want bool
	}{
		{"name", both, "chat.example.com", server, now, true},
		{"wildcard", both, "a.chat.example.com", server, now, true},
		{"IPv4", both, "127.0.0.1", server, now, true},
		{"IPv6", both, net.IPv6loopback.String(), server, now, true},
		{"other name", both, "example.org", server, now, false},
		{"client by default, too", both, "", client, now, true},
		{"a day later", both, "", server, now.Add(25 * time.Hour), false},
		{"before", both, "", server, now.Add(-2 * time.Hour), false},
		{"longer", Leaf{NotAfter: now.Add(48 * time.Hour)}, "", server, now.Add(25 * time.Hour), true},
		{"from tomorrow", Leaf{NotBefore: now.Add(24 * time.Hour), NotAfter: now.Add(48 * time.Hour)}, "", server, now, false},
		{"client only, as server", Leaf{Usage: []x509.ExtKeyUsage{client}}, "", server, now, false},
		{"client only, as client", Leaf{Usage: []x509.ExtKeyUsage{client}}, "", client, now, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := ca.Issue(tc.leaf)
			if err != nil {
				t.Fatal(err)
			}
			if err := verify(ca, c, tc.host, tc.use, tc.at); (err == nil) != tc.want {
				t.Errorf("got %v, want valid %t", err, tc.want)
			}
		})
	}
}

func TestRenewKeepsTheKey(t *testing.T) {
	ca, err := New("test CA")
	if err != nil {
		t.Fatal(err)
	}
	first, err := ca.Issue(Leaf{Names: []string{"localhost"}})
	if err != nil {
		t.Fatal(err)
	}
	second, err := ca.Issue(Leaf{Names: []string{"localhost"}, Key: first.Key})
	if err != nil {
		t.Fatal(err)
	}
	if !first.Key.Equal(second.Key) || first.Leaf.SerialNumber.Cmp(second.Leaf.SerialNumber) == 0 {
		t.Error("want the same key and another serial number")
	}
}

func TestFiles(t *testing.T) {
	ca, err := New("test CA")
	if err != nil {
		t.Fatal(err)
	}
	c, err := ca.Issue(Leaf{Names: []string{"localhost"}})
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	cert, key, err := c.Write(folder, "server")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	if !pair.Leaf.Equal(c.TLS().Leaf) {
		t.Error("got another certificate from the file")
	}
	info, err := os.Stat(key)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("key file: got mode %o, want 600", got)
	}
	root, err := ca.Write(folder, "ca")
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(root)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(content) || !pool.Equal(ca.Pool()) {
		t.Error("got another root from the file")
	}
	if _, _, err := c.Write(filepath.Join(folder, "none"), "server"); err == nil {
		t.Error("folder not there: got no error")
	}
	if _, err := ca.Write(filepath.Join(folder, "none"), "ca"); err == nil {
		t.Error("folder not there: got no error for the CA")
	}
}

func TestFakeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, err := New("test CA")
		if err != nil {
			t.Fatal(err)
		}
		c, err := ca.Issue(Leaf{Names: []string{"localhost"}})
		if err != nil {
			t.Fatal(err)
		}
		if err := verify(ca, c, "localhost", x509.ExtKeyUsageServerAuth, time.Now()); err != nil {
			t.Error(err)
		}
	})
}
