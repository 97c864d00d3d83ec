package proxy

import (
	"context"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wsproxy/internal/memnet"
	"wsproxy/lifecycle"
	"wsproxy/proxy/relay"
)

func TestCloseEndsWhatIsNotUpgraded(t *testing.T) {
	for _, c := range []struct {
		name  string
		begin func(w *world) *peer
		ends  string
	}{
		{"a client without a byte", func(w *world) *peer { return w.connect("") }, "unused 0 "},
		{"half a head", func(w *world) *peer { return w.send("GET / HT") }, "rejected 503 canceled"},
		{"a kept-alive connection", func(w *world) *peer { return w.send(plainRequest) }, "dismissed 0 "},
		{"a dial", func(w *world) *peer {
			w.network.SetPath(w.targets[0].address, blackHole)
			return w.send(request())
		}, "failed 503 canceled"},
		{"an upgrade", func(w *world) *peer {
			w.targets[0].script = silent
			return w.send(request())
		}, "failed 503 canceled"},
		{"a plain request", func(w *world) *peer {
			w.targets[0].script = silent
			return w.send(plainRequest)
		}, "dismissed 0 "},
		{"a refused client that lingers", func(w *world) *peer { return w.send("garbage\r\n\r\n") }, "rejected 400 request_invalid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.targets[0].script = okay
				w.start()
				p := c.begin(w)
				synctest.Wait()
				begun := time.Now()
				if err := w.server.Close(); err != nil {
					t.Error(err)
				}
				if got := time.Since(begun); got != 0 {
					t.Errorf("Close: took %s, want no time", got)
				}
				p.awaitEnd()
				if got := w.journal.ends(); got != c.ends {
					t.Errorf("got %q, want %q", got, c.ends)
				}
				w.settled()
			})
		})
	}
}

func TestCloseLeavesOpenConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		p := w.handshaken()
		w.server.Close()
		w.server.Close() // and again
		p.write(t, "\x81\x83\x00\x00\x00\x00abc")
		synctest.Wait()
		if got := w.received(); !strings.HasSuffix(got, "abc") {
			t.Errorf("upstream: got %q, want what the client sent after Close", got)
		}
		w.server.Stop()
		p.awaitEnd()
		synctest.Wait()
		if got, want := w.journal.ends(), "closed 101 forced_stop"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// net/http may take up a connection when its own Close has gone over all it had.
func TestCloseBeforeNetHTTPKnows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, client := memnet.Pipe()
		w := newWorld(t)
		in := newInbound(newListener(w.server, Listener{}), relay.NewConn(c))
		in.listener.busy.Add(1)
		w.server.Close()
		w.server.connState(in, http.StateNew)
		if _, err := client.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("got %v, want an end", err)
		}
		w.server.connState(in, http.StateClosed)
		w.server.Close() // would wait for it
	})
}

func TestServeAndCloseInAnyOrder(t *testing.T) {
	t.Run("Close without Serve", func(t *testing.T) {
		if err := (&Server{Routes: []*Route{{Match: "/"}}}).Close(); err != nil {
			t.Error(err)
		}
	})
	t.Run("Serve after Close", func(t *testing.T) {
		w := newWorld(t)
		l, err := w.network.Listen(front)
		if err != nil {
			t.Fatal(err)
		}
		w.server.Close()
		if err := w.server.Serve(Listener{Listener: l}); err != nil {
			t.Error(err)
		}
		if _, err := w.network.Dial(t.Context(), front); err == nil {
			t.Error("got a connection, want none")
		}
	})
	t.Run("Serve compiles", func(t *testing.T) {
		w := newWorld(t)
		w.server.Routes = []*Route{{Name: "bad", Match: "no slash"}}
		l, err := w.network.Listen(front)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.server.Serve(Listener{Listener: l}); err == nil || !strings.Contains(err.Error(), "bad") {
			t.Errorf("got %v, want what is wrong with the route", err)
		}
	})
}

func TestListenerBreaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		l, err := w.network.Listen(front)
		if err != nil {
			t.Fatal(err)
		}
		w.route.Upstream = Upstream{Pick: w.pick}
		w.server.Routes = []*Route{w.route}
		failing := &failingListener{Listener: l, errs: []error{errTooMany, errTooMany, errBroken}}
		begun := time.Now()
		if err := w.server.Serve(Listener{Listener: failing}); err != errBroken {
			t.Errorf("got %v, want %v", err, errBroken)
		}
		if got, want := time.Since(begun), 15*time.Millisecond; got != want {
			t.Errorf("got it after %s, want %s: a pause for each error that may pass", got, want)
		}
		l.Close()
		w.server.Close()
	})
}

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		var open []*peer
		for range 4 {
			open = append(open, w.handshaken())
		}
		begun := time.Now()
		var gone []time.Duration
		d := Drain{Spread: 8 * time.Second, Code: 4000, Reason: "moving"}
		w.server.Refuse(d)
		go w.server.Drain(context.Background(), d)
		synctest.Wait()
		refused := w.send(request())
		refused.awaitEnd()
		if got := refused.String(); !strings.HasPrefix(got, "HTTP/1.1 503 ") || !regexp.MustCompile("\r\nRetry-After: [1-8]\r\n").MatchString(got) ||
			problemIn(t, got).Reason != "draining" {
			t.Errorf("got %q, want 503 draining with Retry-After of at most the spread", got)
		}
		for len(gone) < len(open) {
			synctest.Wait()
			n := 0
			for _, p := range open {
				if strings.HasSuffix(p.String(), "\x88\x08\x0f\xa0moving") {
					n++
				}
			}
			for len(gone) < n {
				gone = append(gone, time.Since(begun))
			}
			time.Sleep(100 * time.Millisecond)
		}
		for i, at := range gone {
			from := time.Duration(i) * 2 * time.Second
			if to := from + 2100*time.Millisecond; at < from || at > to || i == 0 && at != 0 {
				t.Errorf("client %d: got its Close after %s, want it between %s and %s, the first at once", i, at, from, to)
			}
		}
		time.Sleep(10 * time.Second)
		if got, want := w.journal.ends(), "rejected 503 draining"+strings.Repeat(", closed 101 drain", len(open)); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		w.settled()
	})
}

// acceptingLate upgrades a second after it was asked to.
func acceptingLate(p *peer) {
	p.awaitHead()
	time.Sleep(time.Second)
	accepting("")(p)
}

func TestStopMeetsAHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.targets[0].script = acceptingLate
		w.start()
		p := w.send(request())
		w.server.Stop()
		p.awaitEnd()
		synctest.Wait()
		if got, want := w.journal.ends(), "closed 101 forced_stop"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestDrainMeetsAHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.targets[0].script = acceptingLate
		w.start()
		p := w.send(request())
		w.server.Drain(context.Background(), Drain{})
		p.await(func(b []byte) bool { return strings.HasSuffix(string(b), "drain") })
		if got := p.String(); !strings.HasPrefix(got, "HTTP/1.1 101 ") {
			t.Errorf("got %q, want a 101 and then a Close", got)
		}
	})
}

// A client may have its 101 while its connection is not yet counted as open: it belongs to those that leave.
func TestDepartureMeetsAnUpgrade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.targets[0].script = acceptingLate
		w.start()
		p := w.send(request())
		synctest.Wait()
		d := w.server.Departure(Drain{Match: func(c *lifecycle.Connection) bool { return c.Facts().Route == w.route.Name }})
		if d.Total() != 1 {
			t.Fatalf("got %d connections to leave, want 1", d.Total())
		}
		d.Ask(t.Context())
		if err := d.Await(t.Context()); err != nil {
			t.Error(err)
		}
		if got := p.String(); !strings.HasPrefix(got, "HTTP/1.1 101 ") || !strings.HasSuffix(got, "drain") {
			t.Errorf("got %q, want a 101 and then a Close", got)
		}
	})
}

func TestDrainEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		open := []*peer{w.handshaken(), w.handshaken()}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		w.server.Drain(ctx, Drain{Spread: time.Hour})
		if got := time.Since(begun); got != time.Second {
			t.Errorf("got %s, want 1s", got)
		}
		synctest.Wait()
		for i, p := range open { // all were asked in the end
			if !strings.HasSuffix(p.String(), "drain") {
				t.Errorf("client %d: got %q, want a Close", i, p.String())
			}
		}
	})
}

func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		p := w.handshaken()
		w.server.Drain(t.Context(), Drain{})
		begun := time.Now()
		w.server.Stop()
		p.awaitEnd()
		if got := time.Since(begun); got != 0 {
			t.Errorf("got the end after %s, want it at once", got)
		}
		synctest.Wait()
		if got := w.journal.outcomes[0].Close; got.Cause != lifecycle.CauseDrain || got.Clean {
			t.Errorf("got %+v, want an unclean drain", got)
		}
		w.settled()
	})
}
