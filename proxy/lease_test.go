package proxy

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wsproxy/proxy/frame"
)

// An answer that the route names sends the handshake on to another target, once the budget and the time
// allow it; the leases know of every answer.
func TestRetryOn(t *testing.T) {
	refusal := func(status int) func(*peer) {
		return replyingAndClosing(head(fmt.Sprintf("HTTP/1.1 %d No", status), "Content-Length: 4") + "busy")
	}
	cases := map[string]struct {
		scripts []func(*peer)
		retryOn []int
		retries int
		want    string // phases
		status  string
		told    []string // to the leases
	}{
		"the second accepts": {
			scripts: []func(*peer){refusal(503), accepting("")}, retryOn: []int{502, 503}, retries: 1, status: "101",
			want: "connect: ok, upgrade: upgrade_rejected (503), connect 2: ok, upgrade 2: ok (101)",
			told: []string{"upgrade_rejected", "opened, client_reset before a message"},
		},
		"another answer": {
			scripts: []func(*peer){refusal(500), accepting("")}, retryOn: []int{502, 503}, retries: 1, status: "500",
			want: "connect: ok, upgrade: upgrade_rejected (500)", told: []string{"upgrade_rejected"},
		},
		"not asked for": {
			scripts: []func(*peer){refusal(503), accepting("")}, retries: 1, status: "503",
			want: "connect: ok, upgrade: upgrade_rejected (503)", told: []string{"upgrade_rejected"},
		},
		"no retries left": {
			scripts: []func(*peer){refusal(503), refusal(502), accepting("")}, retryOn: []int{502, 503}, retries: 1, status: "502",
			want: "connect: ok, upgrade: upgrade_rejected (503), connect 2: ok, upgrade 2: upgrade_rejected (502)",
			told: []string{"upgrade_rejected", "upgrade_rejected"},
		},
		"no target left: the last answer counts": {
			scripts: []func(*peer){refusal(503), refusal(503)}, retryOn: []int{503}, retries: 5, status: "503",
			want: "connect: ok, upgrade: upgrade_rejected (503), connect 2: ok, upgrade 2: upgrade_rejected (503)",
			told: []string{"upgrade_rejected", "upgrade_rejected"},
		},
		"hanging up is no answer": {
			scripts: []func(*peer){replyingAndClosing(""), accepting("")}, retryOn: []int{502, 503, 504}, retries: 1, status: "502",
			want: "connect: ok, upgrade: upstream_gone", told: []string{"upstream_gone"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, []string{"a", "b", "c"}[:len(c.scripts)]...)
				for i, script := range c.scripts {
					w.targets[i].script = script
				}
				w.route.RetryOn, w.route.Retries = c.retryOn, c.retries
				w.start()
				p := w.send(request())
				if got := p.String(); !strings.HasPrefix(got, "HTTP/1.1 "+c.status+" ") {
					t.Errorf("got %q, want status %s", got, c.status)
				}
				p.conn.Reset()
				synctest.Wait()
				_, phases, _ := strings.Cut(w.journal.String(), "route: ok, ")
				phases, _, _ = strings.Cut(phases, ", transfer")
				if phases != c.want {
					t.Errorf("got %s, want %s", phases, c.want)
				}
				var told []string
				for _, target := range w.targets {
					for _, pick := range target.picks {
						told = append(told, pick.tells())
					}
				}
				if !slices.Equal(told, c.told) {
					t.Errorf("leases were told %q, want %q", told, c.told)
				}
				w.settled()
			})
		})
	}
}

// The leases are told what passive health checks go by.
func TestLeasesAreTold(t *testing.T) {
	const hello = "\x81\x05hello"
	cases := map[string]struct {
		script  func(*peer)
		framing frame.Mode
		client  func(*peer)
		want    string
	}{
		"a reset at once": {
			script: func(p *peer) {
				p.awaitHead()
				p.conn.Write([]byte(switching()))
				time.Sleep(time.Second)
				p.conn.Reset()
			},
			want: "opened, upstream_reset before a message",
		},
		"a reset after a message": {
			script: func(p *peer) {
				p.awaitHead()
				p.conn.Write([]byte(switching() + hello))
				time.Sleep(time.Second)
				p.conn.Reset()
			},
			want: "opened, upstream_reset",
		},
		"a reset after a ping alone": {
			script: func(p *peer) {
				p.awaitHead()
				p.conn.Write([]byte(switching() + "\x89\x00"))
				time.Sleep(time.Second)
				p.conn.Reset()
			},
			want: "opened, upstream_reset before a message",
		},
		"a reset of a tunnel that has carried something": {
			script: func(p *peer) {
				p.awaitHead()
				p.conn.Write([]byte(switching() + "?"))
				time.Sleep(time.Second)
				p.conn.Reset()
			},
			framing: frame.ModeOff, want: "opened, upstream_reset",
		},
		"a clean close": {
			script: func(p *peer) {
				p.awaitHead()
				p.conn.Write([]byte(switching() + "\x88\x02\x03\xe8"))
				time.Sleep(time.Second)
			},
			want: "opened, upstream_close before a message",
		},
		"a client that left before its 101": {
			script: func(p *peer) { p.awaitHead(); time.Sleep(time.Second); p.conn.Write([]byte(switching())); p.awaitEnd() },
			client: func(p *peer) { p.conn.Reset() }, want: "client_gone",
		},
		"a wrong 101": {
			script: replying(head("HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade")), want: "bad_upgrade_response",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.targets[0].script = c.script
				w.route.Framing = c.framing
				w.start()
				p := w.send(request())
				if c.client != nil {
					c.client(p)
				}
				time.Sleep(2 * time.Second)
				p.conn.Close()
				time.Sleep(time.Minute)
				if got := w.targets[0].picks[0].tells(); got != c.want {
					t.Errorf("got %q, want %q", got, c.want)
				}
				w.settled()
			})
		})
	}
}

// The cookie that brings a client back is set by the 101, beside the upstream's own, and by plain answers.
func TestCookie(t *testing.T) {
	for name, secure := range map[string]bool{"plain": false, "behind a trusted hop that has TLS": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.targets[0].script = accepting("", "Set-Cookie: session=1")
				w.targets[0].cookie = &http.Cookie{Name: "at", Value: "opaque", Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode}
				want := "at=opaque; Path=/; HttpOnly; SameSite=Lax"
				var lines []string
				if secure {
					w.listener.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
					lines = []string{"X-Forwarded-Proto: https"}
					want = "at=opaque; Path=/; HttpOnly; Secure; SameSite=Lax"
				}
				w.start()
				p := w.send(request(lines...))
				if got := p.String(); !strings.Contains(got, "Set-Cookie: session=1\r\n") || !strings.Contains(got, "Set-Cookie: "+want+"\r\n") {
					t.Errorf("got %q, want both cookies, ours %q", got, want)
				}
				if w.targets[0].cookie.Secure {
					t.Error("the target's own cookie was changed")
				}
				p.conn.Close()
				w.targets[0].script = replyingAndClosing(head("HTTP/1.1 200 OK", "Content-Length: 0", "Set-Cookie: session=1"))
				plain := w.send(head("GET /poll HTTP/1.1", append([]string{"Host: example.com"}, lines...)...))
				if got := plain.String(); !strings.Contains(got, "Set-Cookie: session=1\r\n") || !strings.Contains(got, "Set-Cookie: "+want+"\r\n") {
					t.Errorf("plain HTTP: got %q, want both cookies, ours %q", got, want)
				}
				plain.conn.Close()
				synctest.Wait()
				w.settled()
			})
		})
	}
}
