package proxy

import (
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wsproxy/lifecycle"
)

func TestCapacityLimit(t *testing.T) {
	for name, tc := range map[string]struct {
		capacity Capacity
		want     int
	}{
		"nothing":            {Capacity{}, 0},
		"connections":        {Capacity{Connections: 7}, 7},
		"descriptors":        {Capacity{Descriptors: 20}, 9},
		"the lesser":         {Capacity{Connections: 7, Descriptors: 20}, 7},
		"too many asked for": {Capacity{Connections: 70, Descriptors: 20}, 9},
		"hardly any":         {Capacity{Descriptors: 3}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tc.capacity.Limit(); got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}

// wantEmpty fails the test unless everything that the room counted was given back.
func (w *world) wantEmpty() {
	w.t.Helper()
	r := w.server.room
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.descriptors != 0 || r.connections != 0 || r.pending.Len() != 0 {
		w.t.Errorf("got %d descriptors, %d connections, %d pending, want none", r.descriptors, r.connections, r.pending.Len())
	}
}

// Surplus clients are told at once, and there is room again as soon as one has left.
func TestConnectionsBeyondTheLimit(t *testing.T) {
	for name, capacity := range map[string]Capacity{
		"connections": {Connections: 3},
		"descriptors": {Descriptors: 3*seatOpen + seatSetUp - seatOpen},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.server.Capacity = capacity
				if got := capacity.Limit(); got != 3 {
					t.Fatalf("got limit %d, want 3", got)
				}
				w.start()
				open := []*peer{w.handshaken(), w.handshaken(), w.handshaken()}
				begun := time.Now()
				for range 20 {
					p := w.send(request())
					if got := p.String(); !strings.HasPrefix(got, "HTTP/1.1 503 ") || !strings.Contains(got, "Retry-After: ") {
						t.Fatalf("got %q, want a 503 with Retry-After", got)
					}
					p.conn.Close()
				}
				if took := time.Since(begun); took > 0 {
					t.Errorf("refusals: took %v, want no time", took)
				}
				open[0].conn.Close()
				synctest.Wait()
				w.handshaken().conn.Close()
				for _, p := range open[1:] {
					p.conn.Close()
				}
				time.Sleep(time.Minute)
				w.settled()
				w.wantEmpty()
			})
		})
	}
}

// Clients that stay on when they were refused give way to new ones without delay.
func TestRefusedClientsThatStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.server.Capacity = Capacity{Connections: 1, Pending: 4}
		w.start()
		open := w.handshaken()
		begun := time.Now()
		for i := range 40 {
			if got := w.send(request()).String(); !strings.HasPrefix(got, "HTTP/1.1 503 ") {
				t.Fatalf("client %d: got %q, want a 503", i, got)
			}
		}
		if took := time.Since(begun); took > 0 {
			t.Errorf("got %v, want no time", took)
		}
		open.conn.Close()
		time.Sleep(time.Minute)
		w.settled()
		w.wantEmpty()
	})
}

// A client that is slow to send its request gives way to another after a while, and is told.
func TestPendingClientsGiveWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.server.Capacity = Capacity{Pending: 2}
		w.start()
		slow := []*peer{w.send("GET /"), w.send("GET /")}
		begun := time.Now()
		p := w.connect("")
		p.write(t, request())
		p.awaitHead()
		if got := p.String(); !strings.HasPrefix(got, "HTTP/1.1 101 ") {
			t.Errorf("got %q, want a 101", got)
		}
		if took := time.Since(begun); took != pendingGrace {
			t.Errorf("got it after %v, want %v", took, pendingGrace)
		}
		synctest.Wait()
		if got := slow[0].String(); !strings.HasPrefix(got, "HTTP/1.1 503 ") || !strings.Contains(got, "connection_limit") {
			t.Errorf("the first slow client: got %q, want a 503", got)
		}
		if got := slow[1].String(); got != "" {
			t.Errorf("the second slow client: got %q, want nothing", got)
		}
		slow[1].write(t, strings.TrimPrefix(request(), "GET /"))
		synctest.Wait()
		if got := slow[1].String(); !strings.HasPrefix(got, "HTTP/1.1 101 ") {
			t.Errorf("the second slow client: got %q, want a 101", got)
		}
		slow[1].conn.Close()
		p.conn.Close()
		time.Sleep(time.Minute)
		w.settled()
		w.wantEmpty()
	})
}

