package proxy

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wsproxy/internal/memnet"
	"wsproxy/lifecycle"
	"wsproxy/proxy/relay"
)

// problemIn reads the answer to a refused request.
func problemIn(t *testing.T, answer string) (p problem) {
	t.Helper()
	head, body, _ := strings.Cut(answer, "\r\n\r\n")
	if !strings.Contains(head, "Content-Type: application/problem+json") {
		t.Errorf("got %q, want a problem", answer)
		return p
	}
	if err := json.Unmarshal([]byte(body), &p); err != nil {
		t.Errorf("body %q: %v", body, err)
	}
	return p
}

func TestRequestHeadThatNeverIs(t *testing.T) {
	long := head("GET / HTTP/1.1", "Host: example.com", "X-Long: "+strings.Repeat("x", 40<<10))
	for _, c := range []struct {
		name   string
		raw    string
		leave  string // how the client does
		after  time.Duration
		status int
		ends   string
		phases string
	}{
		{"never complete", "GET / HTTP/1.1\r\nHost: exa", "", headTimeout, 408, "rejected 408 request_timeout", "request: request_timeout"},
		{"garbage", "\x00\x01\x02 garbage\r\n\r\n", "", 0, 400, "rejected 400 request_invalid", "request: request_invalid"},
		{"garbage, and the client has half-closed", "garbage\r\n\r\n", "FIN", 0, 400, "rejected 400 request_invalid", "request: request_invalid"},
		{"a ClientHello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "", 0, 400, "rejected 400 request_invalid", "request: request_invalid"},
		{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "", 0, 400, "rejected 400 request_invalid", "request: ok, route: request_invalid"},
		{"no host", head("GET / HTTP/1.1"), "", 0, 400, "rejected 400 request_invalid", "request: request_invalid"},
		{"an expectation", head("GET / HTTP/1.1", "Host: example.com", "Expect: miracles"), "", 0, 400, "rejected 400 request_invalid", "request: request_invalid"},
		{"too large", long, "", 0, 431, "rejected 431 headers_too_large", "request: headers_too_large"},
		{"half of it, then FIN", "GET / HTTP/1.1\r\nHost: exa", "FIN", 0, 0, "failed 0 client_gone", "request: client_gone"},
		{"half of it, then a reset", "GET / HTTP/1.1\r\nHost: exa", "RST", 0, 0, "failed 0 client_gone", "request: client_gone"},
		{"not a byte, then FIN", "", "FIN", 0, 0, "unused 0 ", "request: client_gone"},
		{"not a byte, then a reset", "", "RST", 0, 0, "unused 0 ", "request: client_gone"},
		{"not a byte", "", "", headTimeout, 0, "unused 0 ", "request: client_gone"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.start()
				begun := time.Now()
				p := w.connect("")
				if c.raw != "" {
					p.write(t, c.raw)
				}
				switch c.leave {
				case "FIN":
					p.conn.CloseWrite()
				case "RST":
					p.conn.Reset()
				}
				p.awaitEnd()
				if got := time.Since(begun); got != c.after {
					t.Errorf("got the end after %s, want %s", got, c.after)
				}
				time.Sleep(2 * refusalTimeout)
				if c.status != 0 {
					want := problem{Type: "about:blank", Title: http.StatusText(c.status), Status: c.status, Phase: "request", Reason: strings.Fields(c.ends)[2]}
					if strings.Contains(c.phases, "route") {
						want.Phase = "route"
					}
					if got := problemIn(t, p.String()); got != want {
						t.Errorf("got %+v, want %+v", got, want)
					}
				} else if got := p.String(); got != "" {
					t.Errorf("got %q, want no answer", got)
				}
				p.conn.Write([]byte("more"))
				if _, err := p.conn.Write([]byte("more")); err == nil {
					t.Error("got an open socket, want it closed")
				}
				if got := w.journal.ends(); got != c.ends {
					t.Errorf("got %q, want %q", got, c.ends)
				}
				if got := w.journal.String(); got != c.phases {
					t.Errorf("got %q, want %q", got, c.phases)
				}
				w.settled()
			})
		})
	}
}

// A refused client that goes on sending can still read why: the socket is not reset under it.
func TestRefusedClientReadsItsAnswer(t *testing.T) {
	for name, raw := range map[string]string{
		"garbage":          "garbage\r\n\r\n" + strings.Repeat("more ", 20_000),
		"a refused method": strings.Replace(request(), "GET", "PUT", 1) + strings.Repeat("frames", 10_000),
		"too large":        "GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 100_000),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.start()
				p := w.connect("")
				written := make(chan error, 1)
				go func() {
					_, err := p.conn.Write([]byte(raw))
					written <- err
				}()
				p.awaitEnd()
				if err := <-written; err != nil {
					t.Errorf("client writes: %v", err)
				}
				if got := problemIn(t, p.String()); got.Status < 400 {
					t.Errorf("got %+v, want a refusal", got)
				}
				if p.err != io.EOF {
					t.Errorf("got %v, want an end in order", p.err)
				}
				p.conn.Close()
				time.Sleep(2 * refusalTimeout)
				w.settled()
			})
		})
	}
}

