package tlsconf

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wsproxy/internal/selfca"
)

func TestCertificates(t *testing.T) {
	ca, folder := newCA(t, "test"), t.TempDir()
	ends := time.Now().Add(90 * 24 * time.Hour).Truncate(time.Second)
	write := func(file string, leaf selfca.Leaf) Pair {
		leaf.NotAfter = ends
		return writePair(t, issue(t, ca, leaf), folder, file)
	}
	chat := write("chat", selfca.Leaf{CommonName: "ignored", Names: []string{"10.0.0.1", "chat.example.com", "talk.example.com"}})
	again := write("again", selfca.Leaf{Names: []string{"chat.example.com"}})
	client := write("client", selfca.Leaf{CommonName: "wsproxy client"})
	bare := write("bare", selfca.Leaf{})

	var s Store
	newServer(t, &s, Server{Certificates: []Pair{chat, bare}})
	newServer(t, &s, Server{Certificates: []Pair{again, chat}})
	newClient(t, &s, Client{Cert: client.Cert, Key: client.Key, CA: writeCA(t, folder, "ca.pem", ca)})
	got := s.Certificates()
	want := []Certificate{
		{Name: "bare", File: bare.Cert},
		{Name: "chat.example.com (" + again.Cert + ")", File: again.Cert},
		{Name: "chat.example.com (" + chat.Cert + ")", File: chat.Cert},
		{Name: "wsproxy client", File: client.Cert},
	}
	if len(got) != len(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	for i, w := range want {
		if got[i].Name != w.Name || got[i].File != w.File {
			t.Errorf("got %s of %s, want %s of %s", got[i].Name, got[i].File, w.Name, w.File)
		}
		if !got[i].NotAfter.Equal(ends) || got[i].NotBefore.After(time.Now()) {
			t.Errorf("%s: got validity %s to %s, want until %s", w.Name, got[i].NotBefore, got[i].NotAfter, ends)
		}
	}
}

func TestExpiredCertificateIsServedAndTold(t *testing.T) {
	ca, folder := newCA(t, "test"), t.TempDir()
	now := time.Now()
	pair := writePair(t, issue(t, ca, selfca.Leaf{
		Names: []string{"localhost"}, NotBefore: now.Add(-48 * time.Hour), NotAfter: now.Add(-24 * time.Hour),
	}), folder, "old")
	var s Store
	newServer(t, &s, Server{Certificates: []Pair{pair}})
	c := s.Certificates()[0]
	for _, tc := range []struct {
		name string
		at   time.Time
		want string
	}{
		{"too early", now.Add(-72 * time.Hour), "not valid before"},
		{"inside", now.Add(-36 * time.Hour), ""},
		{"too late", now, "expired at"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := c.Check(tc.at)
			switch {
			case tc.want == "" && err != nil:
				t.Errorf("got %v, want none", err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), filepath.Base(pair.Cert))):
				t.Errorf("got %v, want %q and the file", err, tc.want)
			}
		})
	}
}
