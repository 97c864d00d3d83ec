package proxy

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wsproxy/internal/memnet"
	"wsproxy/lifecycle"
)

func TestUpstreamSilent(t *testing.T) {
	scripts := map[string]func(*peer){
		"from the start":   silent,
		"in the head":      replying("HTTP/1.1 101 Switching Protocols\r\nUpgrade: web"),
		"after an interim": replying(head("HTTP/1.1 100 Continue")),
	}
	for name, script := range scripts {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.targets[0].script = script
				w.route.Handshake = 7 * time.Second
				w.start()
				begun := time.Now()
				p := w.send(request())
				p.awaitEnd()
				if got := time.Since(begun); got != 7*time.Second {
					t.Errorf("got an answer after %s, want 7s", got)
				}
				wantProblem(t, p.String(), http.StatusGatewayTimeout, lifecycle.PhaseUpgrade, lifecycle.ReasonUpgradeTimeout)
				synctest.Wait()
				if want := "failed 504 upgrade_timeout"; w.journal.ends() != want {
					t.Errorf("got %q, want %q", w.journal.ends(), want)
				}
				w.settled()
			})
		})
	}
}

func TestClientGivesUp(t *testing.T) {
	leave := map[string]func(*peer){
		"with a FIN":   func(p *peer) { p.conn.Close() },
		"with a reset": func(p *peer) { p.conn.Reset() },
	}
	for name, leave := range leave {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				answered := make(chan struct{})
				w.targets[0].script = func(p *peer) {
					p.awaitHead()
					<-answered
					p.conn.Write([]byte(switching()))
					p.awaitEnd()
				}
				w.start()
				p := w.send(request())
				time.Sleep(time.Second)
				leave(p)
				synctest.Wait()
				if want := "failed 0 client_gone"; w.journal.ends() != want {
					t.Errorf("got %q, want %q", w.journal.ends(), want)
				}
				if got := w.targets[0].accepted()[0]; !got.ended() {
					t.Error("the connection to the upstream is open, want it closed at once")
				}
				close(answered)
				synctest.Wait()
				if want := "request: ok, route: ok, connect: ok, upgrade: client_gone"; w.journal.String() != want {
					t.Errorf("got %s, want %s", &w.journal, want)
				}
				w.settled()
			})
		})
	}
}

// A frame in the same packet as the handshake, or behind it while the upstream thinks, is delivered.
func TestEarlyBytes(t *testing.T) {
	const hello, more = "\x81\x85\x00\x00\x00\x00hello", "\x82\x81\x00\x00\x00\x00!" // masked with zeros
	const welcome = "\x81\x07welcome"
	big := "\x82\xfe\x40\x00\x00\x00\x00\x00" + strings.Repeat("x", 16<<10) // more than net/http has read
	cases := map[string]struct {
		first, then string // from the client, before the 101
		early       string // from the upstream, with the 101
	}{
		"from the client":                {first: hello},
		"from the client, later":         {then: hello},
		"from the client, both":          {first: hello, then: more},
		"from the client, half a frame":  {first: hello[:3], then: hello[3:]},
		"from the client, a large frame": {first: big, then: more},
		"from the upstream":              {early: welcome},
		"from both":                      {first: hello, early: welcome},
		"from the upstream, a lot":       {early: strings.Repeat(welcome, 5000)},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.targets[0].script = func(p *peer) {
					p.awaitHead()
					time.Sleep(time.Second)
					p.conn.Write([]byte(switching() + c.early))
					p.awaitEnd()
				}
				w.start()
				p := w.send(request() + c.first)
				p.write(t, c.then)
				time.Sleep(2 * time.Second)
				synctest.Wait()
				_, up, _ := strings.Cut(w.received(), "\r\n\r\n")
				if up != c.first+c.then {
					t.Errorf("upstream got %.99q (%d bytes), want %.99q", up, len(up), c.first+c.then)
				}
				_, down, _ := strings.Cut(p.String(), "\r\n\r\n")
				if down != c.early {
					t.Errorf("client got %.99q (%d bytes), want %.99q", down, len(down), c.early)
				}
			})
		})
	}
}