const plainRequest = "GET /page HTTP/1.1\r\nHost: example.com\r\n\r\n"

// okay answers plain requests and upgrades, any number of them.
func okay(p *peer) {
	for n := 1; ; n++ {
		p.await(func(b []byte) bool { return strings.Count(string(b), "\r\n\r\n") >= n })
		if p.ended() {
			return
		}
		answer := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
		if heads := strings.Split(p.String(), "\r\n\r\n"); strings.Contains(heads[n-1], "Upgrade: websocket") {
			answer = switching()
		}
		p.conn.Write([]byte(answer))
	}
}

func TestKeptAliveConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.targets[0].script = okay
		w.start()
		p := w.send(plainRequest)
		if got := p.String(); !strings.HasPrefix(got, "HTTP/1.1 200 OK") {
			t.Fatalf("got %q, want 200", got)
		}
		time.Sleep(5 * time.Second)
		p.write(t, request()[:1])
		first := time.Now()
		time.Sleep(3 * time.Second)
		p.write(t, request()[1:])
		synctest.Wait()
		if got := p.String(); !strings.Contains(got, "HTTP/1.1 101 ") {
			t.Fatalf("got %q, want a 101 behind the 200", got)
		}
		var open []*lifecycle.Connection
		for c := range w.server.Registry.All() {
			open = append(open, c)
		}
		if len(open) != 1 {
			t.Fatalf("got %d records, want one", len(open))
		}
		if got := open[0].Accepted; !got.Equal(first) {
			t.Errorf("accepted: got %s, want the first byte's %s", got, first)
		}
		if got := open[0].Timeline()[0]; got.Phase != lifecycle.PhaseRequest || got.Start != 0 || got.Duration != 3*time.Second {
			t.Errorf("got %+v, want a request of 3s", got)
		}
		p.conn.CloseWrite()
		p.awaitEnd()
		synctest.Wait()
		if got, want := w.journal.ends(), "dismissed 0 , closed 101 client_gone"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestPipelinedRequests(t *testing.T) {
	for _, c := range []struct {
		name string
		raw  string
		want []string // starts of the answers
		ends string
	}{
		{"plain, plain", plainRequest + plainRequest, []string{"HTTP/1.1 200", "HTTP/1.1 200"}, "dismissed 0 , dismissed 0 "},
		{"plain, upgrade", plainRequest + request(), []string{"HTTP/1.1 200", "HTTP/1.1 101"}, "dismissed 0 , closed 101 client_gone"},
		{"plain, garbage", plainRequest + "garbage\r\n\r\n", []string{"HTTP/1.1 200", "HTTP/1.1 400"}, "dismissed 0 , rejected 400 request_invalid"},
		{"plain, half a head", plainRequest + "GET /page HT", []string{"HTTP/1.1 200"}, "dismissed 0 , failed 0 client_gone"},
		{"plain, a byte", plainRequest + "G", []string{"HTTP/1.1 200"}, "dismissed 0 "},
		{"refused, plain", strings.Replace(request(), "13", "8", 1) + plainRequest, []string{"HTTP/1.1 426"}, "rejected 426 request_invalid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.targets[0].script = okay
				w.start()
				p := w.send(c.raw)
				p.conn.CloseWrite()
				p.awaitEnd()
				time.Sleep(time.Minute)
				rest := p.String()
				for _, start := range c.want {
					_, after, found := strings.Cut(rest, start)
					if rest = after; !found {
						t.Errorf("got %q, want %q in this order", p.String(), c.want)
					}
				}
				if strings.Contains(rest, "HTTP/1.1 ") {
					t.Errorf("got %q, want nothing behind %q", p.String(), c.want)
				}
				if got := w.journal.ends(); got != c.ends {
					t.Errorf("got %q, want %q", got, c.ends)
				}
				w.settled()
			})
		})
	}
}

// net/http may be about to call a handler when Close ends the connection under it.
func TestCloseBeforeTheHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := memnet.Pipe()
		w := newWorld(t)
		in := newInbound(newListener(w.server, Listener{}), relay.NewConn(c))
		in.awaitRequest(time.Now())
		in.Close()
		if got := in.take(); got != nil {
			t.Errorf("got record %s, want none", got.ID)
		}
		if got, want := w.journal.ends(), "unused 0 "; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
