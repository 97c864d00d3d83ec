package tlsconf

import (
	"encoding/pem"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"wsproxy/internal/selfca"
)

func TestBadFilesAreNamedWithWhatToDo(t *testing.T) {
	ca, folder := newCA(t, "test"), t.TempDir()
	good := issue(t, ca, selfca.Leaf{Names: []string{"localhost"}})
	pair := writePair(t, good, folder, "good")
	key := keyPEM(t, good)
	write := func(name, content string) string {
		return writeFile(t, filepath.Join(folder, name), []byte(content))
	}
	other := writePair(t, issue(t, ca, selfca.Leaf{Names: []string{"localhost"}}), folder, "other")
	empty := write("empty.pem", "")
	der := write("cert.der", string(good.Leaf.Raw))
	half := write("half.pem", string(good.CertPEM())+string(ca.PEM()[:200]))
	halfKey := write("half-key.pem", string(key[:len(key)/2]))
	notCert := write("not-cert.pem", block("CERTIFICATE", nil))
	notKey := write("not-key.pem", block("PRIVATE KEY", nil))
	encrypted := write("encrypted.pem", block("ENCRYPTED PRIVATE KEY", nil))
	legacy := write("legacy.pem", block("EC PRIVATE KEY", map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-128-CBC,00"}))
	large := write("large.pem", strings.Repeat("x", maxFile+1))

	for _, tc := range []struct {
		name      string
		cert, key string
		want      []string
	}{
		{"certificate missing", filepath.Join(folder, "none.pem"), pair.Key, []string{"none.pem: no such file"}},
		{"relative and missing", "none.pem", pair.Key, []string{"none.pem: no such file", "looked in /"}},
		{"key missing", pair.Cert, filepath.Join(folder, "none.pem"), []string{"none.pem: no such file"}},
		{"both missing", "one.pem", "two.pem", []string{"one.pem", "two.pem"}},
		{"folder", folder, pair.Key, []string{folder + ": not a regular file"}},
		{"empty", empty, pair.Key, []string{"empty.pem: no PEM block", "BEGIN CERTIFICATE"}},
		{"empty key", pair.Cert, empty, []string{"empty.pem: no PEM block", "BEGIN PRIVATE KEY"}},
		{"DER", der, pair.Key, []string{"cert.der: no PEM block"}},
		{"half-written", half, pair.Key, []string{"half.pem: 1 of its 2 PEM blocks"}},
		{"half-written key", pair.Cert, halfKey, []string{"half-key.pem: 1 of its 1 PEM blocks"}},
		{"switched", pair.Key, pair.Cert, []string{"good-key.pem: no certificate in it but a PRIVATE KEY", "good.pem: no private key in it but a CERTIFICATE"}},
		{"no key in the certificate's file", pair.Cert, "", []string{"good.pem: no private key"}},
		{"not a certificate", notCert, pair.Key, []string{"not-cert.pem: certificate 1: "}},
		{"not a key", pair.Cert, notKey, []string{"not-key.pem: not the key of", "parse"}},
		{"encrypted key", pair.Cert, encrypted, []string{"encrypted.pem: the private key is encrypted", "openssl pkey -in "}},
		{"encrypted key, old kind", pair.Cert, legacy, []string{"legacy.pem: the private key is encrypted"}},
		{"another's key", pair.Cert, other.Key, []string{"other-key.pem: not the key of the first certificate in " + pair.Cert, "does not match"}},
		{"too large", large, pair.Key, []string{"large.pem: larger than 4 MiB"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var s Store
			_, err := s.Server(Server{Certificates: []Pair{{Cert: tc.cert, Key: tc.key}}})
			if err == nil {
				t.Fatal("got no error")
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want %q in it", err, want)
				}
			}
			if body := strings.Split(string(key), "\n")[1]; strings.Contains(err.Error(), body) {
				t.Errorf("the key is in the error: %q", err)
			}
		})
	}
}

func block(kind string, headers map[string]string) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Headers: headers, Bytes: []byte("nonsense")}))
}

func TestUnreadableFile(t *testing.T) {
	err := readProblem("key.pem", &fs.PathError{Op: "open", Path: "key.pem", Err: syscall.EACCES})
	if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "key.pem: permission denied (let the user") {
		t.Errorf("got %v", err)
	}
}

func TestNamedPipeDoesNotBlock(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe.pem")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skip("no named pipes here:", err)
	}
	if _, err := readFile(pipe); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("got %v, want not a regular file", err)
	}
}

func TestChainIsServedWhole(t *testing.T) {
	ca, folder := newCA(t, "test"), t.TempDir()
	leaf := issue(t, ca, selfca.Leaf{Names: []string{"localhost"}})
	pair := writePair(t, leaf, folder, "server")
	writeFile(t, pair.Cert, append([]byte("a comment\n"+string(leaf.CertPEM())), ca.PEM()...))
	var s Store
	o := mustConnect(t, newServer(t, &s, Server{Certificates: []Pair{pair}}), trusting(ca, "localhost"))
	if got := len(o.client.PeerCertificates); got != 2 {
		t.Errorf("got %d certificates, want 2", got)
	}
}
