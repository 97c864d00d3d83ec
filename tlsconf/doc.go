// Package tlsconf makes the *tls.Config values of both sides from files and keeps them up to date:
// for listeners the certificates by server name and the CA of the clients, for upstreams and https
// egress proxies the trusted CA and our client certificate. For hosts whose TLS is intercepted it makes
// the certificates, too, signed by a CA of the operator's, and that CA if there is none yet.
//
// It does not listen, dial or shake hands, and it does not say why a handshake failed.
package tlsconf
