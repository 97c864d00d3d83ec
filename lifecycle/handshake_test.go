package lifecycle_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"testing"
	"time"

	"wsproxy/internal/selfca"
	"wsproxy/lifecycle"
)

// peers is what the two ends of a TLS handshake are set up with.
type peers struct {
	server *tls.Config
	client *tls.Config
}

// shake runs a handshake over loopback and returns the errors of both ends.
func shake(t *testing.T, p peers) (server, client error) {
	t.Helper()
	here, there := loopback(t)
	done := make(chan error, 1)
	go func() {
		defer there.Close()
		c := tls.Server(there, p.server)
		err := c.HandshakeContext(t.Context())
		if err == nil {
			_, err = c.Write([]byte("x")) // a client that leaves now is gone
		}
		done <- err
	}()
	c := tls.Client(here, p.client)
	if client = c.HandshakeContext(t.Context()); client == nil {
		_, client = c.Read(make([]byte, 1))
	}
	here.Close()
	return <-done, client
}

// loopback is a TCP connection to ourselves.
func loopback(t *testing.T) (here, there net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if here, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if there, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { here.Close(); there.Close() })
	return here, there
}

func authority(t *testing.T, name string) *selfca.CA {
	t.Helper()
	ca, err := selfca.New(name)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func issue(t *testing.T, ca *selfca.CA, leaf selfca.Leaf) tls.Certificate {
	t.Helper()
	c, err := ca.Issue(leaf)
	if err != nil {
		t.Fatal(err)
	}
	return c.TLS()
}

func TestReasonOfTLSHandshake(t *testing.T) {
	ca, stranger := authority(t, "ours"), authority(t, "a stranger")
	now := time.Now()
	names := []string{"chat.test"}
	serving := func(c tls.Certificate) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{c}} }
	trusting := &tls.Config{RootCAs: ca.Pool(), ServerName: "chat.test"}
	good := issue(t, ca, selfca.Leaf{Names: names})
	demanding := serving(good)
	demanding.ClientAuth, demanding.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool()
	demanding12 := demanding.Clone()
	demanding12.MaxVersion = tls.VersionTLS12
	// crypto/tls has no type for a certificate that is missing, so whoever demands one checks for it.
	checking := serving(good)
	checking.ClientAuth, checking.ClientCAs = tls.VerifyClientCertIfGiven, ca.Pool()
	checking.VerifyConnection = func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 {
			return lifecycle.Failf(lifecycle.ReasonTLSClientCertificate, "none")
		}
		return nil
	}
	foreign := trusting.Clone()
	foreignLeaf := issue(t, stranger, selfca.Leaf{Names: names})
	foreign.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &foreignLeaf, nil }
	nameless := &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return nil, lifecycle.Failf(lifecycle.ReasonTLSNoCertificate, "none")
	}}
	old := serving(good)
	old.MaxVersion = tls.VersionTLS12
	modern := trusting.Clone()
	modern.MinVersion = tls.VersionTLS13

	tests := []struct {
		name           string
		peers          peers
		server, client lifecycle.Reason
	}{
		{"good", peers{serving(good), trusting}, lifecycle.ReasonNone, lifecycle.ReasonNone},
		{"unknown authority", peers{serving(issue(t, stranger, selfca.Leaf{Names: names})), trusting},
			lifecycle.ReasonTLSProtocol, lifecycle.ReasonTLSUnknownAuthority},
		{"hostname mismatch", peers{serving(issue(t, ca, selfca.Leaf{Names: []string{"other.test"}})), trusting},
			lifecycle.ReasonTLSProtocol, lifecycle.ReasonTLSHostnameMismatch},
		{"no names at all", peers{serving(issue(t, ca, selfca.Leaf{CommonName: "chat.test"})), trusting},
			lifecycle.ReasonTLSProtocol, lifecycle.ReasonTLSHostnameMismatch},
		{"expired", peers{serving(issue(t, ca, selfca.Leaf{Names: names, NotBefore: now.Add(-2 * time.Hour), NotAfter: now.Add(-time.Hour)})), trusting},
			lifecycle.ReasonTLSProtocol, lifecycle.ReasonTLSCertificateExpired},
		{"not yet valid", peers{serving(issue(t, ca, selfca.Leaf{Names: names, NotBefore: now.Add(time.Hour)})), trusting},
			lifecycle.ReasonTLSProtocol, lifecycle.ReasonTLSCertificateNotYetValid},
		{"not for servers", peers{serving(issue(t, ca, selfca.Leaf{Names: names, Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})), trusting},
			lifecycle.ReasonTLSProtocol, lifecycle.ReasonTLSUnknownAuthority},
		{"no common version", peers{old, modern}, lifecycle.ReasonTLSProtocol, lifecycle.ReasonTLSAlert},
		{"no certificate for the name", peers{nameless, trusting}, lifecycle.ReasonTLSNoCertificate, lifecycle.ReasonTLSAlert},
		{"client certificate missing", peers{checking, trusting}, lifecycle.ReasonTLSClientCertificate, lifecycle.ReasonTLSAlert},
		{"client certificate not trusted", peers{demanding, foreign}, lifecycle.ReasonTLSClientCertificate, lifecycle.ReasonTLSAlert},
		{"client certificate not trusted, TLS 1.2", peers{demanding12, foreign}, lifecycle.ReasonTLSClientCertificate, lifecycle.ReasonTLSAlert},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server, client := shake(t, tt.peers)
			if got := reason(t.Context(), lifecycle.PhaseTLSAccept, server); got != tt.server {
				t.Errorf("accepting: got %q, want %q (%v)", got, tt.server, server)
			}
			if got := reason(t.Context(), lifecycle.PhaseTLS, client); got != tt.client {
				t.Errorf("dialling: got %q, want %q (%v)", got, tt.client, client)
			}
		})
	}
}

