package tlsconf

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"wsproxy/internal/selfca"
)

func TestServerChoosesCertificateByName(t *testing.T) {
	ca, folder := newCA(t, "test"), t.TempDir()
	var pairs []Pair
	for file, names := range map[int][]string{
		0: {"first.example.com"},
		1: {"*.example.com"},
		2: {"Chat.example.com", "talk.example.com"},
		3: {"127.0.0.1"},
	} {
		pairs = append(pairs, writePair(t, issue(t, ca, selfca.Leaf{Names: names}), folder, string(rune('a'+file))))
	}
	slices.SortFunc(pairs, func(x, y Pair) int { return strings.Compare(x.Cert, y.Cert) })
	var s Store
	server := newServer(t, &s, Server{Certificates: pairs})

	for _, tc := range []struct{ name, ask, want string }{
		{"exact name", "first.example.com", "first.example.com"},
		{"exact name before an earlier wildcard", "chat.example.com", "Chat.example.com"},
		{"second name", "talk.example.com", "Chat.example.com"},
		{"upper case", "TALK.Example.Com", "Chat.example.com"},
		{"wildcard", "other.example.com", "*.example.com"},
		{"wildcard is one label", "a.b.example.com", "first.example.com"},
		{"unknown name", "example.org", "first.example.com"},
		{"no name, as with an address", "127.0.0.1", "first.example.com"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := mustConnect(t, server, &tls.Config{ServerName: tc.ask, InsecureSkipVerify: true})
			if got := o.leaf().Subject.CommonName; got != tc.want {
				t.Errorf("asked for %s: got certificate of %s, want %s", tc.ask, got, tc.want)
			}
		})
	}
}

func TestServerChoosesCertificateByAlgorithm(t *testing.T) {
	ca, folder := newCA(t, "test"), t.TempDir()
	modern := writePair(t, issue(t, ca, selfca.Leaf{Names: []string{"chat.example.com"}}), folder, "ecdsa")
	var s Store
	server := newServer(t, &s, Server{Certificates: []Pair{modern, writeRSA(t, folder, "chat.example.com")}})

	for _, name := range []string{"chat.example.com", "unknown.example.com", ""} {
		old := &tls.Config{
			ServerName: name, InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12,
			CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256},
		}
		if _, ok := mustConnect(t, server, old).leaf().PublicKey.(*rsa.PublicKey); !ok {
			t.Errorf("client without ECDSA, asking for %q: got another certificate, want the RSA one", name)
		}
	}
	if _, ok := mustConnect(t, server, trusting(ca, "chat.example.com")).leaf().PublicKey.(*ecdsa.PublicKey); !ok {
		t.Error("client with both: got another certificate, want the first, the ECDSA one")
	}
}

// writeRSA writes a self-signed certificate with a key in PKCS #1, both in one file.
func writeRSA(t *testing.T, folder, name string) Pair {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	content := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	content = append(content, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})...)
	return Pair{Cert: writeFile(t, filepath.Join(folder, "rsa.pem"), content)}
}

