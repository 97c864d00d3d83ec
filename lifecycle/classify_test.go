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