// A peer that does not speak TLS at all.
func TestReasonOfTLSGarbage(t *testing.T) {
	tests := []struct {
		name     string
		script   func(peer net.Conn)
		deadline time.Duration // zero: none
		accepted lifecycle.Reason
		dialled  lifecycle.Reason
	}{
		{"plain HTTP", func(c net.Conn) { io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n") }, 0,
			lifecycle.ReasonTLSProtocol, lifecycle.ReasonTLSProtocol},
		{"nothing but an end", func(c net.Conn) { c.(*net.TCPConn).CloseWrite() }, 0,
			lifecycle.ReasonClientGone, lifecycle.ReasonTLSProtocol},
		{"a reset", func(c net.Conn) { c.(*net.TCPConn).SetLinger(0); c.Close() }, 0,
			lifecycle.ReasonClientGone, lifecycle.ReasonTLSProtocol},
		{"half a record", func(c net.Conn) { c.Write([]byte{22, 3, 1}); c.(*net.TCPConn).CloseWrite() }, 0,
			lifecycle.ReasonClientGone, lifecycle.ReasonTLSProtocol},
		{"silence", func(net.Conn) {}, 20 * time.Millisecond,
			lifecycle.ReasonTLSTimeout, lifecycle.ReasonTLSTimeout},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, side := range []struct {
				phase lifecycle.Phase
				start func(net.Conn) *tls.Conn
				want  lifecycle.Reason
			}{
				{lifecycle.PhaseTLSAccept, func(c net.Conn) *tls.Conn { return tls.Server(c, new(tls.Config)) }, tt.accepted},
				{lifecycle.PhaseTLS, func(c net.Conn) *tls.Conn { return tls.Client(c, &tls.Config{ServerName: "chat.test"}) }, tt.dialled},
			} {
				here, there := loopback(t)
				ctx := t.Context()
				if tt.deadline > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.deadline)
					defer cancel()
				}
				tt.script(there)
				err := side.start(here).HandshakeContext(ctx)
				if got := reason(ctx, side.phase, err); got != side.want {
					t.Errorf("%s: got %q, want %q (%v)", side.phase, got, side.want, err)
				}
			}
		})
	}
}
