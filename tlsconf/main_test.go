package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"wsproxy/internal/selfca"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is for what should come at once but on a busy machine does not.
const patience = 20 * time.Second

func newCA(t *testing.T, name string) *selfca.CA {
	t.Helper()
	ca, err := selfca.New(name)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func issue(t *testing.T, ca *selfca.CA, leaf selfca.Leaf) *selfca.Certificate {
	t.Helper()
	c, err := ca.Issue(leaf)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func writePair(t *testing.T, c *selfca.Certificate, folder, name string) Pair {
	t.Helper()
	cert, key, err := c.Write(folder, name)
	if err != nil {
		t.Fatal(err)
	}
	return Pair{Cert: cert, Key: key}
}

func writeFile(t *testing.T, path string, content []byte) string {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func writeCA(t *testing.T, folder, name string, cas ...*selfca.CA) string {
	t.Helper()
	var content []byte
	for _, ca := range cas {
		content = append(content, ca.PEM()...)
	}
	return writeFile(t, filepath.Join(folder, name), content)
}

func keyPEM(t *testing.T, c *selfca.Certificate) []byte {
	t.Helper()
	key, err := c.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newServer(t *testing.T, s *Store, settings Server) *tls.Config {
	t.Helper()
	c, err := s.Server(settings)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newClient(t *testing.T, s *Store, settings Client) func() *tls.Config {
	t.Helper()
	c, err := s.Client(settings)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// trusting is a client that trusts one CA and asks for name.
func trusting(ca *selfca.CA, name string) *tls.Config {
	return &tls.Config{RootCAs: ca.Pool(), ServerName: name, NextProtos: []string{"http/1.1"}}
}

// outcome is how a connection went, as each side saw it.
type outcome struct {
	client, server       tls.ConnectionState
	clientErr, serverErr error
}

func (o outcome) leaf() *x509.Certificate { return o.client.PeerCertificates[0] }

// handshake connects over loopback and sends one byte downstream, by which the client learns of a
// refusal in TLS 1.3 and gets its session ticket.
func handshake(t *testing.T, server, client *tls.Config) outcome {
	t.Helper()
	ours, theirs := connect(t)
	defer ours.Close()
	var o outcome
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer theirs.Close()
		conn := tls.Server(theirs, server)
		if o.serverErr = conn.Handshake(); o.serverErr == nil {
			o.server = conn.ConnectionState()
			_, o.serverErr = conn.Write([]byte{1})
		}
		// The client closes first: a close of ours could overtake an alert.
		_, _ = io.Copy(io.Discard, theirs)
	}()
	conn := tls.Client(ours, client)
	if o.clientErr = conn.Handshake(); o.clientErr == nil {
		_, o.clientErr = io.ReadFull(conn, make([]byte, 1))
		o.client = conn.ConnectionState()
	}
	ours.Close()
	<-done
	return o
}

// connect gives both ends of a loopback connection; the caller closes them.
func connect(t *testing.T) (client, server net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if client, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{client, server} {
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
	}
	return client, server
}

func mustConnect(t *testing.T, server, client *tls.Config) outcome {
	t.Helper()
	o := handshake(t, server, client)
	if o.clientErr != nil || o.serverErr != nil {
		t.Fatalf("handshake: client %v, server %v", o.clientErr, o.serverErr)
	}
	return o
}
