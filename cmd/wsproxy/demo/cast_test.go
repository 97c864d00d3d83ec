package demo

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// troupe is a cast that goes home with the test.
func troupe(t testing.TB, w waits) *Cast {
	t.Helper()
	c, err := start(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// target is the address of a route's first target.
func (c *Cast) target(t testing.TB, route string) string {
	t.Helper()
	for _, r := range c.Routes {
		if r.Name == route {
			return hostOf(t, r.Targets[0])
		}
	}
	t.Fatalf("got no route %s", route)
	return ""
}

func hostOf(t testing.TB, text string) string {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

func TestCloseSendsEverybodyHome(t *testing.T) {
	c := troupe(t, waits{lookup: time.Hour, connect: time.Hour, socks: time.Hour})
	waiting, err := net.Dial("tcp", c.target(t, "direct"))
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	lookup := c.lookup(t, slowName)
	begun := time.Now()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-lookup; err == nil {
		t.Error("got an answer to a lookup under way, want an error")
	}
	if took := time.Since(begun); took > patience/2 {
		t.Errorf("got everybody home after %s, want them sent there at once", took)
	}
	waiting.SetReadDeadline(time.Now().Add(patience))
	if _, err := waiting.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v on a guest's connection, want its end", err)
	}
	for _, address := range []string{c.names, c.target(t, "direct"), hostOf(t, c.Egresses[1].URL)} {
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			t.Errorf("got a connection to %s after Close, want none", address)
		}
	}
	if _, err := os.Stat(c.Folder); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v for the folder after Close, want %v", err, fs.ErrNotExist)
	}
	if err := c.Close(); err != nil {
		t.Errorf("got %v from the second Close, want nil", err)
	}
}

// lookup looks name up in the background. It returns when the resolver has its socket, and tells how it
// went.
func (c *Cast) lookup(t *testing.T, name string) <-chan error {
	asking, result := make(chan struct{}), make(chan error, 1)
	asks := sync.OnceFunc(func() { close(asking) })
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		defer asks()
		return c.Resolver().Dial(ctx, network, address)
	}}
	go func() {
		_, err := r.LookupHost(t.Context(), name)
		result <- err
	}()
	<-asking
	return result
}

func TestEndOfStartsContextEndsNobody(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c, err := Start(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cancel()
	conn, err := net.Dial("tcp", c.target(t, "direct"))
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

func TestRefusingAddressRefuses(t *testing.T) {
	c := troupe(t, waits{})
	if conn, err := net.Dial("tcp", c.target(t, "refused")); !errors.Is(err, syscall.ECONNREFUSED) {
		if err == nil {
			conn.Close()
		}
		t.Errorf("got %v, want %v", err, syscall.ECONNREFUSED)
	}
	if l, err := net.Listen("tcp", c.target(t, "refused")); err == nil {
		l.Close()
		t.Error("got a listener on the refusing address, want it taken")
	}
}

func TestConfigurationHasEveryRouteAndNoSecret(t *testing.T) {
	c := troupe(t, waits{})
	file, err := c.WriteConfig("127.0.0.1:0", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), c.password) {
		t.Error("got the password in the configuration, want only its file")
	}
	for _, s := range c.Scenarios() {
		if !strings.Contains(string(text), `match: "`+s.Path+`"`) {
			t.Errorf("got no route for %s, want one", s.Path)
		}
	}
}
