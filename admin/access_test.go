package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"wsproxy/internal/memnet"
	"wsproxy/internal/selfca"
	"wsproxy/lifecycle"
)

// operator makes requests over TLS, each on a connection of its own.
type operator struct {
	network *memnet.Network
	tls     *tls.Config
	token   string
}

// status asks for path; a handshake that fails is an error.
func (o operator) status(t *testing.T, path string) (int, string, error) {
	t.Helper()
	transport := &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: o.tls,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return o.network.Dial(ctx, address) },
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if o.token != "" {
		r.Header.Set("Authorization", "Bearer "+o.token)
	}
	answer, err := transport.RoundTrip(r)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(body), err
}

// authority is a CA with a certificate for clients and servers.
func authority(t *testing.T, name string) (*selfca.CA, tls.Certificate) {
	t.Helper()
	ca, err := selfca.New(name)
	if err != nil {
		t.Fatal(err)
	}
	c, err := ca.Issue(selfca.Leaf{Names: []string{"127.0.0.1", name}})
	if err != nil {
		t.Fatal(err)
	}
	return ca, c.TLS()
}

func TestCertificateAndToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		servers, server := authority(t, "servers")
		operators, known := authority(t, "operators")
		_, stranger := authority(t, "strangers")
		settings := &tls.Config{Certificates: []tls.Certificate{server}, ClientCAs: operators.Pool(), ClientAuth: tls.VerifyClientCertIfGiven, NextProtos: []string{"http/1.1"}}
		var n memnet.Network
		l, err := n.Listen(address)
		if err != nil {
			t.Fatal(err)
		}
		s := &Server{Registry: new(lifecycle.Registry), System: new(lifecycle.System), Access: Access{TLS: settings, Token: "a secret", Certificate: true}}
		s.Start(l)
		defer s.Close()

		as := func(token string, certificates ...tls.Certificate) operator {
			return operator{&n, &tls.Config{RootCAs: servers.Pool(), Certificates: certificates}, token}
		}
		for name, tc := range map[string]struct {
			who    operator
			status int
		}{
			"neither":     {as(""), http.StatusForbidden},
			"token":       {as("a secret"), http.StatusForbidden},
			"certificate": {as("", known), http.StatusUnauthorized},
			"both":        {as("a secret", known), http.StatusOK},
		} {
			if got, body, err := tc.who.status(t, "/api/state"); err != nil || got != tc.status || strings.Contains(body, "a secret") {
				t.Errorf("%s: got %d, %v, want %d: %s", name, got, err, tc.status, body)
			}
			for _, path := range []string{"/healthz", "/readyz"} {
				if got, _, err := tc.who.status(t, path); err != nil || got == http.StatusForbidden || got == http.StatusUnauthorized {
					t.Errorf("%s: %s: got %d, %v, want it told", name, path, got, err)
				}
			}
		}
		if _, _, err := as("a secret", stranger).status(t, "/healthz"); err != nil { // Go's client keeps a certificate back that nobody asked for
			t.Errorf("a certificate that is not asked for: got %v", err)
		}
		forced := as("a secret")
		forced.tls.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &stranger, nil }
		if status, _, err := forced.status(t, "/api/state"); err == nil {
			t.Errorf("a certificate of an unknown authority: got %d, want no answer", status)
		}

		s.SetAccess(Access{TLS: settings})
		if got, _, err := as("").status(t, "/api/state"); err != nil || got != http.StatusOK {
			t.Errorf("asked for nothing: got %d, %v, want 200", got, err)
		}
		s.SetAccess(Access{})
		if status, _, err := as("").status(t, "/api/state"); err == nil {
			t.Errorf("TLS without TLS: got %d, want no answer", status)
		}
		if got := statusOf(t, &n, address, "GET /api/state HTTP/1.1\r\nHost: "+address); got != http.StatusOK {
			t.Errorf("plain HTTP: got %d, want 200", got)
		}
	})
}

func TestPlainHTTPToTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, server := authority(t, "servers")
		v := start(t, &Server{Access: Access{TLS: &tls.Config{Certificates: []tls.Certificate{server}}}})
		c := v.dial()
		defer c.Close()
		io.WriteString(c, "GET /api/state HTTP/1.1\r\nHost: "+address+"\r\n\r\n")
		b, err := io.ReadAll(c)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) || !strings.HasPrefix(string(b), "HTTP/1.0 400") || strings.Contains(string(b), "{") {
			t.Errorf("got %q, %v, want 400 and nothing of the state", b, err)
		}
	})
}
