package tlsconf

import (
	"crypto/tls"
	"io"
	"sync"
	"testing"

	"wsproxy/internal/selfca"
)

func TestTicketsOutliveARenewal(t *testing.T) {
	ca, folder := newCA(t, "test"), t.TempDir()
	leaf := selfca.Leaf{Names: []string{"localhost"}}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			var s Store
			server := newServer(t, &s, Server{Certificates: []Pair{writePair(t, issue(t, ca, leaf), folder, "server")}})
			client := trusting(ca, "localhost")
			client.MaxVersion, client.ClientSessionCache = version, tls.NewLRUClientSessionCache(1)
			for i, want := range []bool{false, true, true} {
				if i == 2 {
					writePair(t, issue(t, ca, leaf), folder, "server")
					if err := s.Reload(); err != nil {
						t.Fatal(err)
					}
				}
				if got := mustConnect(t, server, client).client.DidResume; got != want {
					t.Errorf("connection %d: got resumed %t, want %t", i+1, got, want)
				}
			}
			fresh := trusting(ca, "localhost")
			if mustConnect(t, server, fresh).leaf().SerialNumber.Cmp(s.configs[0].pairs[0].value.Leaf.SerialNumber) != 0 {
				t.Error("after the renewal: got the old certificate")
			}
		})
	}
}

func TestOpenConnectionsOutliveARenewal(t *testing.T) {
	ca, folder := newCA(t, "test"), t.TempDir()
	leaf := selfca.Leaf{Names: []string{"localhost"}}
	var s Store
	server := newServer(t, &s, Server{Certificates: []Pair{writePair(t, issue(t, ca, leaf), folder, "server")}})
	ours, theirs := connect(t)
	defer ours.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		defer theirs.Close()
		conn := tls.Server(theirs, server)
		_, _ = io.CopyN(conn, conn, 2)
	})
	conn := tls.Client(ours, trusting(ca, "localhost"))
	echo := func(what string) {
		t.Helper()
		if _, err := conn.Write([]byte{7}); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	echo("before")
	writePair(t, issue(t, newCA(t, "another"), leaf), folder, "server")
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	echo("after")
}

func TestHandshakesWhileReloading(t *testing.T) {
	ca, folder := newCA(t, "test"), t.TempDir()
	leaf := selfca.Leaf{Names: []string{"localhost"}}
	pair := writePair(t, issue(t, ca, leaf), folder, "server")
	var s Store
	server := newServer(t, &s, Server{Certificates: []Pair{pair}})
	client := newClient(t, &s, Client{CA: writeCA(t, folder, "ca.pem", ca), Cert: pair.Cert, Key: pair.Key, ServerName: "localhost"})
	var wg sync.WaitGroup
	defer wg.Wait()
	for range 2 {
		wg.Go(func() {
			for range 20 {
				if o := handshake(t, server, client()); o.clientErr != nil {
					t.Error(o.clientErr)
				}
				_ = s.Certificates()
			}
		})
	}
	for range 20 {
		writePair(t, issue(t, ca, leaf), folder, "server")
		if err := s.Reload(); err != nil {
			t.Error(err)
		}
	}
}
