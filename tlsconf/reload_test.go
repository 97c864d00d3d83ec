package tlsconf

import (
	"context"
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"wsproxy/internal/selfca"
)

// watched is a store whose folders are watched until the test ends.
type watched struct {
	Store
	reloads chan error
}

// watch begins after set has made the configurations.
func watch(t *testing.T, set func(*Store)) *watched {
	t.Helper()
	w := &watched{reloads: make(chan error)}
	ctx, cancel := context.WithCancel(t.Context())
	// The kernel tells of changes, not the clock.
	w.Settle, w.Poll = 20*time.Millisecond, time.Hour
	w.OnReload = func(err error) {
		select {
		case w.reloads <- err:
		case <-ctx.Done():
		}
	}
	set(&w.Store)
	var wg sync.WaitGroup
	wg.Go(func() { w.Watch(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return w
}

// await takes reports until one fits: what is written in several steps may be read in between.
func (w *watched) await(t *testing.T, what string, fits func(error) bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	var last error
	for {
		select {
		case last = <-w.reloads:
			if fits(last) {
				return
			}
		case <-deadline.C:
			t.Fatalf("%s: no such report within %s; the last was: %v", what, patience, last)
		}
	}
}

func isGood(err error) bool { return err == nil }

func speaksOf(text string) func(error) bool {
	return func(err error) bool { return err != nil && strings.Contains(err.Error(), text) }
}

// serves waits until the server's certificate is the wanted one.
func (w *watched) serves(t *testing.T, what string, server, client *tls.Config, want *selfca.Certificate) {
	t.Helper()
	current := func(err error) bool {
		return err == nil && mustConnect(t, server, client.Clone()).leaf().Equal(want.Leaf)
	}
	w.await(t, what, current)
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func symlink(t *testing.T, target, link string) {
	t.Helper()
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, path ...string) string {
	t.Helper()
	folder := filepath.Join(path...)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	return folder
}

// pointTo replaces a link as the kubelet does, by renaming a new one over it.
func pointTo(t *testing.T, target, link string) {
	t.Helper()
	symlink(t, target, link+"_tmp")
	rename(t, link+"_tmp", link)
}

func TestWatchRenewsCertificate(t *testing.T) {
	ca := newCA(t, "test")
	for _, tc := range []struct {
		name string
		// set lays the first certificate and gives its files; renew replaces it.
		set   func(t *testing.T, folder string, c *selfca.Certificate) Pair
		renew func(t *testing.T, folder string, c *selfca.Certificate)
	}{
		{
			name: "written in place",
			set: func(t *testing.T, folder string, c *selfca.Certificate) Pair {
				return writePair(t, c, folder, "tls")
			},
			renew: func(t *testing.T, folder string, c *selfca.Certificate) { writePair(t, c, folder, "tls") },
		},
		{
			name: "renamed over the old",
			set: func(t *testing.T, folder string, c *selfca.Certificate) Pair {
				return writePair(t, c, folder, "tls")
			},
			renew: func(t *testing.T, folder string, c *selfca.Certificate) {
				p := writePair(t, c, t.TempDir(), "tls")
				rename(t, p.Cert, filepath.Join(folder, "tls.pem"))
				rename(t, p.Key, filepath.Join(folder, "tls-key.pem"))
			},
		},
		{
			name: "removed and made anew",
			set: func(t *testing.T, folder string, c *selfca.Certificate) Pair {
				return writePair(t, c, folder, "tls")
			},
			renew: func(t *testing.T, folder string, c *selfca.Certificate) {
				for _, f := range []string{"tls.pem", "tls-key.pem"} {
					if err := os.Remove(filepath.Join(folder, f)); err != nil {
						t.Fatal(err)
					}
				}
				writePair(t, c, folder, "tls")
			},
		},
		{
			name: "Kubernetes secret",
			set: func(t *testing.T, folder string, c *selfca.Certificate) Pair {
				writePair(t, c, mkdir(t, folder, "..0"), "tls")
				symlink(t, "..0", filepath.Join(folder, "..data"))
				for _, f := range []string{"tls.pem", "tls-key.pem"} {
					symlink(t, filepath.Join("..data", f), filepath.Join(folder, f))
				}
				return Pair{Cert: filepath.Join(folder, "tls.pem"), Key: filepath.Join(folder, "tls-key.pem")}
			},
			renew: func(t *testing.T, folder string, c *selfca.Certificate) {
				link := filepath.Join(folder, "..data")
				old, err := os.Readlink(link)
				if err != nil {
					t.Fatal(err)
				}
				writePair(t, c, mkdir(t, folder, old+"1"), "tls")
				pointTo(t, old+"1", link)
				if err := os.RemoveAll(filepath.Join(folder, old)); err != nil {
					t.Fatal(err)
				}
			},
		},
		{
			name: "link to a folder above",
			set: func(t *testing.T, folder string, c *selfca.Certificate) Pair {
				p := writePair(t, c, mkdir(t, folder, "releases", "r", "tls"), "tls")
				symlink(t, filepath.Join(folder, "releases", "r"), filepath.Join(folder, "current"))
				current := filepath.Join(folder, "current", "tls")
				return Pair{Cert: filepath.Join(current, filepath.Base(p.Cert)), Key: filepath.Join(current, filepath.Base(p.Key))}
			},
			renew: func(t *testing.T, folder string, c *selfca.Certificate) {
				old, err := os.Readlink(filepath.Join(folder, "current"))
				if err != nil {
					t.Fatal(err)
				}
				writePair(t, c, mkdir(t, old+"+", "tls"), "tls")
				pointTo(t, old+"+", filepath.Join(folder, "current"))
			},
		},
		{
			name: "folder replaced",
			set: func(t *testing.T, folder string, c *selfca.Certificate) Pair {
				return writePair(t, c, mkdir(t, folder, "tls"), "tls")
			},
			renew: func(t *testing.T, folder string, c *selfca.Certificate) {
				next := mkdir(t, folder, "next")
				writePair(t, c, next, "tls")
				rename(t, filepath.Join(folder, "tls"), filepath.Join(t.TempDir(), "old"))
				rename(t, next, filepath.Join(folder, "tls"))
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			folder := t.TempDir()
			leaf := selfca.Leaf{Names: []string{"localhost"}}
			pair := tc.set(t, folder, issue(t, ca, leaf))
			var server *tls.Config
			w := watch(t, func(s *Store) { server = newServer(t, s, Server{Certificates: []Pair{pair}}) })
			// Twice: the watches have to follow to where the files are now.
			for _, what := range []string{"first renewal", "second renewal"} {
				renewed := issue(t, ca, leaf)
				tc.renew(t, folder, renewed)
				w.serves(t, what, server, trusting(ca, "localhost"), renewed)
			}
		})
	}
}

func TestWatchKeepsTheOldWhenTheNewIsBad(t *testing.T) {
	ca, folder := newCA(t, "test"), t.TempDir()
	first := issue(t, ca, selfca.Leaf{Names: []string{"localhost"}})
	other := issue(t, ca, selfca.Leaf{Names: []string{"chat.example.com"}})
	pair, otherPair := writePair(t, first, folder, "first"), writePair(t, other, folder, "other")
	var server *tls.Config
	w := watch(t, func(s *Store) {
		server = newServer(t, s, Server{Certificates: []Pair{pair, otherPair}})
		newServer(t, s, Server{Certificates: []Pair{pair}}) // reported once all the same
	})
	serves := func(what, name string, want *selfca.Certificate) {
		t.Helper()
		if !mustConnect(t, server, trusting(ca, name)).leaf().Equal(want.Leaf) {
			t.Errorf("%s: got another certificate", what)
		}
	}

	second := issue(t, ca, selfca.Leaf{Names: []string{"localhost"}})
	writeFile(t, pair.Cert, second.CertPEM()[:100])
	w.await(t, "half a certificate", func(err error) bool {
		return speaksOf("first.pem: 1 of its 1 PEM blocks")(err) && strings.Count(err.Error(), "first.pem") == 1
	})
	serves("half a certificate", "localhost", first)

	renewedOther := issue(t, ca, selfca.Leaf{Names: []string{"chat.example.com"}})
	writePair(t, renewedOther, folder, "other")
	w.await(t, "renewal beside a bad file", func(err error) bool {
		return speaksOf("first.pem")(err) && !strings.Contains(err.Error(), "other")
	})
	serves("renewal beside a bad file", "chat.example.com", renewedOther)

	writeFile(t, pair.Cert, second.CertPEM())
	w.await(t, "key not yet renewed", speaksOf("first-key.pem: not the key of"))
	serves("key not yet renewed", "localhost", first)
	if err := w.Reload(); !speaksOf("first-key.pem")(err) {
		t.Errorf("reload: got %v, want the standing problem", err)
	}

	writePair(t, second, folder, "first")
	w.await(t, "good again", isGood)
	serves("good again", "localhost", second)
}

func TestWatchRenewsCAs(t *testing.T) {
	ca, next, folder := newCA(t, "old"), newCA(t, "new"), t.TempDir()
	pair := writePair(t, issue(t, ca, selfca.Leaf{Names: []string{"localhost"}}), folder, "server")
	oldClient := writePair(t, issue(t, ca, selfca.Leaf{CommonName: "old"}), folder, "old")
	newClientPair := writePair(t, issue(t, next, selfca.Leaf{CommonName: "new"}), folder, "new")
	clientCA := writeCA(t, folder, "clients.pem", ca)
	caFile := writeCA(t, folder, "ca.pem", ca)

	var server *tls.Config
	var asOld, asNew func() *tls.Config
	w := watch(t, func(s *Store) {
		server = newServer(t, s, Server{Certificates: []Pair{pair}, ClientCA: clientCA})
		asOld = newClient(t, s, Client{CA: caFile, Cert: oldClient.Cert, Key: oldClient.Key, ServerName: "localhost"})
		asNew = newClient(t, s, Client{CA: caFile, Cert: newClientPair.Cert, Key: newClientPair.Key, ServerName: "localhost"})
	})
	expect := func(what string, client func() *tls.Config, let, resumed bool) {
		t.Helper()
		o := handshake(t, server, client())
		if got := o.clientErr == nil && o.serverErr == nil; got != let || o.client.DidResume != resumed {
			t.Errorf("%s: got let in %t (client %v, server %v) resumed %t, want %t and %t",
				what, got, o.clientErr, o.serverErr, o.client.DidResume, let, resumed)
		}
	}
	expect("old client", asOld, true, false)
	expect("old client again", asOld, true, true)
	expect("new client", asNew, false, false)

	writeCA(t, folder, "clients.pem", ca, next)
	w.await(t, "both CAs", isGood)
	expect("old client with both CAs", asOld, true, true)
	expect("new client with both CAs", asNew, true, false)

	writeCA(t, folder, "clients.pem", next)
	w.await(t, "new CA", isGood)
	expect("old client's ticket with the new CA", asOld, false, false)
	expect("new client's ticket with the new CA", asNew, true, true)

	writeCA(t, folder, "ca.pem", next)
	w.await(t, "another CA for upstreams", isGood)
	expect("server of the old CA", asNew, false, false)
}

// A bad file is told of once, and what it held before goes on being served.
func TestLookTellsOnlyNews(t *testing.T) {
	ca, folder := newCA(t, "test"), t.TempDir()
	pair := writePair(t, issue(t, ca, selfca.Leaf{Names: []string{"localhost"}}), folder, "server")
	var told []error
	s := Store{OnReload: func(err error) { told = append(told, err) }}
	server := newServer(t, &s, Server{Certificates: []Pair{pair}})
	s.look()
	writeFile(t, pair.Cert, nil)
	s.look()
	s.look()
	if len(told) != 1 || told[0] == nil {
		t.Errorf("got reports %v, want one of the bad file", told)
	}
	if inner, err := server.GetConfigForClient(nil); err != nil || inner == nil {
		t.Errorf("got configuration %v and %v, want the old one", inner, err)
	}
}

func TestNextTakesOverWhatIsTheSame(t *testing.T) {
	ca, folder := newCA(t, "test"), t.TempDir()
	pair := writePair(t, issue(t, ca, selfca.Leaf{Names: []string{"localhost"}}), folder, "server")
	settings := Server{Certificates: []Pair{pair}}
	var first Store
	server := newServer(t, &first, settings)
	client := trusting(ca, "localhost")
	client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	mustConnect(t, server, client)

	second := first.Next()
	if got := newServer(t, second, settings); got != server {
		t.Error("got another configuration for the same settings")
	}
	if o := mustConnect(t, server, client); !o.server.DidResume {
		t.Error("a session ticket did not outlive the change of stores")
	}
	if got := newServer(t, second, Server{Certificates: []Pair{pair}, MinVersion: tls.VersionTLS13}); got == server {
		t.Error("got the former configuration for other settings")
	}
	if n := len(second.Certificates()); n != 1 {
		t.Errorf("got %d certificates, want 1", n)
	}

	renewed := issue(t, ca, selfca.Leaf{Names: []string{"localhost"}})
	writePair(t, renewed, folder, "server")
	if err := second.Reload(); err != nil {
		t.Fatal(err)
	}
	if got := mustConnect(t, server, trusting(ca, "localhost")).leaf(); !got.Equal(renewed.Leaf) {
		t.Error("what was taken over does not follow its files")
	}

	writeFile(t, pair.Cert, nil)
	if _, err := second.Next().Server(settings); err == nil {
		t.Error("got no error for a file that is bad now")
	}
	mustConnect(t, server, trusting(ca, "localhost")) // as before
}
