package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"wsproxy/internal/memnet"
	"wsproxy/lifecycle"
)

var update = flag.Bool("update", false, "renew the golden files under testdata")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const address = "127.0.0.1:9900"

// start serves on loopback in memory and returns a client of it.
func start(t *testing.T, s *Server) *visitor {
	t.Helper()
	var n memnet.Network
	l, err := n.Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	if s.Registry == nil {
		s.Registry = new(lifecycle.Registry)
	}
	if s.System == nil {
		s.System = new(lifecycle.System)
	}
	s.Start(l)
	v := &visitor{t: t, network: &n, transport: &http.Transport{DialContext: n.DialContext}}
	t.Cleanup(func() {
		v.transport.CloseIdleConnections()
		s.Close()
	})
	return v
}

type visitor struct {
	t         *testing.T
	network   *memnet.Network
	transport *http.Transport
}

func (v *visitor) dial() net.Conn {
	v.t.Helper()
	c, err := v.network.Dial(context.Background(), address)
	if err != nil {
		v.t.Fatal(err)
	}
	return c
}

// get asks for path and returns the answer with its whole body.
func (v *visitor) get(path string, change ...func(*http.Request)) (*http.Response, []byte) {
	v.t.Helper()
	r, err := http.NewRequestWithContext(v.t.Context(), http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		v.t.Fatal(err)
	}
	for _, f := range change {
		f(r)
	}
	answer, err := v.transport.RoundTrip(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return answer, body
}

// decode asks for path and decodes the answer, which must have the status.
func decode[T any](v *visitor, path string, status int) T {
	v.t.Helper()
	answer, body := v.get(path)
	var document T
	if err := json.Unmarshal(body, &document); err != nil {
		v.t.Fatalf("%s: %v in %s", path, err, body)
	}
	if answer.StatusCode != status {
		v.t.Errorf("%s: got %d, want %d: %s", path, answer.StatusCode, status, body)
	}
	want := "application/json"
	if status >= 400 {
		want = "application/problem+json"
	}
	if got := answer.Header.Get("Content-Type"); got != want {
		v.t.Errorf("%s: got %q, want %q", path, got, want)
	}
	return document
}

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	var indented bytes.Buffer
	if err := json.Indent(&indented, got, "", "  "); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", file)
	if *update {
		if err := os.WriteFile(path, indented.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := indented.String(); got != string(want) {
		t.Errorf("%s differs (renew with -update)\ngot:\n%s\nwant:\n%s", path, got, want)
	}
}

// step runs one phase of c for as long as it takes.
func step(c *lifecycle.Connection, p lifecycle.Phase, takes time.Duration, err error) {
	ctx, s := c.Begin(context.Background(), &lifecycle.Step{Phase: p})
	time.Sleep(takes)
	s.End(ctx, err)
}
