package lifecycle_test

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"testing"

	"wsproxy/internal/selfca"
	"wsproxy/lifecycle"
)

func TestNewTLSInfo(t *testing.T) {
	ca := authority(t, "ours")
	leaf := issue(t, ca, selfca.Leaf{Names: []string{"chat.test"}})
	client := issue(t, ca, selfca.Leaf{CommonName: "somebody"})
	config := &tls.Config{
		Certificates: []tls.Certificate{leaf}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool(),
		NextProtos: []string{"http/1.1"}, CurvePreferences: []tls.CurveID{tls.CurveP256},
	}
	here, there := loopback(t)
	accepted := make(chan tls.ConnectionState, 1)
	go func() {
		c := tls.Server(there, config)
		c.HandshakeContext(t.Context())
		accepted <- c.ConnectionState()
	}()
	c := tls.Client(here, &tls.Config{
		RootCAs: ca.Pool(), ServerName: "chat.test", NextProtos: []string{"http/1.1"}, Certificates: []tls.Certificate{client},
	})
	if err := c.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	subject := sha256.Sum256(client.Leaf.RawSubject)
	want := lifecycle.TLSInfo{
		Version: "1.3", Cipher: "TLS_AES_128_GCM_SHA256", Curve: "secp256r1", ALPN: "http/1.1", ServerName: "chat.test",
		ClientSubject: hex.EncodeToString(subject[:]),
	}
	got := *lifecycle.NewTLSInfo(<-accepted)
	got.Cipher, want.Cipher = known(got.Cipher), known(want.Cipher) // which one depends on the machine's AES
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// known is whether the name is that of a TLS 1.3 suite.
func known(cipher string) string {
	for _, s := range tls.CipherSuites() {
		if s.Name == cipher {
			return "known"
		}
	}
	return cipher
}

func TestNewTLSInfoOfState(t *testing.T) {
	tests := []struct {
		name  string
		state tls.ConnectionState
		want  lifecycle.TLSInfo
	}{
		{"TLS 1.2 with RSA key exchange", tls.ConnectionState{Version: tls.VersionTLS12, CipherSuite: tls.TLS_RSA_WITH_AES_128_GCM_SHA256},
			lifecycle.TLSInfo{Version: "1.2", Cipher: "TLS_RSA_WITH_AES_128_GCM_SHA256"}},
		{"resumed", tls.ConnectionState{Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_256_GCM_SHA384, CurveID: tls.X25519, DidResume: true},
			lifecycle.TLSInfo{Version: "1.3", Cipher: "TLS_AES_256_GCM_SHA384", Curve: "x25519", Resumed: true}},
		{"post-quantum", tls.ConnectionState{Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_256_GCM_SHA384, CurveID: tls.X25519MLKEM768},
			lifecycle.TLSInfo{Version: "1.3", Cipher: "TLS_AES_256_GCM_SHA384", Curve: "X25519MLKEM768"}},
		{"empty chain", tls.ConnectionState{Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_256_GCM_SHA384, PeerCertificates: []*x509.Certificate{}},
			lifecycle.TLSInfo{Version: "1.3", Cipher: "TLS_AES_256_GCM_SHA384"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := *lifecycle.NewTLSInfo(tt.state); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}
