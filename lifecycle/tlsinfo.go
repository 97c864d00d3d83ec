package lifecycle

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"strings"
)

// NewTLSInfo tells about a session. The peer's certificate, if it has one, is taken for a client's;
// whoever was the client itself removes it from s before.
func NewTLSInfo(s tls.ConnectionState) *TLSInfo {
	info := &TLSInfo{
		Version:    strings.TrimPrefix(tls.VersionName(s.Version), "TLS "),
		Cipher:     tls.CipherSuiteName(s.CipherSuite),
		Curve:      curveName(s.CurveID),
		ALPN:       s.NegotiatedProtocol,
		ServerName: s.ServerName,
		Resumed:    s.DidResume,
	}
	if len(s.PeerCertificates) > 0 {
		sum := sha256.Sum256(s.PeerCertificates[0].RawSubject)
		info.ClientSubject = hex.EncodeToString(sum[:])
	}
	return info
}

// curveName is IANA's name, which crypto/tls spells otherwise for some curves; empty for a key
// exchange without one.
func curveName(id tls.CurveID) string {
	switch id {
	case 0:
		return ""
	case tls.CurveP256:
		return "secp256r1"
	case tls.CurveP384:
		return "secp384r1"
	case tls.CurveP521:
		return "secp521r1"
	case tls.X25519:
		return "x25519"
	}
	return id.String()
}
