//go:build linux

package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"wsproxy/internal/selfca"
	"wsproxy/lifecycle"
)

// place is where a connection can be held up, in a phase.
type place struct {
	phase  string
	while  string // in words
	spans  string // in error when it fails there
	status int    // for a client whose connection is called off there
	change func(s *stage, cfg object)
	begin  func(s *stage)
}

// leaving are the faults of a connection that is held up somewhere: its client leaves, or the process stops.
func (p place) leaving() []fault {
	gone := fault{
		how: "the client leaves while " + p.while, change: p.change, want: failing(p.phase, "client_gone", 0, p.spans),
		play: func(s *stage) {
			p.begin(s)
			s.reached(p.phase)
			s.raw.Close()
		},
	}
	canceled := fault{
		how: "the process stops while " + p.while, change: p.change, want: failing(p.phase, "canceled", p.status, p.spans),
		play: func(s *stage) {
			p.begin(s)
			s.reached(p.phase)
			s.proxy.Close()
		},
	}
	return []fault{gone, canceled}
}

// held is what comes of waiting there for too long.
func (p place) held(how, reason string, status int, spans string) fault {
	return fault{how: how, change: p.change, play: p.begin, want: failing(p.phase, reason, status, spans)}
}

// broken is a fault of our own in a phase.
func broken(phase, spans string) fault {
	return fault{
		how: "a fault of wsproxy's own", play: func(s *stage) { s.ask() }, want: failing(phase, "internal", 500, spans),
		hook: func(step *lifecycle.Step) error {
			if step.Phase.String() == phase {
				return lifecycle.Failf(lifecycle.ReasonInternal, "brought about")
			}
			return nil
		},
	}
}

const spanAccept = "TLS server handshake"

func acceptFaults() []fault {
	half := place{
		phase: "tls_accept", while: "its TLS handshake is half done", spans: spanAccept, change: secureListener(object{}),
		begin: func(s *stage) {
			s.connect()
			c := &halfway{Conn: s.raw}
			tls.Client(c, &tls.Config{InsecureSkipVerify: true}).Handshake()
			if !c.answered { // or the proxy may not have heard anything yet
				s.t.Fatal("got no answer to the ClientHello")
			}
		},
	}
	return append(half.leaving(),
		half.held("the client stops in the middle of its TLS handshake", "tls_timeout", 0, spanAccept),
		fault{
			how: "plain HTTP where TLS is expected", change: half.change, want: failing("tls_accept", "tls_protocol", 0, spanAccept),
			play: func(s *stage) { s.ask() },
		},
		fault{
			how: "the client can use none of the listener's certificates", want: failing("tls_accept", "tls_no_certificate", 0, spanAccept),
			change: func(s *stage, cfg object) {
				cert, key := rsaCertificate(s.t)
				secureListener(object{"certificates": []object{{"cert": cert, "key": key}}})(s, cfg)
			},
			play: func(s *stage) {
				s.shake(&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}})
			},
		},
		fault{
			how: "the client shows no certificate where one is required", want: failing("tls_accept", "tls_client_certificate", 0, spanAccept),
			change: func(s *stage, cfg object) {
				_, ca := newTargetCA(s.t)
				secureListener(object{"client_ca": ca})(s, cfg)
			},
			play: func(s *stage) { s.shake(&tls.Config{}) },
		},
	)
}

// halfway is a connection of a client that stops its handshake at the server's answer.
type halfway struct {
	net.Conn
	answered bool
}

func (c *halfway) Read(b []byte) (int, error) {
	n, _ := c.Conn.Read(b[:1])
	c.answered = n > 0
	return 0, io.EOF
}

// shake tries a handshake with the listener, until the end.
func (s *stage) shake(c *tls.Config) {
	c.InsecureSkipVerify = true
	conn := tls.Client(s.connect(), c)
	conn.Handshake()
	conn.Read(make([]byte, 1)) // with TLS 1.3 a refusal comes behind the client's handshake
}

// secureListener has the listener speak TLS, with a certificate for localhost unless with has others.
func secureListener(with object) func(*stage, object) {
	return func(s *stage, cfg object) {
		settings := object{}
		maps.Copy(settings, with)
		if settings["certificates"] == nil {
			ca, _ := newTargetCA(s.t)
			cert, key := issue(s.t, ca, selfca.Leaf{Names: []string{"localhost"}})
			settings["certificates"] = []object{{"cert": cert, "key": key}}
		}
		cfg["listeners"].([]object)[0]["tls"] = settings
	}
}

// newTargetCA is a CA and the file with its certificate.
func newTargetCA(t *testing.T) (*selfca.CA, string) {
	t.Helper()
	ca, err := selfca.New("faults")
	if err != nil {
		t.Fatal(err)
	}
	file, err := ca.Write(t.TempDir(), "ca")
	if err != nil {
		t.Fatal(err)
	}
	return ca, file
}

