package proxy

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestPlainRequests(t *testing.T) {
	okay := head("HTTP/1.1 200 OK", "Content-Length: 2", "Keep-Alive: timeout=5", "X-App: yes", "Connection: X-Hop", "X-Hop: 1") + "ok"
	for _, c := range []struct {
		name   string
		change func(w *world)
		raw    string
		up     []string // lines that the upstream gets
		notUp  []string
		want   string // start of the answer
		body   string
		not    []string // of the answer
	}{
		{
			name: "a page",
			raw:  head("GET /a%2Fb/../c?q=1&r HTTP/1.1", "Host: example.com", "Cookie: a=b", "Authorization: Basic eA==", "TE: trailers", "Connection: X-Mine", "X-Mine: 1"),
			up: []string{
				"GET /a%2Fb/../c?q=1&r HTTP/1.1", "Host: example.com", "Cookie: a=b", "Authorization: Basic eA==", "X-Forwarded-For: 127.0.0.1",
				"X-Forwarded-Proto: http", "X-Forwarded-Host: example.com", `Forwarded: for=127.0.0.1;host="example.com";proto=http`,
			},
			notUp: []string{"X-Mine", "Accept-Encoding"},
			want:  "HTTP/1.1 200 OK\r\n", body: "ok", not: []string{"Keep-Alive", "X-Hop"},
		},
		{
			name:   "with the target's host",
			change: func(w *world) { w.route.OwnHost = true },
			raw:    plainRequest, up: []string{"Host: a.internal", "X-Forwarded-Host: example.com"}, want: "HTTP/1.1 200 OK\r\n", body: "ok",
		},
		{
			name:  "from an untrusted hop",
			raw:   head("GET / HTTP/1.1", "Host: example.com", "X-Forwarded-For: 6.6.6.6", "Forwarded: for=6.6.6.6", "X-Real-IP: 6.6.6.6"),
			notUp: []string{"6.6.6.6"}, want: "HTTP/1.1 200 OK\r\n", body: "ok",
		},
		{
			name:   "from a trusted hop",
			change: func(w *world) { w.listener.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} },
			raw:    head("GET / HTTP/1.1", "Host: example.com", "X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: https"),
			up:     []string{"X-Forwarded-For: 6.6.6.6, 127.0.0.1", "X-Forwarded-Proto: https"}, want: "HTTP/1.1 200 OK\r\n", body: "ok",
		},
		{
			name: "a body",
			raw:  head("POST /form HTTP/1.1", "Host: example.com", "Content-Length: 5") + "hello",
			up:   []string{"POST /form HTTP/1.1", "Content-Length: 5", "\r\nhello"}, want: "HTTP/1.1 200 OK\r\n", body: "ok",
		},
		{
			name: "a chunked body",
			raw:  head("POST /form HTTP/1.1", "Host: example.com", "Transfer-Encoding: chunked") + "5\r\nhello\r\n0\r\n\r\n",
			up:   []string{"Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n"}, want: "HTTP/1.1 200 OK\r\n", body: "ok",
		},
		{
			name:   "HEAD",
			change: func(w *world) { w.targets[0].script = replying(strings.TrimSuffix(okay, "ok")) },
			raw:    head("HEAD / HTTP/1.1", "Host: example.com"),
			up:     []string{"HEAD / HTTP/1.1"}, want: "HTTP/1.1 200 OK\r\n",
		},
		{
			name:  "an upgrade to something else stays a request",
			raw:   head("GET / HTTP/1.1", "Host: example.com", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"),
			notUp: []string{"Upgrade", "h2c", "Http2-Settings"}, want: "HTTP/1.1 200 OK\r\n", body: "ok",
		},
		{
			name:   "an upstream that switches all the same",
			change: func(w *world) { w.targets[0].script = replying(switching()) },
			raw:    plainRequest, want: "HTTP/1.1 502 Bad Gateway\r\n",
		},
		{
			name:   "nobody there",
			change: func(w *world) { w.targets[0].refuse = true },
			raw:    plainRequest, want: "HTTP/1.1 502 Bad Gateway\r\n",
		},
		{
			name:   "no target",
			change: func(w *world) { w.targets = nil },
			raw:    plainRequest, want: "HTTP/1.1 503 Service Unavailable\r\n",
		},
		{
			name:   "an answer that is none",
			change: func(w *world) { w.targets[0].script = replyingAndClosing("garbage\r\n\r\n") },
			raw:    plainRequest, want: "HTTP/1.1 502 Bad Gateway\r\n",
		},
		{
			name:   "no answer",
			change: func(w *world) { w.targets[0].script = silent },
			raw:    plainRequest, want: "HTTP/1.1 504 Gateway Timeout\r\n",
		},
		{
			name:   "no route",
			change: func(w *world) { w.route.Match = "elsewhere.example/" },
			raw:    plainRequest, want: "HTTP/1.1 404 Not Found\r\n",
		},
		{
			name:   "not wanted",
			change: func(w *world) { w.route.RejectHTTP = true },
			raw:    plainRequest, want: "HTTP/1.1 426 Upgrade Required\r\n",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.targets[0].script = replying(okay)
				if c.change != nil {
					c.change(w)
				}
				w.start()
				p := w.send(c.raw)
				p.awaitHead()
				answer := p.String()
				if !strings.HasPrefix(answer, c.want) || !strings.HasSuffix(answer, "\r\n\r\n"+c.body) && c.body != "" {
					t.Errorf("got %q, want %q and %q", answer, c.want, c.body)
				}
				for _, not := range c.not {
					if strings.Contains(answer, not) {
						t.Errorf("got %q, want no %s", answer, not)
					}
				}
				got := w.received()
				for _, line := range c.up {
					if !strings.Contains(got, line) {
						t.Errorf("upstream: got %q, want %q", got, line)
					}
				}
				for _, not := range c.notUp {
					if strings.Contains(got, not) {
						t.Errorf("upstream: got %q, want no %s", got, not)
					}
				}
				if got, want := w.journal.ends(), "dismissed 0 "; got != want {
					t.Errorf("got %q, want %q", got, want)
				}
				w.server.Close()
				w.settled()
			})
		})
	}
}

