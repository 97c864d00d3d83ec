package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	proxyproto "github.com/pires/go-proxyproto"

	"wsproxy/internal/memnet"
	"wsproxy/tlsconf"
)

const (
	hop         = "10.0.2.1" // trusted
	fromV1      = "PROXY TCP4 192.0.2.7 198.51.100.9 51000 443\r\n"
	fromUnknown = "PROXY UNKNOWN\r\n"
	fromLocal   = "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
)

func v2(client, local string, tlvs int) string {
	h := proxyproto.HeaderProxyFromAddrs(2,
		net.TCPAddrFromAddrPort(netip.MustParseAddrPort(client)), net.TCPAddrFromAddrPort(netip.MustParseAddrPort(local)))
	if tlvs > 0 {
		h.SetTLVs([]proxyproto.TLV{{Type: proxyproto.PP2_TYPE_NOOP, Value: make([]byte, tlvs)}})
	}
	raw, err := h.Format()
	if err != nil {
		panic(err)
	}
	return string(raw)
}

func introducing(w *world) {
	w.listener.ProxyProtocol = true
	w.listener.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.2.0/24")}
}

func TestIntroduction(t *testing.T) {
	for name, c := range map[string]struct {
		header string
		want   string // X-Forwarded-For at the upstream
	}{
		"version 1":               {fromV1, "192.0.2.7"},
		"version 1, IPv6":         {"PROXY TCP6 2001:db8::7 2001:db8::9 51000 443\r\n", "2001:db8::7"},
		"version 1, unknown":      {fromUnknown, "10.0.2.1"},
		"version 1, unknown with": {"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", "10.0.2.1"},
		"version 2":               {v2("192.0.2.7:51000", "198.51.100.9:443", 0), "192.0.2.7"},
		"version 2, IPv6":         {v2("[2001:db8::7]:51000", "[2001:db8::9]:443", 0), "2001:db8::7"},
		"version 2, extensions":   {v2("192.0.2.7:51000", "198.51.100.9:443", 3000), "192.0.2.7"},
		"version 2, local":        {fromLocal, "10.0.2.1"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				introducing(w)
				w.start()
				p := w.connect(hop)
				p.write(t, c.header+request()+"\x81\x83\x00\x00\x00\x00abc") // all at once: nothing may be lost
				synctest.Wait()
				if got := p.String(); !strings.HasPrefix(got, "HTTP/1.1 101 ") {
					t.Fatalf("got %q, want a 101", got)
				}
				if got := w.received(); !strings.Contains(got, "X-Forwarded-For: "+c.want+"\r\n") || !strings.HasSuffix(got, "abc") {
					t.Errorf("upstream: got %q, want a client %s and the frame", got, c.want)
				}
			})
		})
	}
}

func TestIntroductionBeforeTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t)
		w := newWorld(t)
		introducing(w)
		w.listener.TLS = a.server(tlsconf.Server{}, nil)
		w.start()
		d := memnet.Dialer{Network: &w.network, Address: hop}
		c, err := d.DialContext(t.Context(), "tcp", front)
		if err != nil {
			t.Fatal(err)
		}
		conn := tls.Client(c, &tls.Config{RootCAs: a.ca.Pool(), ServerName: "example.com"})
		defer conn.Close()
		io.WriteString(c, fromV1)
		if _, err := io.WriteString(conn, request()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := w.received(); !strings.Contains(got, "X-Forwarded-For: 192.0.2.7\r\n") {
			t.Errorf("upstream: got %q, want the client of the header", got)
		}
	})
}

