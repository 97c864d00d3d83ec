//go:build e2e

package e2e

import (
	"context"
	"errors"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

const (
	lostInterval = time.Second
	lostTimeout  = 3 * time.Second
	lostAtMost   = lostInterval + lostTimeout + 10*time.Second // on a machine that is busy; nothing else would find it within half a minute
)

// lostPeers are clients and upstreams that a link leads to, which is then cut: their packets are dropped, and
// nobody is told. Each has somebody who talks to it on, and somebody who does not.
type lostPeers struct {
	link *link
	near *echo // beside wsproxy
	far  *echo
	w    *wsproxy
}

func (h *house) lostPeers(t *testing.T) {
	for _, engine := range []string{"auto", "goroutines"} {
		t.Run(engine, func(t *testing.T) {
			l := h.newLink(t, 0)
			if l == nil {
				return
			}
			p := &lostPeers{link: l}
			p.near, p.far = startEchoOn(t, l.near.listen(t, "127.0.0.1:0")), startEchoOn(t, l.far.listen(t, farAddress+":0"))
			s := h.newSettings(t)
			delete(s.telemetry, "otlp")
			s.within, s.host, s.engine = l.near, nearAddress, engine
			every, within := lostInterval.String(), lostTimeout.String()
			s.route("watched-client", object{"keepalive": object{"interval": every, "timeout": within}}, "ws://"+p.near.plain)
			s.route("watched-upstream", object{"keepalive": object{"interval": "off", "upstream_interval": every, "timeout": within}}, "ws://"+p.far.plain)
			s.route("unwatched-client", object{"keepalive": object{"interval": "off"}}, "ws://"+p.near.plain)
			s.route("unwatched-upstream", object{"keepalive": object{"interval": "off"}}, "ws://"+p.far.plain)
			p.w = h.serve(t, s)
			t.Run("pings", func(t *testing.T) { p.foundByPings(t, h) })
			t.Run("TCP", func(t *testing.T) { p.givenUpByTCP(t, h) })
		})
	}
}

// lost is a connection of which one leg is lost.
type lost struct {
	path string
	leg  string // that is
	c    *client
}

// lose opens connections and cuts the link. It returns when all who were not lost have been told.
func (p *lostPeers) lose(t *testing.T, h *house, paths ...string) (all []*lost, told []time.Duration) {
	t.Helper()
	p.link.mend()
	for _, path := range paths {
		all = append(all, p.open(t, h, path))
	}
	p.link.cut()
	begun := time.Now()
	for _, l := range all {
		if l.leg == "client" {
			eventually(t, l.path+": the upstream is told", func(context.Context) error {
				if p.near.end(l.path) == nil {
					return errNotYet
				}
				return nil
			})
		} else {
			l.c.SetReadDeadline(time.Now().Add(patience))
			l.c.closed(t, websocket.CloseServiceRestart)
		}
		told = append(told, time.Since(begun))
	}
	return all, told
}

// open opens one over the link and, as its path says, has somebody talk to the peer at the other end.
func (p *lostPeers) open(t *testing.T, h *house, path string) *lost {
	t.Helper()
	l := &lost{path: path, leg: "upstream"}
	r := request{}
	if strings.Contains(path, "-client/") {
		l.leg, r.from = "client", p.link.far
	}
	l.c = h.open(t, p.w, path, r)
	l.c.talk(t, websocket.TextMessage, []byte("here"))
	switch {
	case strings.HasSuffix(path, "/quiet"):
	case l.leg == "client":
		l.c.order(t, "/tick")
	default:
		var ticking sync.WaitGroup
		ticking.Go(func() {
			for l.c.WriteMessage(websocket.TextMessage, []byte("tick")) == nil {
				<-time.After(tickEvery)
			}
		})
		t.Cleanup(func() {
			l.c.Close()
			ticking.Wait()
		})
	}
	return l
}

// foundByPings loses peers that keepalive watches.
func (p *lostPeers) foundByPings(t *testing.T, h *house) {
	all, told := p.lose(t, h, "/watched-client/quiet", "/watched-client/talked-to", "/watched-upstream/quiet", "/watched-upstream/talked-to")
	for i, l := range all {
		p.want(t, l, "pong_timeout", "proxy", l.leg)
		if told[i] < lostTimeout/2 || told[i] > lostAtMost {
			t.Errorf("%s: told after %v, want %v and what a busy machine adds", l.path, told[i], lostInterval+lostTimeout)
		}
		t.Logf("%s: told after %v", l.path, told[i])
		if l.leg == "client" && !websocket.IsCloseError(p.near.end(l.path), websocket.CloseGoingAway) {
			t.Errorf("%s: the upstream got %v, want a Close with 1001", l.path, p.near.end(l.path))
		}
	}
}

// givenUpByTCP loses peers that nothing watches but TCP, which has something to deliver and is told to give
// up soon.
func (p *lostPeers) givenUpByTCP(t *testing.T, h *house) {
	p.link.near.sysctl(t, "ipv4.tcp_retries2", "3") // about three seconds
	all, told := p.lose(t, h, "/unwatched-client/talked-to", "/unwatched-upstream/talked-to")
	for i, l := range all {
		p.want(t, l, l.leg+"_timeout", l.leg, "")
		t.Logf("%s: told after %v", l.path, told[i])
		if l.leg == "client" && !errors.Is(p.near.end(l.path), syscall.ECONNRESET) {
			t.Errorf("%s: the upstream got %v, want a reset", l.path, p.near.end(l.path))
		}
	}
}

// want holds the log against what must be told of a connection.
func (p *lostPeers) want(t *testing.T, l *lost, cause, initiator, leg string) {
	t.Helper()
	got := p.w.lineOf(t, func(of line) bool { return of.Path == l.path })
	if got.Cause != cause || got.Initiator != initiator || got.Leg != leg {
		t.Errorf("%s: got cause %s, initiator %s, leg %q, want %s, %s, %q", l.path, got.Cause, got.Initiator, got.Leg, cause, initiator, leg)
	}
}
