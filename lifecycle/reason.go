package lifecycle

import (
	"fmt"
	"time"
)

// Reason says why a phase failed. The set is closed: it is error.type in telemetry, so a new reason
// is a change of the public schema.
type Reason uint8

const (
	ReasonNone Reason = iota

	ReasonTLSNoCertificate     // no certificate for the name the client asked for
	ReasonTLSClientCertificate // the client's certificate is missing or not trusted
	ReasonTLSProtocol          // not TLS, or no common version or cipher
	ReasonTLSTimeout

	ReasonRequestTimeout
	ReasonRequestInvalid
	ReasonHeadersTooLarge
	ReasonNoRoute
	ReasonOriginDenied
	ReasonUnauthenticated
	ReasonForbidden
	ReasonConnectionLimit
	ReasonRateLimit
	ReasonDraining

	ReasonDNSNotFound
	ReasonDNSTemporary
	ReasonDNSTimeout

	ReasonConnectionRefused
	ReasonConnectionReset
	ReasonHostUnreachable
	ReasonNetworkUnreachable
	ReasonConnectTimeout
	ReasonAddressDenied

	ReasonProxyAuthRequired
	ReasonProxyRefused
	ReasonSOCKSGeneralFailure
	ReasonSOCKSNotAllowed
	ReasonSOCKSNetworkUnreachable
	ReasonSOCKSHostUnreachable
	ReasonSOCKSConnectionRefused
	ReasonSOCKSTTLExpired
	ReasonSOCKSUnsupported
	ReasonProxyProtocolError
	ReasonProxyTimeout

	ReasonTLSUnknownAuthority
	ReasonTLSHostnameMismatch
	ReasonTLSCertificateExpired
	ReasonTLSCertificateNotYetValid
	ReasonTLSAlert

	ReasonUpgradeTimeout
	ReasonUpgradeRejected
	ReasonBadUpgradeResponse
	ReasonUpstreamGone

	ReasonClientGone
	ReasonCanceled // our own shutdown only
	ReasonNoUpstream
	ReasonInternal
	reasonCount
)

var reasonNames = [reasonCount]string{
	"",
	"tls_no_certificate", "tls_client_certificate", "tls_protocol", "tls_timeout",
	"request_timeout", "request_invalid", "headers_too_large", "no_route", "origin_denied", "unauthenticated",
	"forbidden", "connection_limit", "rate_limit", "draining",
	"dns_not_found", "dns_temporary", "dns_timeout",
	"connection_refused", "connection_reset", "host_unreachable", "network_unreachable", "connect_timeout", "address_denied",
	"proxy_auth_required", "proxy_refused", "socks_general_failure", "socks_not_allowed", "socks_network_unreachable",
	"socks_host_unreachable", "socks_connection_refused", "socks_ttl_expired", "socks_unsupported",
	"proxy_protocol_error", "proxy_timeout",
	"tls_unknown_authority", "tls_hostname_mismatch", "tls_certificate_expired", "tls_certificate_not_yet_valid", "tls_alert",
	"upgrade_timeout", "upgrade_rejected", "bad_upgrade_response", "upstream_gone",
	"client_gone", "canceled", "no_upstream", "internal",
}

func (r Reason) String() string { return name(reasonNames[:], r) }

// reasonsOf says which reasons each phase may fail with.
var reasonsOf = [phaseCount][]Reason{
	PhaseTLSAccept: {ReasonTLSNoCertificate, ReasonTLSClientCertificate, ReasonTLSProtocol, ReasonTLSTimeout},
	PhaseRequest:   {ReasonRequestTimeout, ReasonRequestInvalid, ReasonHeadersTooLarge, ReasonConnectionLimit},
	PhaseRoute: {ReasonRequestInvalid, ReasonNoRoute, ReasonOriginDenied, ReasonUnauthenticated, ReasonForbidden,
		ReasonConnectionLimit, ReasonRateLimit, ReasonDraining, ReasonNoUpstream},
	PhaseDNS: {ReasonDNSNotFound, ReasonDNSTemporary, ReasonDNSTimeout},
	PhaseConnect: {ReasonConnectionRefused, ReasonConnectionReset, ReasonHostUnreachable, ReasonNetworkUnreachable,
		ReasonConnectTimeout, ReasonAddressDenied},
	PhaseProxy: {ReasonProxyAuthRequired, ReasonProxyRefused, ReasonSOCKSGeneralFailure, ReasonSOCKSNotAllowed,
		ReasonSOCKSNetworkUnreachable, ReasonSOCKSHostUnreachable, ReasonSOCKSConnectionRefused, ReasonSOCKSTTLExpired,
		ReasonSOCKSUnsupported, ReasonProxyProtocolError, ReasonProxyTimeout},
	PhaseTLS: {ReasonTLSUnknownAuthority, ReasonTLSHostnameMismatch, ReasonTLSCertificateExpired,
		ReasonTLSCertificateNotYetValid, ReasonTLSAlert, ReasonTLSProtocol, ReasonTLSTimeout},
	PhaseUpgrade: {ReasonUpgradeTimeout, ReasonUpgradeRejected, ReasonBadUpgradeResponse, ReasonUpstreamGone},
}

var reasonsOfAny = []Reason{ReasonClientGone, ReasonCanceled, ReasonInternal}

// Reasons lists what p may fail with: its own reasons, then those any phase before transfer has.
func Reasons(p Phase) []Reason {
	if p == PhaseNone || p >= PhaseTransfer {
		return nil
	}
	return append(append([]Reason(nil), reasonsOf[p]...), reasonsOfAny...)
}

// Failure is the error of a failed phase.
type Failure struct {
	Phase  Phase
	Reason Reason
	Status int   // the HTTP status that an egress or upstream answered with, 0 if none
	Err    error // for logs; may hold addresses, so never for the client

	// For the answer to a client that was refused.
	RetryAfter time.Duration // when it may come back; 0: not known
	Challenges []string      // WWW-Authenticate
}

// Fail makes a failure with a known reason; Step.End fills in the phase.
func Fail(r Reason, err error) *Failure { return &Failure{Reason: r, Err: err} }

// Failf is Fail with a formatted error.
func Failf(r Reason, format string, args ...any) *Failure {
	return &Failure{Reason: r, Err: fmt.Errorf(format, args...)}
}

func (f *Failure) Error() string {
	if f.Err == nil {
		return f.Reason.String()
	}
	return f.Reason.String() + ": " + f.Err.Error()
}

func (f *Failure) Unwrap() error { return f.Err }
