package proxy

import (
	"context"
	"crypto/tls"
	"slices"

	"wsproxy/lifecycle"
)

// hello is what a client asked for in its TLS handshake, and what it was held against. It is there to
// explain a failure: crypto/tls tells by text only that it had no certificate for a client.
type hello struct {
	info   *tls.ClientHelloInfo
	config *tls.Config
}

type helloKey struct{}

// noting returns a configuration that does as c and notes every ClientHello in the handshake's context.
func noting(c *tls.Config) *tls.Config {
	noted := c.Clone()
	noted.GetConfigForClient = func(info *tls.ClientHelloInfo) (chosen *tls.Config, err error) {
		config := c
		if c.GetConfigForClient != nil {
			if chosen, err = c.GetConfigForClient(info); chosen != nil {
				config = chosen
			}
		}
		if h, ok := info.Context().Value(helloKey{}).(*hello); ok {
			h.info, h.config = info, config
		}
		return chosen, err
	}
	return noted
}

// explain gives the error of a failed handshake its reason where that is more than lifecycle can know.
func (h *hello) explain(ctx context.Context, err error) error {
	if ctx.Err() == nil && h.info != nil && h.versionCommon() && !h.certificateUsable() {
		return lifecycle.Fail(lifecycle.ReasonTLSNoCertificate, err)
	}
	return err
}

func (h *hello) versionCommon() bool {
	least, most := h.config.MinVersion, h.config.MaxVersion
	if least == 0 {
		least = tls.VersionTLS12
	}
	if most == 0 {
		most = tls.VersionTLS13
	}
	return slices.ContainsFunc(h.info.SupportedVersions, func(v uint16) bool { return v >= least && v <= most })
}

// certificateUsable asks for a certificate as crypto/tls has done. One for another name is usable: the
// client is the judge of names.
func (h *hello) certificateUsable() bool {
	anyName := *h.info
	anyName.ServerName = ""
	candidates := h.config.Certificates
	if h.config.GetCertificate != nil {
		chosen, err := h.config.GetCertificate(h.info)
		if err != nil {
			return false
		}
		if chosen != nil {
			return anyName.SupportsCertificate(chosen) == nil
		}
	}
	return slices.ContainsFunc(candidates, func(c tls.Certificate) bool { return anyName.SupportsCertificate(&c) == nil })
}
