package lifecycle

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// timeoutOf is the reason of a phase that ran out of time.
var timeoutOf = [phaseCount]Reason{
	PhaseTLSAccept: ReasonTLSTimeout,
	PhaseRequest:   ReasonRequestTimeout,
	PhaseDNS:       ReasonDNSTimeout,
	PhaseConnect:   ReasonConnectTimeout,
	PhaseProxy:     ReasonProxyTimeout,
	PhaseTLS:       ReasonTLSTimeout,
	PhaseUpgrade:   ReasonUpgradeTimeout,
}

// failureOf gives err the phase and, unless it has one, the reason. Our own decision to stop (a
// Failure as the context's cause) explains whatever error it led to; otherwise a cancelled context
// means that the client left, since the client's request is what everything before transfer runs
// under.
func failureOf(ctx context.Context, p Phase, err error) *Failure {
	if f, ok := errors.AsType[*Failure](err); ok {
		named := *f
		named.Phase, named.Err = p, f.Err
		return &named
	}
	return &Failure{Phase: p, Reason: reasonOf(ctx, p, err), Err: err}
}

func reasonOf(ctx context.Context, p Phase, err error) Reason {
	if ctx.Err() != nil {
		if f, ok := errors.AsType[*Failure](context.Cause(ctx)); ok {
			return f.Reason
		}
		if errors.Is(ctx.Err(), context.Canceled) {
			return ReasonClientGone
		}
	}
	// Whoever gives up at a deadline closes the socket, so err may not speak of a timeout at all.
	if (ctx.Err() != nil || isTimeout(err)) && timeoutOf[p] != ReasonNone {
		return timeoutOf[p]
	}
	switch p {
	case PhaseTLSAccept:
		return tlsAcceptReason(err)
	case PhaseDNS:
		return dnsReason(err)
	case PhaseConnect:
		return connectReason(err)
	case PhaseProxy:
		return ReasonProxyProtocolError
	case PhaseTLS:
		return tlsReason(err)
	case PhaseUpgrade:
		return upgradeReason(err)
	}
	return ReasonInternal
}

func isTimeout(err error) bool {
	if errors.Is(err, syscall.EAGAIN) { // syscall calls it a timeout, but nobody has waited
		return false
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return true
	}
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}

func dnsReason(err error) Reason {
	if e, ok := errors.AsType[*net.DNSError](err); ok && e.IsNotFound {
		return ReasonDNSNotFound
	}
	return ReasonDNSTemporary
}

func connectReason(err error) Reason {
	for _, m := range []struct {
		errno  syscall.Errno
		reason Reason
	}{
		{syscall.ECONNREFUSED, ReasonConnectionRefused},
		{syscall.ENOENT, ReasonConnectionRefused},  // no such Unix socket
		{syscall.ENOTDIR, ReasonConnectionRefused}, // nor its folder
		{syscall.EAGAIN, ReasonConnectionRefused},  // its backlog is full
		{syscall.ECONNRESET, ReasonConnectionReset},
		{syscall.ECONNABORTED, ReasonConnectionReset},
		{syscall.EHOSTUNREACH, ReasonHostUnreachable},
		{syscall.EHOSTDOWN, ReasonHostUnreachable},
		{syscall.ENETUNREACH, ReasonNetworkUnreachable},
		{syscall.ENETDOWN, ReasonNetworkUnreachable},
		{syscall.EAFNOSUPPORT, ReasonNetworkUnreachable}, // no IPv6 here
		{syscall.ETIMEDOUT, ReasonConnectTimeout},
		{syscall.EACCES, ReasonAddressDenied},
		{syscall.EPERM, ReasonAddressDenied},
	} {
		if errors.Is(err, m.errno) {
			return m.reason
		}
	}
	return ReasonInternal
}

// tlsReason is for a handshake in which we are the client.
func tlsReason(err error) Reason {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return ReasonTLSUnknownAuthority
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return ReasonTLSHostnameMismatch
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		return certificateReason(e)
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return ReasonTLSUnknownAuthority // a weak signature, no roots, …: not to be trusted
	}
	if isAlert(err) {
		return ReasonTLSAlert
	}
	return ReasonTLSProtocol
}

// isAlert says whether the peer sent an alert: that is a net.OpError around a private type.
func isAlert(err error) bool {
	e, ok := errors.AsType[*net.OpError](err)
	return ok && e.Op == "remote error"
}

func certificateReason(e x509.CertificateInvalidError) Reason {
	if e.Reason != x509.Expired {
		return ReasonTLSUnknownAuthority
	}
	// crypto/x509 has one reason for both ends of the validity; the certificate tells them apart.
	if e.Cert != nil && time.Now().Before(e.Cert.NotBefore) {
		return ReasonTLSCertificateNotYetValid
	}
	return ReasonTLSCertificateExpired
}

// tlsAcceptReason is for a handshake in which we are the server.
func tlsAcceptReason(err error) Reason {
	for _, gone := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, gone) {
			return ReasonClientGone
		}
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return ReasonTLSClientCertificate
	}
	return ReasonTLSProtocol
}

func upgradeReason(err error) Reason {
	for _, gone := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE, net.ErrClosed} {
		if errors.Is(err, gone) {
			return ReasonUpstreamGone
		}
	}
	// With TLS 1.3 a server refuses a client's certificate after the client's handshake is done.
	if isAlert(err) {
		return ReasonUpstreamGone
	}
	return ReasonBadUpgradeResponse
}
