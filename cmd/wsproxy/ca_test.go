package main

import (
	"bytes"
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wsproxy/tlsconf"
)

func TestCA(t *testing.T) {
	folder := t.TempDir()
	cert, key := filepath.Join(folder, "ca.pem"), filepath.Join(folder, "key.pem")
	args := []string{"ca", "--cert", cert, "--key", key, "--name", "Example CA", "--domain", "Example.com"}
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), args, &stdout, &stderr); code != 0 {
		t.Fatalf("got exit code %d: %s", code, &stderr)
	}
	for _, want := range []string{cert, key, "update-ca-certificates", "NODE_EXTRA_CA_CERTS", "SHA-256", `["example.com", "*.example.com"]`} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("got %s\nwant %q in it", &stdout, want)
		}
	}
	info, err := os.Stat(key)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("got a key with mode %v (%v), want -rw-------", info.Mode(), err)
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil || pair.Leaf.Subject.CommonName != "Example CA" || !pair.Leaf.IsCA {
		t.Errorf("got %v, want the CA", err)
	} else if got := pair.Leaf.PermittedDNSDomains; len(got) != 1 || got[0] != "example.com" {
		t.Errorf("got a CA for %q, want one for example.com", got)
	}
	if _, err := new(tlsconf.Store).Minter(tlsconf.Interception{CA: tlsconf.Pair{Cert: cert, Key: key}}); err != nil {
		t.Errorf("got %v, want it to be of use", err)
	}
	before, _ := os.ReadFile(key)
	if code := run(t.Context(), args, &stdout, &stderr); code != exitFailed || !strings.Contains(stderr.String(), "is there already") {
		t.Errorf("got exit code %d and %q over files that are there, want %d and why", code, &stderr, exitFailed)
	}
	if after, _ := os.ReadFile(key); !bytes.Equal(before, after) {
		t.Error("got another key, want the first one left alone")
	}
}

func TestCARefuses(t *testing.T) {
	folder := t.TempDir()
	there := filepath.Join(folder, "there.pem")
	if err := os.WriteFile(there, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	fresh := filepath.Join(folder, "fresh.pem")
	for name, args := range map[string][]string{
		"no days":                {"--days", "0"},
		"a century":              {"--days", "36500"},
		"no name":                {"--name", ""},
		"a pattern":              {"--domain", "*.example.com", "--cert", fresh},
		"one file":               {"--cert", fresh, "--key", fresh},
		"a certificate is there": {"--cert", there, "--key", fresh},
		"no such folder":         {"--cert", filepath.Join(folder, "none", "c.pem"), "--key", fresh},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := run(t.Context(), append([]string{"ca"}, args...), &stdout, &stderr); code == 0 || stderr.Len() == 0 {
				t.Errorf("got exit code %d and %q, want a failure and why", code, &stderr)
			}
			if _, err := os.Stat(fresh); err == nil {
				t.Error("got a key left behind, want none")
			}
		})
	}
}