// Whoever does not begin with a header gets no answer and goes no further.
func TestNoIntroduction(t *testing.T) {
	for name, c := range map[string]struct {
		from, says string
		leaves     bool
		after      time.Duration
		want       string // how the connection left
	}{
		"a request":               {hop, request(), false, 0, "rejected 0 request_invalid"},
		"a ClientHello":           {hop, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00", false, 0, "rejected 0 request_invalid"},
		"half a request":          {hop, "GET /", true, 0, "rejected 0 request_invalid"},
		"an untrusted peer":       {"10.0.3.1", fromV1 + request(), false, 0, "rejected 0 request_invalid"},
		"nothing":                 {hop, "", false, introductionTimeout, "rejected 0 request_timeout"},
		"half a header":           {hop, "PROXY TCP4 192", false, introductionTimeout, "rejected 0 request_timeout"},
		"nothing, and leaves":     {hop, "", true, 0, "unused 0 "},
		"half a header, leaves":   {hop, "PROXY TCP4 192", true, 0, "failed 0 client_gone"},
		"an endless line":         {hop, "PROXY TCP4 " + strings.Repeat("1", 200), false, 0, "rejected 0 request_invalid"},
		"a bare newline":          {hop, "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n" + request(), false, 0, "rejected 0 request_invalid"},
		"a wrong family":          {hop, "PROXY TCP5 1.1.1.1 2.2.2.2 1 2\r\n", false, 0, "rejected 0 request_invalid"},
		"a wrong address":         {hop, "PROXY TCP4 1.1.1 2.2.2.2 1 2\r\n", false, 0, "rejected 0 request_invalid"},
		"version 2, too long":     {hop, "\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff", false, 0, "rejected 0 request_invalid"},
		"version 2, too short":    {hop, "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x02\x01\x01", false, 0, "rejected 0 request_invalid"},
		"version 2, odd command":  {hop, "\r\n\r\n\x00\r\nQUIT\n\x2f\x11\x00\x00", false, 0, "rejected 0 request_invalid"},
		"version 2, half of that": {hop, "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\x01", true, 0, "failed 0 client_gone"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				introducing(w)
				w.start()
				begun := time.Now()
				p := w.connect(c.from)
				if p.write(t, c.says); c.leaves {
					p.conn.CloseWrite()
				}
				p.awaitEnd()
				synctest.Wait()
				if got := time.Since(begun); got != c.after {
					t.Errorf("got an end after %s, want %s", got, c.after)
				}
				if got := p.String(); got != "" {
					t.Errorf("got %q, want no answer", got)
				}
				if got := w.journal.ends(); got != c.want || w.received() != "" {
					t.Errorf("got %q and %q upstream, want %q and nothing", got, w.received(), c.want)
				}
				w.settled()
			})
		})
	}
}

func TestIntroductionWhenTheServerCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		introducing(w)
		w.start()
		p := w.connect(hop)
		p.write(t, "PROXY ")
		synctest.Wait()
		w.server.Close()
		p.awaitEnd()
		synctest.Wait()
		if got := w.journal.ends(); !strings.Contains(got, "canceled") {
			t.Errorf("got %q, want canceled", got)
		}
	})
}

// Whoever dials learns between which addresses the client is connected.
func TestEnds(t *testing.T) {
	for name, c := range map[string]struct {
		raw           string
		client, local string
	}{
		"a header":                 {fromV1 + request(), "192.0.2.7:51000", "198.51.100.9:443"},
		"no address in the header": {fromUnknown + request(), hop + ":", front},
		"a forwarded client":       {fromUnknown + request("X-Forwarded-For: 192.0.2.9"), "192.0.2.9:0", front},
		"a plain request":          {fromV1 + "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n", "192.0.2.7:51000", "198.51.100.9:443"},
		"a plain forwarded one":    {fromUnknown + "GET / HTTP/1.1\r\nHost: example.com\r\nX-Forwarded-For: 2001:db8::9\r\n\r\n", "[2001:db8::9]:0", front},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				introducing(w)
				w.targets[0].script = okay
				w.targets[0].dialling = func(client, local netip.AddrPort) {
					if !strings.HasPrefix(client.String(), c.client) || local.String() != c.local {
						t.Errorf("got %s to %s, want %s to %s", client, local, c.client, c.local)
					}
				}
				w.start()
				w.connect(hop).write(t, c.raw)
				synctest.Wait()
				if w.received() == "" {
					t.Error("got no request upstream, want one")
				}
			})
		})
	}
	if client, local := Ends(t.Context()); client.IsValid() || local.IsValid() {
		t.Errorf("got %s and %s of no request, want neither", client, local)
	}
}

// A target that is told of one client gets no other client's request on that connection.
func TestSingleConnections(t *testing.T) {
	for _, single := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.single = single
			w.targets[0].script = okay
			w.start()
			p := w.connect("")
			for range 2 {
				p.write(t, "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
				synctest.Wait()
			}
			want := 1
			if single {
				want = 2
			}
			if got := len(w.targets[0].accepted()); got != want {
				t.Errorf("single %t: got %d connections, want %d", single, got, want)
			}
		})
	}
}

