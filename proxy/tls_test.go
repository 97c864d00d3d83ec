package proxy

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wsproxy/internal/selfca"
	"wsproxy/tlsconf"
)

// authority issues certificates in a test's folder.
type authority struct {
	t      *testing.T
	ca     *selfca.CA
	folder string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	ca, err := selfca.New("test")
	if err != nil {
		t.Fatal(err)
	}
	return &authority{t: t, ca: ca, folder: t.TempDir()}
}

func (a *authority) issue(leaf selfca.Leaf) *selfca.Certificate {
	a.t.Helper()
	c, err := a.ca.Issue(leaf)
	if err != nil {
		a.t.Fatal(err)
	}
	return c
}

// server is what tlsconf makes of a certificate for example.com and, maybe, the CA of the clients.
func (a *authority) server(settings tlsconf.Server, clients *authority) *tls.Config {
	a.t.Helper()
	cert, key, err := a.issue(selfca.Leaf{Names: []string{"example.com"}}).Write(a.folder, "server")
	if err != nil {
		a.t.Fatal(err)
	}
	settings.Certificates = []tlsconf.Pair{{Cert: cert, Key: key}}
	if clients != nil {
		if settings.ClientCA, err = clients.ca.Write(a.folder, "clients"); err != nil {
			a.t.Fatal(err)
		}
	}
	config, err := new(tlsconf.Store).Server(settings)
	if err != nil {
		a.t.Fatal(err)
	}
	return config
}

func (a *authority) client(certificates ...tls.Certificate) *tls.Config {
	return &tls.Config{RootCAs: a.ca.Pool(), ServerName: "example.com", Certificates: certificates}
}

// rsaCertificate is for a listener that has nothing else.
func rsaCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "example.com"}, DNSNames: []string{"example.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestTLSAcceptFails(t *testing.T) {
	type stage struct {
		t               *testing.T
		w               *world
		server, clients *authority
	}
	shakes := func(config func(*stage) *tls.Config) func(*stage, net.Conn) {
		return func(s *stage, c net.Conn) {
			conn := tls.Client(c, config(s))
			conn.Handshake()
			conn.Read(make([]byte, 1)) // with TLS 1.3 a refusal comes behind the client's handshake
			conn.Close()
		}
	}
	writes := func(b string) func(*stage, net.Conn) { return func(_ *stage, c net.Conn) { io.WriteString(c, b) } }
	mutual := func(s *stage) *tls.Config { return s.server.server(tlsconf.Server{}, s.clients) }
	for _, c := range []struct {
		name   string
		server func(*stage) *tls.Config // nil: tlsconf's, without client certificates
		client func(*stage, net.Conn)
		after  time.Duration
		ends   string
	}{
		{"garbage", nil, writes("garbage, and quite a lot of it"), 0, "failed 0 tls_protocol"},
		{"plain HTTP", nil, writes(request()), 0, "failed 0 tls_protocol"},
		{"half a ClientHello", nil, writes("\x16\x03\x01\x02\x00\x01"), tlsTimeout, "failed 0 tls_timeout"},
		{"silence", nil, writes(""), tlsTimeout, "failed 0 tls_timeout"},
		{"not a byte, then FIN", nil, func(_ *stage, c net.Conn) { c.Close() }, 0, "unused 0 "},
		{"half a ClientHello, then FIN", nil, func(_ *stage, c net.Conn) {
			io.WriteString(c, "\x16\x03\x01\x02\x00\x01")
			c.Close()
		}, 0, "failed 0 client_gone"},
		{"an old version", nil, shakes(func(s *stage) *tls.Config {
			config := s.server.client()
			config.MinVersion, config.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
			return config
		}), 0, "failed 0 tls_protocol"},
		{"a client that does not trust us", nil, shakes(func(s *stage) *tls.Config { return s.clients.client() }), 0, "failed 0 tls_protocol"},
		{"a client that asks for another name", nil, shakes(func(s *stage) *tls.Config {
			config := s.server.client()
			config.ServerName = "elsewhere.example"
			return config
		}), 0, "failed 0 tls_protocol"},
		{"no client certificate", mutual, shakes(func(s *stage) *tls.Config { return s.server.client() }), 0, "failed 0 tls_client_certificate"},
		{"no client certificate, TLS 1.2", mutual, shakes(func(s *stage) *tls.Config {
			config := s.server.client()
			config.MaxVersion = tls.VersionTLS12
			return config
		}), 0, "failed 0 tls_client_certificate"},
		{"a client certificate of another CA", mutual, shakes(func(s *stage) *tls.Config {
			return s.server.client(s.server.issue(selfca.Leaf{Names: []string{"stranger"}}).TLS())
		}), 0, "failed 0 tls_client_certificate"},
		{"an expired client certificate", mutual, shakes(func(s *stage) *tls.Config {
			return s.server.client(s.clients.issue(selfca.Leaf{Names: []string{"late"}, NotAfter: time.Now().Add(-time.Minute)}).TLS())
		}), 0, "failed 0 tls_client_certificate"},
		{"no certificate that the client can use", func(s *stage) *tls.Config {
			return &tls.Config{Certificates: []tls.Certificate{rsaCertificate(s.t)}}
		}, shakes(func(s *stage) *tls.Config {
			return &tls.Config{
				InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12,
				CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
			}
		}), 0, "failed 0 tls_no_certificate"},
		{"no certificate at all for the name", func(s *stage) *tls.Config {
			return &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, errors.New("none") }}
		}, shakes(func(s *stage) *tls.Config { return s.server.client() }), 0, "failed 0 tls_no_certificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &stage{t: t, w: newWorld(t), server: newAuthority(t), clients: newAuthority(t)}
				if c.server == nil {
					s.w.listener.TLS = s.server.server(tlsconf.Server{}, nil)
				} else {
					s.w.listener.TLS = c.server(s)
				}
				s.w.start()
				conn, err := s.w.network.Dial(t.Context(), front)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				begun := time.Now()
				c.client(s, conn)
				io.Copy(io.Discard, conn)
				synctest.Wait()
				if got := time.Since(begun); got != c.after {
					t.Errorf("got the end after %s, want %s", got, c.after)
				}
				if got := s.w.journal.ends(); got != c.ends {
					t.Errorf("got %q, want %q", got, c.ends)
				}
				reason := strings.Fields(c.ends + " client_gone")[2] // of one that leaves without a byte
				if got, want := s.w.journal.String(), "tls_accept: "+reason; got != want {
					t.Errorf("got %q, want %q", got, want)
				}
				s.w.settled()
			})
		})
	}
}