// limiterFunc refuses by a function.
type limiterFunc func(handshake bool) *lifecycle.Failure

func (f limiterFunc) Handshake(netip.Addr) *lifecycle.Failure { return f(true) }

func (f limiterFunc) Connect(netip.Addr, string) (func(), *lifecycle.Failure) {
	return func() {}, f(false)
}

// counting counts what it lets in.
type counting struct {
	mu       sync.Mutex
	clients  []string
	open     int
	connects int
}

func (c *counting) Handshake(client netip.Addr) *lifecycle.Failure {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clients = append(c.clients, client.String())
	return nil
}

func (c *counting) Connect(netip.Addr, string) (func(), *lifecycle.Failure) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open++
	c.connects++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.open--
	}, nil
}

// seen is how many it let in, how many of them are open, and who asked.
func (c *counting) seen() (connects, open int, clients string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.connects, c.open, strings.Join(c.clients, " ")
}

// What limiters counted is given back however the connection ends, and they are asked about the client
// behind trusted hops.
func TestLimitersCount(t *testing.T) {
	for name, tc := range map[string]struct {
		script   func(*peer)
		lines    []string
		connects int
	}{
		"closed":               {script: accepting(""), connects: 1},
		"refused by upstream":  {script: replying(head("HTTP/1.1 403 No", "Content-Length: 0")), connects: 1},
		"bad answer":           {script: replying("garbage\r\n\r\n"), connects: 1},
		"refused by us before": {script: accepting(""), lines: []string{"Origin: https://evil.example"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				var listener, route counting
				w.listener.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
				w.listener.Limiter, w.route.Limiter = &listener, &route
				w.route.Origin = func(origin, _, _ string) bool { return origin == "" }
				w.targets[0].script = tc.script
				w.start()
				w.send(request(append(tc.lines, "X-Forwarded-For: 192.0.2.7")...)).conn.Close()
				time.Sleep(time.Minute)
				for name, c := range map[string]*counting{"listener": &listener, "route": &route} {
					connects, open, clients := c.seen()
					if open != 0 || connects != tc.connects {
						t.Errorf("%s: got %d of %d open, want none of %d", name, open, connects, tc.connects)
					}
					if tc.connects > 0 && clients != "192.0.2.7" {
						t.Errorf("%s: got clients %q, want 192.0.2.7", name, clients)
					}
				}
				w.settled()
				w.wantEmpty()
			})
		})
	}
}

// Plain requests take room, too, and their idle connections give it back under pressure.
func TestPlainRequestsTakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.server.Capacity = Capacity{Descriptors: 4}
		w.targets[0].script = replyingAndClosing(head("HTTP/1.1 200 OK", "Content-Length: 0", "Connection: close"))
		w.start()
		plain := head("GET / HTTP/1.1", "Host: example.com")
		first := w.send(plain)
		if got := first.String(); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
			t.Fatalf("got %q, want a 200", got)
		}
		var answers []string
		for range 4 {
			status, _, _ := strings.Cut(w.send(plain).String(), "\r\n")
			answers = append(answers, status[len("HTTP/1.1 "):][:3])
		}
		if got, want := strings.Join(answers, " "), "200 503 503 503"; got != want {
			t.Errorf("while others stay: got %s, want %s", got, want)
		}
		time.Sleep(5 * time.Minute)
		w.wantEmpty()
		if got := w.send(plain).String(); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
			t.Errorf("later: got %q, want a 200", got)
		}
		time.Sleep(5 * time.Minute)
		w.wantEmpty()
	})
}

// What served a handshake must not live as long as the socket.
func TestSettledSeatLetsGo(t *testing.T) {
	r := newRoom(Capacity{})
	s, err := r.enter(t.Context(), func(bool) {})
	if err != nil {
		t.Fatal(err)
	}
	if !s.admit(seatSetUp, true) {
		t.Fatal("got no room")
	}
	s.settle()
	if s.evict != nil || s.descriptors != seatOpen || r.descriptors != seatOpen {
		t.Errorf("got evict kept %t, %d descriptors of the seat and %d of the room, want none, %d, %d", s.evict != nil, s.descriptors, r.descriptors, seatOpen, seatOpen)
	}
}