// FuzzIntroduction: whatever comes, a header is read to its end and no further, in pieces as at once.
func FuzzIntroduction(f *testing.F) {
	for _, header := range []string{fromV1, fromUnknown, fromLocal, v2("192.0.2.7:1", "198.51.100.9:2", 300), "PROXY \r\n", request()} {
		f.Add([]byte(header + "GET / HTTP/1.1\r\n"))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		h, n, err := readIntroduction(r)
		if pieces, m, pieceErr := readIntroduction(iotest.OneByteReader(bytes.NewReader(data))); m != n || (pieceErr == nil) != (err == nil) || (pieces == nil) != (h == nil) {
			t.Errorf("in pieces got %d bytes and %v, want %d and %v", m, pieceErr, n, err)
		}
		if err != nil {
			return
		}
		if got := len(data) - r.Len(); got != n || n > maxIntroduction+fixedV2 {
			t.Errorf("got %d bytes read and %d told, want no more than the header", got, n)
		}
		if whole, _, err := readIntroduction(bytes.NewReader(data[:n])); err != nil || !whole.EqualsTo(h) {
			t.Errorf("got %v of the header alone, want the same", err)
		}
		if n > 0 && data[0] == 'P' && !slices.Equal(data[n-2:n], []byte("\r\n")) {
			t.Errorf("got the header %q, want a line", data[:n])
		}
	})
}

// A forward listener's clients are who the header says, for whoever judges them, however they ask.
func TestIntroductionOfForwardTraffic(t *testing.T) {
	for name, c := range map[string]struct {
		says string // behind the header, with all that the tunnel is to carry
		want string // what the client gets, served
		no   string // and where its network is not
	}{
		"CONNECT":       {connectHead(basic("u", "p")) + "SSH-2.0-x\r\n", granted + "SSH-2.0-x\r\n", "HTTP/1.1 403 "},
		"absolute form": {absoluteForm("ws://a.example:9000/chat", basic("u", "p")), "HTTP/1.1 101 ", "HTTP/1.1 403 "},
		"plain":         {head("GET http://a.example:9000/ HTTP/1.1", "Host: a.example:9000", basic("u", "p")), "HTTP/1.1 200 ", "HTTP/1.1 403 "},
		"SOCKS5":        {socksLogin("u", "p") + socksRequest("a.example", 9000) + "SSH-2.0-x\r\n", "\x05\x02\x01\x00" + socksOK + "SSH-2.0-x\r\n", "\x05\x02\x01\x01"},
	} {
		for header, from := range map[string]string{
			fromV1: "192.0.2.7:51000", v2("[2001:db8::7]:51000", "[2001:db8::9]:443", 16): "[2001:db8::7]:51000", fromLocal: hop,
		} {
			for _, admitted := range []bool{true, false} {
				t.Run(name+" from "+from, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						w, fw := newForwardWorld(t)
						introducing(w)
						host, _, _ := strings.Cut(strings.Replace(from, "]:51000", "", 1), ":51000")
						client := netip.MustParseAddr(strings.TrimPrefix(host, "["))
						fw.Clients = []netip.Prefix{netip.PrefixFrom(client, client.BitLen())}
						if !admitted {
							fw.Clients = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
						}
						fw.Authenticate = func(_ context.Context, asking netip.Addr, user, password string) error {
							if asking != client || user != "u" || password != "p" {
								t.Errorf("asked for %s from %s, want u from %s", user, asking, client)
							}
							return nil
						}
						w.targets[0].script = answering
						w.start()
						p := w.connect(hop)
						p.write(t, header+c.says) // all at once: nothing may be lost
						synctest.Wait()
						want := c.want
						if !admitted {
							want = c.no
						}
						if got := p.String(); !strings.HasPrefix(got, want) {
							t.Errorf("got %q, want %q", got, want)
						}
						if got := w.received(); (got != "") != admitted {
							t.Errorf("the target got %q", got)
						}
						for conn := range w.server.Registry.All() {
							if got := conn.Client; !strings.HasPrefix(got, from) {
								t.Errorf("got a connection of %s, want %s", got, from)
							}
						}
					})
				})
			}
		}
	}
	synctest.Test(t, func(t *testing.T) { // nor is anyone heard without
		w, _ := newForwardWorld(t)
		introducing(w)
		w.start()
		p := w.connect(hop)
		p.write(t, connectHead())
		p.awaitEnd()
		if got := w.journal.ends(); got != "rejected 0 request_invalid" || p.String() != "" {
			t.Errorf("got %q, %q", p.String(), got)
		}
	})
}

// answering is a target for everybody: it accepts upgrades, answers requests and echoes the rest.
func answering(p *peer) {
	p.await(func(b []byte) bool { return len(b) > 0 })
	switch got := p.String(); {
	case !strings.HasPrefix(got, "GET "):
		io.WriteString(p.conn, got)
	case strings.Contains(got, "websocket"):
		io.WriteString(p.conn, switching())
	default:
		io.WriteString(p.conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	}
	p.awaitEnd()
}