func TestServerClientAuthentication(t *testing.T) {
	ca, clients, strangers := newCA(t, "servers"), newCA(t, "clients"), newCA(t, "strangers")
	folder := t.TempDir()
	pair := writePair(t, issue(t, ca, selfca.Leaf{Names: []string{"localhost"}}), folder, "server")
	clientCA := writeCA(t, folder, "clients.pem", clients)

	good := issue(t, clients, selfca.Leaf{CommonName: "device 1"})
	foreign := issue(t, strangers, selfca.Leaf{CommonName: "device 2"})
	expired := issue(t, clients, selfca.Leaf{CommonName: "device 3", NotAfter: time.Now().Add(-time.Minute)})
	serverOnly := issue(t, clients, selfca.Leaf{CommonName: "x", Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})

	for _, tc := range []struct {
		name string
		auth ClientAuth
		ca   string
		cert *selfca.Certificate
		want bool
	}{
		{"no CA, no certificate", ClientAuthRequire, "", nil, true},
		{"no CA, a certificate is not asked for", ClientAuthRequire, "", foreign, true},
		{"required and given", ClientAuthRequire, clientCA, good, true},
		{"required and missing", ClientAuthRequire, clientCA, nil, false},
		{"required, of another CA", ClientAuthRequire, clientCA, foreign, false},
		{"required, expired", ClientAuthRequire, clientCA, expired, false},
		{"required, not for clients", ClientAuthRequire, clientCA, serverOnly, false},
		{"optional and given", ClientAuthOptional, clientCA, good, true},
		{"optional and missing", ClientAuthOptional, clientCA, nil, true},
		{"optional, of another CA", ClientAuthOptional, clientCA, foreign, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var s Store
			server := newServer(t, &s, Server{Certificates: []Pair{pair}, ClientCA: tc.ca, ClientAuth: tc.auth})
			client := trusting(ca, "localhost")
			if tc.cert != nil {
				cert := tc.cert.TLS()
				client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
			}
			o := handshake(t, server, client)
			if got := o.serverErr == nil && o.clientErr == nil; got != tc.want {
				t.Errorf("got %t (client %v, server %v), want %t", got, o.clientErr, o.serverErr, tc.want)
			}
			if verified := len(o.server.VerifiedChains) > 0; verified != (tc.want && tc.ca != "" && tc.cert != nil) {
				t.Errorf("got a verified client certificate: %t", verified)
			}
		})
	}
}

func TestServerMinVersion(t *testing.T) {
	ca, folder := newCA(t, "test"), t.TempDir()
	pair := writePair(t, issue(t, ca, selfca.Leaf{Names: []string{"localhost"}}), folder, "server")
	for _, tc := range []struct {
		name     string
		min, max uint16 // the server's least, the client's best
		want     bool
	}{
		{"default refuses 1.1", 0, tls.VersionTLS11, false},
		{"default takes 1.2", 0, tls.VersionTLS12, true},
		{"1.3 refuses 1.2", tls.VersionTLS13, tls.VersionTLS12, false},
		{"1.3 takes 1.3", tls.VersionTLS13, tls.VersionTLS13, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var s Store
			server := newServer(t, &s, Server{Certificates: []Pair{pair}, MinVersion: tc.min})
			client := trusting(ca, "localhost")
			client.MinVersion, client.MaxVersion = tls.VersionTLS10, tc.max
			o := handshake(t, server, client)
			if got := o.serverErr == nil && o.clientErr == nil; got != tc.want {
				t.Errorf("got %t (client %v, server %v), want %t", got, o.clientErr, o.serverErr, tc.want)
			}
			if tc.want && o.client.NegotiatedProtocol != "http/1.1" {
				t.Errorf("got protocol %q, want http/1.1", o.client.NegotiatedProtocol)
			}
		})
	}
}

func TestServerReportsEveryProblem(t *testing.T) {
	folder := t.TempDir()
	var s Store
	_, err := s.Server(Server{
		Certificates: []Pair{{Cert: filepath.Join(folder, "gone.pem"), Key: filepath.Join(folder, "gone-key.pem")}},
		ClientAuth:   ClientAuthOptional, MinVersion: 7,
	})
	for _, want := range []string{"gone.pem", "gone-key.pem", "no client CA", "minimum version"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want something about %q", err, want)
		}
	}
	if _, err := s.Server(Server{}); err == nil {
		t.Error("no certificate: got no error")
	}
	if _, err := s.Server(Server{ClientAuth: 9}); err == nil || !strings.Contains(err.Error(), "authentication 9") {
		t.Errorf("unknown client authentication: got %v", err)
	}
	if got := s.files(); len(got) != 0 {
		t.Errorf("after failures: got files %v, want none", got)
	}
}