func TestRetry(t *testing.T) {
	cases := map[string]struct {
		targets []string // refusing ones are named r…, silent ones s…, others accept
		retries int
		want    string
		ends    string
		picks   []int // per target
	}{
		"the first is there": {
			targets: []string{"a", "b"}, retries: 2,
			want: "connect: ok, upgrade: ok (101)", ends: "closed 101 client_reset", picks: []int{1, 0},
		},
		"the second is": {
			targets: []string{"r1", "a"}, retries: 2,
			want: "connect: connection_refused, connect 2: ok, upgrade 2: ok (101)", ends: "closed 101 client_reset", picks: []int{1, 1},
		},
		"the third is": {
			targets: []string{"r1", "r2", "a"}, retries: 2,
			want: "connect: connection_refused, connect 2: connection_refused, connect 3: ok, upgrade 3: ok (101)",
			ends: "closed 101 client_reset", picks: []int{1, 1, 1},
		},
		"one retry is not enough": {
			targets: []string{"r1", "r2", "a"}, retries: 1,
			want: "connect: connection_refused, connect 2: connection_refused", ends: "failed 502 connection_refused", picks: []int{1, 1, 0},
		},
		"no retries": {
			targets: []string{"r1", "a"},
			want:    "connect: connection_refused", ends: "failed 502 connection_refused", picks: []int{1, 0},
		},
		"no target is left": {
			targets: []string{"r1", "r2"}, retries: 5,
			want: "connect: connection_refused, connect 2: connection_refused", ends: "failed 502 connection_refused", picks: []int{1, 1},
		},
		"the request was sent": {
			targets: []string{"r1", "s", "a"}, retries: 2,
			want: "connect: connection_refused, connect 2: ok, upgrade 2: upgrade_timeout", ends: "failed 504 upgrade_timeout", picks: []int{1, 1, 0},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, c.targets...)
				w.route.Retries = c.retries
				for _, target := range w.targets {
					target.refuse = target.name[0] == 'r'
					if target.name[0] == 's' {
						target.script = silent
					}
				}
				w.start()
				p := w.send(request())
				time.Sleep(time.Minute) // longer than the handshake may take
				p.conn.Reset()
				synctest.Wait()
				if want := "request: ok, route: ok, " + c.want; !strings.HasPrefix(w.journal.String(), want) {
					t.Errorf("got %s, want %s", &w.journal, want)
				}
				if w.journal.ends() != c.ends {
					t.Errorf("got %q, want %q", w.journal.ends(), c.ends)
				}
				for i, want := range c.picks {
					if got := len(w.targets[i].picks); got != want {
						t.Errorf("%s: picked %d times, want %d", c.targets[i], got, want)
					}
				}
				w.settled()
			})
		})
	}
}

// A black hole takes all of the handshake's time, and nothing is left for the next target.
func TestRetryWithoutTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "hole", "a")
		w.route.Retries = 1
		w.network.SetPath("10.0.1.1", memnet.Path{BlackHole: true})
		w.start()
		p := w.send(request())
		p.awaitEnd()
		wantProblem(t, p.String(), http.StatusGatewayTimeout, lifecycle.PhaseConnect, lifecycle.ReasonConnectTimeout)
		synctest.Wait()
		w.settled()
	})
}

func TestNoTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.targets = nil
		w.start()
		p := w.send(request())
		h := wantProblem(t, p.String(), http.StatusServiceUnavailable, lifecycle.PhaseRoute, lifecycle.ReasonNoUpstream)
		if h.Get("Retry-After") != "5" {
			t.Errorf("Retry-After: got %q, want 5", h.Get("Retry-After"))
		}
		w.settled()
	})
}