// A 426 says what it wants (RFC 9110 §15.5.22).
func TestUpgradeRequired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.route.RejectHTTP = true
		w.start()
		got := w.send(plainRequest).String()
		for _, line := range []string{"Upgrade: websocket\r\n", "Connection: Upgrade\r\n", "Sec-Websocket-Version: 13\r\n"} {
			if !strings.Contains(strings.ToLower(got), strings.ToLower(line)) {
				t.Errorf("got %q, want %q", got, line)
			}
		}
	})
}

// What an upstream sends bit by bit the client gets bit by bit.
func TestPlainStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.targets[0].script = func(p *peer) {
			p.awaitHead()
			p.conn.Write([]byte(head("HTTP/1.1 200 OK", "Content-Type: text/event-stream", "Transfer-Encoding: chunked")))
			for range 3 {
				time.Sleep(time.Hour)
				p.conn.Write([]byte("4\r\ntick\r\n"))
			}
			p.conn.Write([]byte("0\r\n\r\n"))
		}
		w.start()
		p := w.send(plainRequest)
		for ticks := 1; ticks <= 3; ticks++ {
			time.Sleep(time.Hour)
			synctest.Wait()
			if got := strings.Count(p.String(), "tick"); got != ticks {
				t.Errorf("after %d hours: got %d ticks, want %d", ticks, got, ticks)
			}
		}
		if got := p.String(); !strings.HasSuffix(got, "0\r\n\r\n") {
			t.Errorf("got %q, want an end", got)
		}
	})
}

func TestPlainClientLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.targets[0].script = silent
		w.start()
		p := w.send(plainRequest)
		p.conn.Close()
		synctest.Wait()
		if up := w.targets[0].accepted()[0]; !up.ended() {
			t.Error("upstream: got an open connection, want its end")
		}
		w.settled()
	})
}

// spread is a propagator with a header of its own.
type spread struct{}

type traceKey struct{}

func (spread) Extract(ctx context.Context, h http.Header) context.Context {
	return context.WithValue(ctx, traceKey{}, h.Get("Trace"))
}

func (spread) Inject(ctx context.Context, h http.Header) {
	trace, _ := ctx.Value(traceKey{}).(string)
	h.Set("Trace", trace+"+")
}

func TestPlainIsObserved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var routes []string
		w.server.Propagator = spread{}
		w.listener.TrustTrace = true
		w.server.HTTP = func(r *Route, trusted func(*http.Request) bool, next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				if trusted(req) {
					routes = append(routes, r.Name)
				}
				next.ServeHTTP(w, req)
			})
		}
		w.start()
		w.send(head("GET / HTTP/1.1", "Host: example.com", "Trace: abc"))
		if len(routes) != 1 || routes[0] != "all" {
			t.Errorf("got %q, want the route once", routes)
		}
		if got := w.received(); !strings.Contains(got, "Trace: abc+\r\n") {
			t.Errorf("upstream: got %q, want the trace that came, carried on", got)
		}
		w.server.Close()
	})
}