// issue writes a certificate and its key.
func issue(t *testing.T, ca *selfca.CA, leaf selfca.Leaf) (cert, key string) {
	t.Helper()
	c, err := ca.Issue(leaf)
	if err == nil {
		cert, key, err = c.Write(t.TempDir(), "leaf")
	}
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// rsaCertificate has a key of a kind that selfca's have not.
func rsaCertificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "rsa"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	for name, block := range map[string]*pem.Block{"cert": {Type: "CERTIFICATE", Bytes: der}, "key": {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(filepath.Join(folder, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(folder, "cert"), filepath.Join(folder, "key")
}

func requestFaults() []fault {
	half := place{
		phase: "request", while: "its request head is half sent", spans: "request", status: 503,
		begin: func(s *stage) {
			s.send("GET /chat HTTP/1.1\r\nHost: proxy.test\r\n\r\n") // only in a later request is it plain that it was heard
			resp, err := http.ReadResponse(s.in, nil)
			if err != nil {
				s.t.Fatal(err)
			}
			io.Copy(io.Discard, resp.Body)
			io.WriteString(s.raw, "GET /chat HTTP/1.1\r\nHost")
		},
	}
	deciding := place{
		phase: "route", while: "an authentication check takes its time", spans: "SERVER", status: 503,
		change: func(s *stage, cfg object) {
			checked(func(_ http.ResponseWriter, r *http.Request) {
				s.asked <- struct{}{}
				<-r.Context().Done()
			})(s, cfg)
		},
		begin: func(s *stage) {
			s.ask()
			<-s.asked
		},
	}
	said := func(how, reason, phase string, status int, raw string) fault {
		return fault{how: how, play: func(s *stage) { s.send(raw) }, want: failing(phase, reason, status, errorsFrom(status, phase))}
	}
	all := append(half.leaving(), deciding.leaving()...)
	all = append(all, routeFaults()...)
	return append(all,
		half.held("the client stops in the middle of its request head", "request_timeout", 408, ""),
		said("what the client sends is no HTTP", "request_invalid", "request", 400, "garbage\r\n\r\n"),
		said("a request head of 30 KB", "headers_too_large", "request", 431, upgradeOf("/chat", "X: "+strings.Repeat("x", 30<<10))),
		fault{
			how: "more clients at once are in their request than `limits.handshakes`", want: failing("request", "connection_limit", 503, "request"),
			change: func(_ *stage, cfg object) { cfg["limits"] = object{"handshakes": 1} },
			play: func(s *stage) {
				s.send("GET /chat HTTP/1.1\r\nHost")
				s.reached("request")
				raw, in := s.raw, s.in
				s.connect() // takes the other's place
				s.raw, s.in = raw, in
			},
		},
		said("an upgrade that is no GET", "request_invalid", "route", 400, strings.Replace(upgradeOf("/chat"), "GET", "PUT", 1)),
		said("another version of WebSocket", "request_invalid", "route", 426, strings.Replace(upgradeOf("/chat"), "Version: 13", "Version: 8", 1)),
		said("a path that no route has", "no_route", "route", 404, strings.Replace(upgradeOf("/chat"), "/chat", "/elsewhere", 1)),
		said("a page of another origin", "origin_denied", "route", 403, upgradeOf("/chat", "Origin: https://evil.test")),
	)
}

// errorsFrom is SERVER for a status that is the server's fault.
func errorsFrom(status int, phase string) string {
	switch {
	case status < 500 && status != 0:
		return ""
	case phase == "request":
		return "request"
	}
	return "SERVER"
}

// checked has a service decide about clients.
func checked(decide http.HandlerFunc) func(*stage, object) {
	return func(s *stage, cfg object) {
		service := httptest.NewServer(decide)
		s.t.Cleanup(service.Close)
		setRoute(cfg, "auth", object{"check": object{"url": service.URL, "timeout": "1m", "interval": "1s"}})
	}
}

func routeFaults() []fault {
	row := func(how, reason string, status int, change func(*stage, object), play func(*stage)) fault {
		if play == nil {
			play = func(s *stage) { s.ask() }
		}
		return fault{how: how, change: change, play: play, want: failing("route", reason, status, errorsFrom(status, "route"))}
	}
	answering := func(status int) func(*stage, object) {
		return checked(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
	}
	second := func(s *stage) {
		s.open()
		s.client, s.upstream = nil, nil // it stays
		s.ask()
	}
	return []fault{
		row("an authentication check says 401", "unauthenticated", 401, answering(401), nil),
		row("a forward client shows no password", "unauthenticated", 407, func(s *stage, cfg object) {
			hash, err := bcrypt.GenerateFromPassword([]byte("x"), bcrypt.MinCost)
			file := filepath.Join(s.t.TempDir(), "htpasswd")
			if err == nil {
				err = os.WriteFile(file, append([]byte("ann:"), hash...), 0o600)
			}
			if err != nil {
				s.t.Fatal(err)
			}
			forwarding(object{"auth": object{"htpasswd": file}})(s, cfg)
		}, func(s *stage) { s.send(connectTo("127.0.0.1:80")) }),
		row("an authentication check says 403", "forbidden", 403, answering(403), nil),
		row("an authentication check is broken", "internal", 500, answering(500), nil),
		row("one connection more than `routes[].limits.connections`", "connection_limit", 503, routeLimit("connections", 1), second),
		row("one handshake more than `routes[].limits.handshakes_per_second`", "rate_limit", 429, routeLimit("handshakes_per_second", 0.01), second),
		row("an upgrade during a drain", "draining", 503, nil, func(s *stage) {
			s.proxy.Refuse(drainNow)
			s.ask()
		}),
		row("every target is unhealthy", "no_upstream", 503, func(s *stage, cfg object) {
			setUpstream(cfg, "targets", []string{"ws://" + closedPort(s.t)}, "health", object{"timeout": "1s"})
		}, nil),
	}
}

// routeLimit has the route have a limit.
func routeLimit(name string, n any) func(*stage, object) {
	return func(_ *stage, cfg object) { setRoute(cfg, "limits", object{name: n}) }
}
