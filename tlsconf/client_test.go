package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"wsproxy/internal/selfca"
)

func TestClientTrust(t *testing.T) {
	ca, other := newCA(t, "ours"), newCA(t, "other")
	folder := t.TempDir()
	pair := writePair(t, issue(t, ca, selfca.Leaf{Names: []string{"chat.example.com", "127.0.0.1"}}), folder, "server")
	caFile, otherFile := writeCA(t, folder, "ca.pem", ca), writeCA(t, folder, "other.pem", other)
	bundle := writeCA(t, folder, "bundle.pem", other, ca)

	unknown := func(err error) bool { _, ok := errors.AsType[x509.UnknownAuthorityError](err); return ok }
	wrongName := func(err error) bool { _, ok := errors.AsType[x509.HostnameError](err); return ok }
	none := func(err error) bool { return err == nil }
	some := func(err error) bool { return err != nil }
	for _, tc := range []struct {
		name     string
		settings Client
		serve    uint16 // the server's best version; 0: the newest
		want     func(error) bool
	}{
		{"CA", Client{CA: caFile, ServerName: "chat.example.com"}, 0, none},
		{"CA in a bundle", Client{CA: bundle, ServerName: "chat.example.com"}, 0, none},
		{"address", Client{CA: caFile, ServerName: "127.0.0.1"}, 0, none},
		{"another CA", Client{CA: otherFile, ServerName: "chat.example.com"}, 0, unknown},
		{"the system's CAs", Client{ServerName: "chat.example.com"}, 0, unknown},
		{"another name", Client{CA: caFile, ServerName: "example.org"}, 0, wrongName},
		{"insecure", Client{ServerName: "example.org", Insecure: true}, 0, none},
		{"old server", Client{CA: caFile, ServerName: "chat.example.com"}, tls.VersionTLS12, none},
		{"server too old", Client{CA: caFile, ServerName: "chat.example.com", MinVersion: tls.VersionTLS13}, tls.VersionTLS12, some},
		{"server too old for the default", Client{CA: caFile, ServerName: "chat.example.com"}, tls.VersionTLS11, some},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var s Store
			server := newServer(t, &s, Server{Certificates: []Pair{pair}, MinVersion: tls.VersionTLS10}).Clone()
			if tc.serve != 0 {
				inner, err := server.GetConfigForClient(nil)
				if err != nil {
					t.Fatal(err)
				}
				server = inner.Clone()
				server.MaxVersion = tc.serve
			}
			o := handshake(t, server, newClient(t, &s, tc.settings)())
			if !tc.want(o.clientErr) {
				t.Errorf("got %v", o.clientErr)
			}
			if o.clientErr == nil && o.client.NegotiatedProtocol != "http/1.1" {
				t.Errorf("got protocol %q, want http/1.1", o.client.NegotiatedProtocol)
			}
		})
	}
}

func TestClientSendsItsCertificate(t *testing.T) {
	ca, clients := newCA(t, "servers"), newCA(t, "clients")
	folder := t.TempDir()
	serverPair := writePair(t, issue(t, ca, selfca.Leaf{Names: []string{"localhost"}}), folder, "server")
	ours := issue(t, clients, selfca.Leaf{CommonName: "wsproxy"})
	pair := writePair(t, ours, folder, "client")
	both := writeFile(t, filepath.Join(folder, "both.pem"), append(keyPEM(t, ours), ours.CertPEM()...))
	caFile := writeCA(t, folder, "ca.pem", ca)

	var s Store
	server := newServer(t, &s, Server{Certificates: []Pair{serverPair}, ClientCA: writeCA(t, folder, "clients.pem", clients)})
	for _, tc := range []struct {
		name     string
		settings Client
	}{
		{"two files", Client{CA: caFile, Cert: pair.Cert, Key: pair.Key, ServerName: "localhost"}},
		{"one file", Client{CA: caFile, Cert: both, ServerName: "localhost"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := mustConnect(t, server, newClient(t, &s, tc.settings)())
			if got := o.server.PeerCertificates[0].Subject.CommonName; got != "wsproxy" {
				t.Errorf("got client certificate of %s, want wsproxy", got)
			}
		})
	}
	if o := handshake(t, server, newClient(t, &s, Client{CA: caFile, ServerName: "localhost"})()); o.serverErr == nil {
		t.Error("without a certificate: got in")
	}
}

func TestClientReportsEveryProblem(t *testing.T) {
	var s Store
	_, err := s.Client(Client{CA: "gone.pem", Key: "key.pem", MinVersion: 7})
	for _, want := range []string{"gone.pem", "without a client certificate", "minimum version"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want something about %q", err, want)
		}
	}
}

func TestClientResumesSessionsUntilTrustIsRenewed(t *testing.T) {
	ca, other := newCA(t, "ours"), newCA(t, "other")
	folder := t.TempDir()
	caFile := writeCA(t, folder, "ca.pem", ca)
	cert := issue(t, ca, selfca.Leaf{Names: []string{"localhost"}})
	pair := writePair(t, cert, folder, "server")
	mine := writePair(t, issue(t, ca, selfca.Leaf{CommonName: "one"}), folder, "client")

	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			writeCA(t, folder, "ca.pem", ca)
			var servers, clients Store
			server := newServer(t, &servers, Server{Certificates: []Pair{pair}})
			client := newClient(t, &clients, Client{CA: caFile, Cert: mine.Cert, Key: mine.Key})
			dial := func() outcome {
				c := client().Clone()
				c.ServerName, c.MaxVersion = "localhost", version
				return handshake(t, server, c)
			}
			expect := func(what string, resumed bool) {
				t.Helper()
				o := dial()
				if o.clientErr != nil {
					t.Fatalf("%s: %v", what, o.clientErr)
				}
				if o.client.DidResume != resumed {
					t.Errorf("%s: got resumed %t, want %t", what, o.client.DidResume, resumed)
				}
			}
			reload := func() {
				t.Helper()
				if err := clients.Reload(); err != nil {
					t.Fatal(err)
				}
			}
			expect("first", false)
			expect("second", true)
			reload()
			expect("after a reload that changed nothing", true)
			writePair(t, issue(t, ca, selfca.Leaf{CommonName: "two"}), folder, "client")
			reload()
			expect("with another certificate of ours", false)
			expect("and once more", true)
			writeCA(t, folder, "ca.pem", other)
			reload()
			if _, ok := errors.AsType[x509.UnknownAuthorityError](dial().clientErr); !ok {
				t.Error("with another CA: the server is still trusted")
			}
		})
	}
}
