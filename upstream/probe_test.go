package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"wsproxy/internal/memnet"
	"wsproxy/lifecycle"
)

const patientAt = "10.0.0.1:80"

// patient is a target in memory whose handler is the test's.
func patient(t *testing.T, handler http.HandlerFunc) (*Probe, Location) {
	t.Helper()
	network := new(memnet.Network)
	l, err := network.Listen(patientAt)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler}
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(l) })
	t.Cleanup(func() {
		server.Close()
		serving.Wait()
	})
	probe := &Probe{Dial: func(ctx context.Context, at Location) (net.Conn, error) { return network.Dial(ctx, at.Address) }}
	return probe, Location{Network: "tcp", Address: patientAt, Host: "chat.test:80"}
}

// upgraded is a handler that speaks WebSocket.
func upgraded(talk func(*websocket.Conn)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		u := websocket.Upgrader{Subprotocols: []string{"chat.v2"}}
		c, err := u.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer c.Close()
		talk(c)
	}
}

func listen(c *websocket.Conn) {
	for {
		if _, _, err := c.ReadMessage(); err != nil {
			return
		}
	}
}

func raw(answer string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer c.Close()
		c.Write([]byte(answer))
	}
}

func TestProbe(t *testing.T) {
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	cases := map[string]struct {
		probe  Probe
		target http.HandlerFunc
		want   lifecycle.Reason
	}{
		"fine":             {target: upgraded(listen)},
		"a wrong accept":   {target: raw("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n"), want: lifecycle.ReasonBadUpgradeResponse},
		"200":              {target: status(200), want: lifecycle.ReasonUpgradeRejected},
		"503":              {target: status(503), want: lifecycle.ReasonUpgradeRejected},
		"hangs":            {target: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, want: lifecycle.ReasonUpgradeTimeout},
		"hangs up":         {target: raw(""), want: lifecycle.ReasonUpstreamGone},
		"never pongs":      {target: upgraded(func(c *websocket.Conn) { c.SetPingHandler(func(string) error { return nil }); listen(c) }), want: lifecycle.ReasonUpgradeTimeout},
		"closes instead":   {target: upgraded(func(c *websocket.Conn) {}), want: lifecycle.ReasonUpstreamGone},
		"talks meanwhile":  {target: upgraded(func(c *websocket.Conn) { c.WriteMessage(websocket.TextMessage, []byte("news")); listen(c) })},
		"the subprotocol":  {probe: Probe{Subprotocol: "chat.v2"}, target: upgraded(listen)},
		"another one":      {probe: Probe{Subprotocol: "chat.v3"}, target: upgraded(listen), want: lifecycle.ReasonBadUpgradeResponse},
		"says and expects": {probe: Probe{Send: "how are you?", Expect: "fine"}, target: upgraded(answering("quite fine, thanks"))},
		"is not fine":      {probe: Probe{Send: "how are you?", Expect: "fine"}, target: upgraded(answering("so-so")), want: lifecycle.ReasonBadUpgradeResponse},
		"says nothing":     {probe: Probe{Expect: "fine"}, target: upgraded(listen), want: lifecycle.ReasonUpgradeTimeout},
		"too much":         {probe: Probe{Expect: "fine"}, target: upgraded(func(c *websocket.Conn) { c.WriteMessage(websocket.TextMessage, make([]byte, 2*probeLimit)); listen(c) }), want: lifecycle.ReasonBadUpgradeResponse},
		"plain":            {probe: Probe{Plain: true}, target: status(204)},
		"plain, 500":       {probe: Probe{Plain: true}, target: status(500), want: lifecycle.ReasonUpgradeRejected},
		"plain, redirect":  {probe: Probe{Plain: true}, target: status(302), want: lifecycle.ReasonUpgradeRejected},
		"plain, hangs":     {probe: Probe{Plain: true}, target: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, want: lifecycle.ReasonUpgradeTimeout},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				base, at := patient(t, c.target)
				probe := c.probe
				probe.Dial = base.Dial
				pool := NewPool(Settings{Targets: []Target{{Name: "a", Address: at.Address}}, Health: &Health{
					Interval: time.Hour, Timeout: 5 * time.Second, Rise: 1, Fall: 1, Check: probe.Check,
				}})
				run(t, pool)
				<-pool.Checked()
				got := lifecycle.ReasonNone
				if f := pool.Status().Targets[0].Addresses[0].Failure; f != nil {
					got = f.Reason
				}
				if got != c.want {
					t.Errorf("got %q (%v), want %q", got, pool.Status().Targets[0].Addresses[0].Failure, c.want)
				}
			})
		})
	}
}

func answering(text string) func(*websocket.Conn) {
	return func(c *websocket.Conn) {
		if _, _, err := c.ReadMessage(); err == nil {
			c.WriteMessage(websocket.TextMessage, []byte(text))
			listen(c)
		}
	}
}

// What the target sees of a check is a client like any other, which closes in order; the time between its
// ping and the pong is what the check tells.
func TestProbeIsAClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen, ended string
		base, at := patient(t, func(w http.ResponseWriter, r *http.Request) {
			seen = fmt.Sprint(r.Method, " ", r.URL, " ", r.Host, " ", r.UserAgent())
			upgraded(func(c *websocket.Conn) {
				c.SetPingHandler(func(data string) error {
					time.Sleep(40 * time.Millisecond)
					return c.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(time.Second))
				})
				_, _, err := c.ReadMessage()
				ended = err.Error()
			})(w, r)
		})
		base.Path, base.Host = "/healthz?deep=1", "other.test"
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		begun := time.Now()
		rtt, err := base.Check(ctx, at)
		synctest.Wait()
		if err != nil || rtt != 40*time.Millisecond {
			t.Errorf("got %s, %v, want 40ms", rtt, err)
		}
		if took := time.Since(begun); took > 100*time.Millisecond {
			t.Errorf("took %s, want it to end with the target's Close", took)
		}
		if want := "GET /healthz?deep=1 other.test wsproxy-health"; seen != want {
			t.Errorf("the target saw %q, want %q", seen, want)
		}
		if want := "websocket: close 1000 (normal)"; ended != want {
			t.Errorf("it ended with %q, want %q", ended, want)
		}
		base.Host = ""
		if base.Check(ctx, at); !strings.Contains(seen, " chat.test:80 ") {
			t.Errorf("the target saw %q, want its own host", seen)
		}
		base.Dial = func(context.Context, Location) (net.Conn, error) {
			return nil, fmt.Errorf("dial: %w", lifecycle.Fail(lifecycle.ReasonConnectionRefused, errors.New("nobody")))
		}
		_, err = base.Check(ctx, at)
		if f, ok := errors.AsType[*lifecycle.Failure](err); !ok || f.Reason != lifecycle.ReasonConnectionRefused {
			t.Errorf("got %v, want the dialler's own reason", err)
		}
	})
}
