package lifecycle_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"wsproxy/internal/selfca"
	"wsproxy/lifecycle"
)

// reason is what a phase that ended with err under ctx failed with.
func reason(ctx context.Context, p lifecycle.Phase, err error) lifecycle.Reason {
	var unrecorded *lifecycle.Connection
	ctx, step := unrecorded.Begin(ctx, &lifecycle.Step{Phase: p})
	step.End(ctx, err)
	return step.Reason()
}

func TestReasonOfError(t *testing.T) {
	errno := func(n syscall.Errno) error {
		return fmt.Errorf("try: %w", &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", n)})
	}
	remoteAlert := &net.OpError{Op: "remote error", Err: errors.New("tls: certificate required")}
	tests := []struct {
		name  string
		phase lifecycle.Phase
		err   error
		want  lifecycle.Reason
	}{
		{"no error", lifecycle.PhaseConnect, nil, lifecycle.ReasonNone},
		{"known already", lifecycle.PhaseRoute, lifecycle.Failf(lifecycle.ReasonNoRoute, "no"), lifecycle.ReasonNoRoute},
		{"known and wrapped", lifecycle.PhaseProxy, fmt.Errorf("x: %w", lifecycle.Fail(lifecycle.ReasonProxyRefused, nil)), lifecycle.ReasonProxyRefused},
		{"unknown", lifecycle.PhaseRoute, errors.New("bug"), lifecycle.ReasonInternal},

		{"name not found", lifecycle.PhaseDNS, &net.DNSError{IsNotFound: true}, lifecycle.ReasonDNSNotFound},
		{"server failure", lifecycle.PhaseDNS, &net.DNSError{IsTemporary: true}, lifecycle.ReasonDNSTemporary},
		{"server misbehaving", lifecycle.PhaseDNS, &net.DNSError{}, lifecycle.ReasonDNSTemporary},
		{"server silent", lifecycle.PhaseDNS, &net.DNSError{IsTimeout: true, IsTemporary: true}, lifecycle.ReasonDNSTimeout},
		{"lookup out of time", lifecycle.PhaseDNS, context.DeadlineExceeded, lifecycle.ReasonDNSTimeout},

		{"refused", lifecycle.PhaseConnect, errno(syscall.ECONNREFUSED), lifecycle.ReasonConnectionRefused},
		{"no such Unix socket", lifecycle.PhaseConnect, errno(syscall.ENOENT), lifecycle.ReasonConnectionRefused},
		{"no such folder", lifecycle.PhaseConnect, errno(syscall.ENOTDIR), lifecycle.ReasonConnectionRefused},
		{"Unix backlog full", lifecycle.PhaseConnect, errno(syscall.EAGAIN), lifecycle.ReasonConnectionRefused},
		{"reset", lifecycle.PhaseConnect, errno(syscall.ECONNRESET), lifecycle.ReasonConnectionReset},
		{"aborted", lifecycle.PhaseConnect, errno(syscall.ECONNABORTED), lifecycle.ReasonConnectionReset},
		{"no route to host", lifecycle.PhaseConnect, errno(syscall.EHOSTUNREACH), lifecycle.ReasonHostUnreachable},
		{"host down", lifecycle.PhaseConnect, errno(syscall.EHOSTDOWN), lifecycle.ReasonHostUnreachable},
		{"no route to network", lifecycle.PhaseConnect, errno(syscall.ENETUNREACH), lifecycle.ReasonNetworkUnreachable},
		{"network down", lifecycle.PhaseConnect, errno(syscall.ENETDOWN), lifecycle.ReasonNetworkUnreachable},
		{"family unsupported", lifecycle.PhaseConnect, errno(syscall.EAFNOSUPPORT), lifecycle.ReasonNetworkUnreachable},
		{"TCP gave up", lifecycle.PhaseConnect, errno(syscall.ETIMEDOUT), lifecycle.ReasonConnectTimeout},
		{"dial deadline", lifecycle.PhaseConnect, os.ErrDeadlineExceeded, lifecycle.ReasonConnectTimeout},
		{"firewall", lifecycle.PhaseConnect, errno(syscall.EPERM), lifecycle.ReasonAddressDenied},
		{"no permission", lifecycle.PhaseConnect, errno(syscall.EACCES), lifecycle.ReasonAddressDenied},
		{"out of descriptors", lifecycle.PhaseConnect, errno(syscall.EMFILE), lifecycle.ReasonInternal},
		{"out of ports", lifecycle.PhaseConnect, errno(syscall.EADDRNOTAVAIL), lifecycle.ReasonInternal},

		{"proxy hung up", lifecycle.PhaseProxy, io.ErrUnexpectedEOF, lifecycle.ReasonProxyProtocolError},
		{"proxy silent", lifecycle.PhaseProxy, os.ErrDeadlineExceeded, lifecycle.ReasonProxyTimeout},

		{"no roots", lifecycle.PhaseTLS, &tls.CertificateVerificationError{Err: x509.SystemRootsError{}}, lifecycle.ReasonTLSUnknownAuthority},
		{"weak signature", lifecycle.PhaseTLS, &tls.CertificateVerificationError{Err: x509.InsecureAlgorithmError(1)}, lifecycle.ReasonTLSUnknownAuthority},

		{"upstream hung up", lifecycle.PhaseUpgrade, io.EOF, lifecycle.ReasonUpstreamGone},
		{"upstream reset", lifecycle.PhaseUpgrade, errno(syscall.ECONNRESET), lifecycle.ReasonUpstreamGone},
		{"upstream sent an alert", lifecycle.PhaseUpgrade, remoteAlert, lifecycle.ReasonUpstreamGone},
		{"upstream babbles", lifecycle.PhaseUpgrade, errors.New("malformed"), lifecycle.ReasonBadUpgradeResponse},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := reason(t.Context(), tt.phase, tt.err); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// The context says more than the error that its end led to.
func TestReasonOfContext(t *testing.T) {
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	expired, cancel := context.WithDeadline(t.Context(), time.Unix(1, 0))
	defer cancel()
	stopped, stop := context.WithCancelCause(t.Context())
	stop(lifecycle.Failf(lifecycle.ReasonCanceled, "shutdown"))

	tests := []struct {
		name  string
		ctx   context.Context
		phase lifecycle.Phase
		want  lifecycle.Reason
	}{
		{"client left", canceled, lifecycle.PhaseConnect, lifecycle.ReasonClientGone},
		{"we stopped", stopped, lifecycle.PhaseConnect, lifecycle.ReasonCanceled},
		{"request late", expired, lifecycle.PhaseRequest, lifecycle.ReasonRequestTimeout},
		{"dns late", expired, lifecycle.PhaseDNS, lifecycle.ReasonDNSTimeout},
		{"connect late", expired, lifecycle.PhaseConnect, lifecycle.ReasonConnectTimeout},
		{"proxy late", expired, lifecycle.PhaseProxy, lifecycle.ReasonProxyTimeout},
		{"tls late", expired, lifecycle.PhaseTLS, lifecycle.ReasonTLSTimeout},
		{"upgrade late", expired, lifecycle.PhaseUpgrade, lifecycle.ReasonUpgradeTimeout},
		{"a phase without a timeout", expired, lifecycle.PhaseRoute, lifecycle.ReasonInternal},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := reason(tt.ctx, tt.phase, net.ErrClosed); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

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

// Whatever classification yields is in the phase's closed set.
func TestReasonsAreOfTheirPhase(t *testing.T) {
	errs := []error{
		errors.New("anything"), io.EOF, net.ErrClosed, os.ErrDeadlineExceeded, context.Canceled, syscall.ECONNREFUSED,
		&net.DNSError{}, x509.UnknownAuthorityError{}, x509.HostnameError{Certificate: new(x509.Certificate)}, x509.CertificateInvalidError{},
	}
	for _, p := range lifecycle.Phases() {
		if p >= lifecycle.PhaseTransfer {
			continue
		}
		for _, err := range errs {
			if got := reason(t.Context(), p, err); !slices.Contains(lifecycle.Reasons(p), got) {
				t.Errorf("%s: %q of %v is not among its reasons", p, got, err)
			}
		}
	}
}