// secured is a world behind TLS, and a client that has done its handshake.
func secured(t *testing.T) (*world, *tls.Conn) {
	t.Helper()
	w, server, clients := newWorld(t), newAuthority(t), newAuthority(t)
	w.targets[0].script = okay
	w.listener.TLS = server.server(tlsconf.Server{}, clients)
	w.start()
	conn, err := w.network.Dial(t.Context(), front)
	if err != nil {
		t.Fatal(err)
	}
	client := tls.Client(conn, server.client(clients.issue(selfca.Leaf{Names: []string{"alice"}}).TLS()))
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return w, client
}

func ask(t *testing.T, c net.Conn, raw, want string) {
	t.Helper()
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4096)
	n, err := c.Read(b)
	if err != nil || !strings.HasPrefix(string(b[:n]), want) {
		t.Fatalf("got %q, %v, want %q", b[:n], err, want)
	}
}

func TestTLSAccept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, client := secured(t)
		ask(t, client, plainRequest, "HTTP/1.1 200 OK\r\n")
		ask(t, client, request(), "HTTP/1.1 101 ")
		for c := range w.server.Registry.All() {
			f := c.Facts()
			if f.ClientTLS == nil || f.ClientTLS.ClientSubject == "" || f.Scheme != "https" {
				t.Errorf("got %+v (TLS %+v), want https with the client's certificate", f, f.ClientTLS)
			}
		}
		if got := w.received(); !strings.Contains(got, "X-Forwarded-Proto: https\r\n") {
			t.Errorf("upstream: got %q, want X-Forwarded-Proto: https", got)
		}
		client.Close()
		time.Sleep(time.Minute)
		if got, want := w.journal.ends(), "dismissed 0 , closed 101 client_gone"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if got := w.journal.outcomes[1].Close.TLSTruncated; got {
			t.Error("got a truncated TLS session, want one with close_notify")
		}
	})
}

// Browsers open connections ahead of need: the handshake alone is no request.
func TestTLSWithoutARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, client := secured(t)
		client.Close()
		synctest.Wait()
		if got, want := w.journal.ends(), "unused 0 "; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if got, want := w.journal.String(), "tls_accept: ok, request: client_gone"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestTLSRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, client := secured(t)
		ask(t, client, "garbage\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n")
		if _, err := client.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("got %v, want a proper end", err)
		}
	})
}

func TestCloseDuringTLSAccept(t *testing.T) {
	for raw, ends := range map[string]string{"": "unused 0 ", "\x16\x03\x01": "failed 0 canceled"} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.listener.TLS = newAuthority(t).server(tlsconf.Server{}, nil)
			w.start()
			p := w.connect("")
			if raw != "" {
				p.write(t, raw)
			}
			synctest.Wait()
			w.server.Close()
			p.awaitEnd()
			if got := w.journal.ends(); got != ends {
				t.Errorf("%q: got %q, want %q", raw, got, ends)
			}
		})
	}
}
