package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"wsproxy/lifecycle"
)

// helloOf is what a client of crypto/tls begins with.
func helloOf(t testing.TB, c *tls.Config) []byte {
	t.Helper()
	client, server := net.Pipe()
	defer server.Close()
	go tls.Client(client, c).Handshake()
	b := make([]byte, senseBytes)
	n, err := server.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

func TestSenseTLS(t *testing.T) {
	hello := helloOf(t, &tls.Config{ServerName: "wss.example", NextProtos: []string{"h2", "http/1.1"}})
	split := slices.Concat(hello[:3], []byte{0, 50}, hello[5:55], hello[:3], []byte{byte((len(hello) - 55) >> 8), byte(len(hello) - 55)}, hello[55:])
	for name, c := range map[string]struct {
		bytes      []byte
		serverName string
		alpn       []string
	}{
		"whole":          {hello, "wss.example", []string{"h2", "http/1.1"}},
		"in two records": {split, "wss.example", []string{"h2", "http/1.1"}},
		"nameless":       {helloOf(t, &tls.Config{InsecureSkipVerify: true}), "", nil},
		"spoilt":         {append(bytes.Clone(hello[:9]), bytes.Repeat([]byte{0xff}, len(hello)-9)...), "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			for n := range len(c.bytes) {
				if s, more := judge(c.bytes[:n]); n > 0 && (s.kind != lifecycle.TunnelTLS || !more) {
					t.Fatalf("after %d of %d bytes: got %s, more %t, want tls, more", n, len(c.bytes), s.kind, more)
				}
			}
			s, more := judge(c.bytes)
			if more || s.kind != lifecycle.TunnelTLS || s.hello.serverName != c.serverName || !slices.Equal(s.hello.alpn, c.alpn) {
				t.Errorf("got %s, more %t, %+v, want tls, %q, %q", s.kind, more, s.hello, c.serverName, c.alpn)
			}
		})
	}
}

func TestSenseKind(t *testing.T) {
	for name, c := range map[string]struct {
		bytes string
		kind  lifecycle.Tunnel
		more  bool
	}{
		"nothing":                  {"", lifecycle.TunnelOther, true},
		"the beginning of a GET":   {"GE", lifecycle.TunnelOther, true},
		"a head without an end":    {"GET / HTTP/1.1\r\n", lifecycle.TunnelOther, true},
		"an upgrade":               {request(), lifecycle.TunnelWebSocket, false},
		"an upgrade and a frame":   {request() + "\x81\x80", lifecycle.TunnelWebSocket, false},
		"a plain request":          {plainRequest, lifecycle.TunnelOther, false},
		"an upgrade to h2c":        {strings.Replace(request(), "websocket", "h2c", 1), lifecycle.TunnelOther, false},
		"an upgrade that is wrong": {strings.Replace(request(), ": 13", ": 8", 1), lifecycle.TunnelOther, false},
		"a POST":                   {"POST", lifecycle.TunnelOther, false},
		"HTTP/2":                   {"PRI * HTTP/2.0\r\n\r\n", lifecycle.TunnelOther, false},
		"SSH":                      {"SSH-2.0-OpenSSH", lifecycle.TunnelOther, false},
		"the beginning of TLS":     {"\x16", lifecycle.TunnelTLS, true},
		"no TLS":                   {"\x16\x01", lifecycle.TunnelOther, false},
		"no record of TLS":         {"\x16\x03\x01\xff\xff", lifecycle.TunnelOther, false},
	} {
		if s, more := judge([]byte(c.bytes)); s.kind != c.kind || more != c.more {
			t.Errorf("%s: got %s, more %t, want %s, more %t", name, s.kind, more, c.kind, c.more)
		}
	}
}

func TestForwardTLSIsNotChanged(t *testing.T) {
	hello := string(helloOf(t, &tls.Config{ServerName: "wss.example", NextProtos: []string{"http/1.1"}}))
	synctest.Test(t, func(t *testing.T) {
		w, _ := newForwardWorld(t)
		w.targets[0].script = silent
		w.start()
		p := w.send(connectHead() + hello[:100])
		p.write(t, hello[100:])
		synctest.Wait()
		if got := w.received(); got != hello {
			t.Errorf("upstream: got %d bytes, want the %d of the ClientHello as they were", len(got), len(hello))
		}
		for c := range w.server.Registry.All() {
			if f := c.Facts(); f.Tunnel != lifecycle.TunnelTLS || f.ServerName != "wss.example" || f.ALPN != "http/1.1" || f.Mode != lifecycle.ModeForward {
				t.Errorf("got %+v", f)
			}
		}
	})
}

// FuzzSense cuts arbitrary first bytes of a tunnel in two: what it is must not depend on where.
func FuzzSense(f *testing.F) {
	f.Add(helloOf(f, &tls.Config{ServerName: "wss.example", NextProtos: []string{"h2"}}), 7)
	f.Add([]byte(request()+"\x81\x80"), 30)
	f.Add([]byte("SSH-2.0-x\r\n"), 2)
	f.Fuzz(func(t *testing.T, data []byte, cut int) {
		if len(data) > senseBytes {
			t.Skip("no more is read")
		}
		before := bytes.Clone(data)
		whole, _ := judge(data)
		if !bytes.Equal(data, before) {
			t.Fatal("the bytes were changed")
		}
		cut = min(max(cut, 0), len(data))
		if part, more := judge(data[:cut]); !more && part.kind != whole.kind {
			t.Errorf("got %s of the first %d bytes, %s of all %d", part.kind, cut, whole.kind, len(data))
		}
		if whole.kind == lifecycle.TunnelWebSocket && (whole.head == 0 || whole.head > len(data) || checkUpgrade(whole.request) != nil) {
			t.Errorf("head of %d bytes, of %d", whole.head, len(data))
		}
	})
}

// FuzzConnect sends arbitrary bytes behind CONNECT: whoever is dialled was named by a line that is whole,
// and what comes behind the head reaches it as it is.
func FuzzConnect(f *testing.F) {
	f.Add("a.example:9000", "\r\n", "SSH-2.0-x\r\n")
	f.Add("[::ffff:10.0.1.1]:9000", "Host: b\r\n\r\n", "")
	f.Add("a.example:9000", "Content-Length: 5\r\n\r\n", "hello")
	f.Fuzz(func(t *testing.T, target, headers, data string) {
		if len(target)+len(headers)+len(data) > headerBytes {
			t.Skip("no more than a head is read")
		}
		synctest.Test(t, func(t *testing.T) {
			w, fw := newForwardWorld(t)
			dial, dialled := fw.Dial, 0
			fw.Dial = func(ctx context.Context, host string, port uint16) (net.Conn, error) {
				dialled++
				if again, err := canonicalHost(host); err != nil || again != host || port == 0 {
					t.Errorf("dialled %q, port %d: %v", host, port, err)
				}
				return dial(ctx, host, port)
			}
			w.targets[0].script = silent
			w.start()
			p := w.send("CONNECT " + target + " HTTP/1.1\r\nHost: x\r\n" + headers + data)
			if opened := strings.HasPrefix(p.String(), granted); opened && dialled != 1 {
				t.Errorf("granted after %d dials", dialled)
			}
			p.conn.Reset()
			synctest.Wait()
			w.settled()
		})
	})
}
