//go:build linux

package main

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"wsproxy/internal/selfca"
	"wsproxy/lifecycle"
	"wsproxy/proxy"
)

// closing is the ending of a WebSocket of which neither end is told anything.
func closing(cause, initiator string) ending { return ending{cause: cause, initiator: initiator} }

func (e ending) on(leg string) ending { e.leg = leg; return e }

// with has the code of the first Close frame, and says that the close handshake was complete.
func (e ending) with(code int) ending { e.code, e.clean = code, true; return e }

// unclean is with for one that was not.
func (e ending) unclean(code int) ending { e.code = code; return e }

func (e ending) seen(client, upstream string) ending {
	e.client, e.upstream = client, upstream
	return e
}

func closeFaults() []fault {
	var all []fault
	for _, f := range [][]fault{endpointFaults(), brokenFaults(), secureFaults(), silentFaults(), limitFaults(), ownFaults()} {
		all = append(all, f...)
	}
	return all
}

// opened is a fault of a WebSocket.
func opened(how string, change func(*stage, object), play func(*stage), want ending) fault {
	return fault{how: how, change: change, want: want, play: func(s *stage) {
		s.open()
		play(s)
	}}
}

// socket is what is below an end.
func socket(c *websocket.Conn) *net.TCPConn {
	inner := c.NetConn()
	if secured, ok := inner.(*tls.Conn); ok {
		inner = secured.NetConn()
	}
	return inner.(*net.TCPConn)
}

func sendClose(c *websocket.Conn, code int) {
	c.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, "bye"), time.Now().Add(patience))
}

func reset(c *websocket.Conn) {
	socket(c).SetLinger(0)
	socket(c).Close()
}

func endpointFaults() []fault {
	truncated := closing("client_gone", "client").seen("FIN", "RST")
	truncated.truncated = true
	return []fault{
		opened("the client sends a Close", nil, func(s *stage) { sendClose(s.client, 4001) },
			closing("client_close", "client").with(4001).seen("Close 4001", "Close 4001 bye")),
		opened("the upstream sends a Close", nil, func(s *stage) { sendClose(s.upstream, 1000) },
			closing("upstream_close", "upstream").with(1000).seen("Close 1000 bye", "Close 1000")),
		opened("the client's FIN, without a Close", nil, func(s *stage) { socket(s.client).CloseWrite() },
			closing("client_gone", "client").seen("FIN", "FIN")),
		opened("the client's FIN in the middle of a frame", nil, func(s *stage) {
			s.halfFrame()
			socket(s.client).CloseWrite()
		}, truncated),
		opened("the upstream's FIN, without a Close", nil, func(s *stage) { socket(s.upstream).CloseWrite() },
			closing("upstream_gone", "upstream").unclean(1012).seen("Close 1012 upstream gone", "FIN")),
		opened("the client resets", nil, func(s *stage) { reset(s.client) },
			closing("client_reset", "client").seen("", "RST")),
		opened("the upstream resets", nil, func(s *stage) { reset(s.upstream) },
			closing("upstream_reset", "upstream").unclean(1012).seen("Close 1012 upstream reset", "")),
	}
}

// choked is a fault of a leg that takes nothing of what the other sends. TCP gives up on it first where impatient.
func choked(how string, leg lifecycle.Leg, impatient bool, want ending) fault {
	f := fault{how: how, deaf: leg, want: want}
	write := "300ms"
	if impatient {
		write = "1m"
	}
	f.change = func(_ *stage, cfg object) { setRoute(cfg, "timeouts", object{"write": write}) }
	f.play = func(s *stage) {
		s.open()
		from, to := s.upstream, s.client
		if leg == lifecycle.LegUpstream {
			from, to = s.client, s.upstream
		}
		if impatient {
			giveUpSoon(s.t, socket(to).LocalAddr())
		}
		s.flood(from)
	}
	return f
}

// brokenFaults are those of legs that take nothing.
func brokenFaults() []fault {
	return []fault{
		choked("the client takes nothing for `timeouts.write`", lifecycle.LegClient, false,
			closing("slow_peer", "proxy").on("client").unclean(1001).seen("RST", "Close 1001 peer lost")),
		choked("the upstream takes nothing for `timeouts.write`", lifecycle.LegUpstream, false,
			closing("slow_peer", "proxy").on("upstream").unclean(1012).seen("Close 1012 peer lost", "RST")),
		choked("TCP gives up on the client", lifecycle.LegClient, true, closing("client_timeout", "client").seen("", "RST")),
		choked("TCP gives up on the upstream", lifecycle.LegUpstream, true,
			closing("upstream_timeout", "upstream").unclean(1012).seen("Close 1012 upstream reset", "")),
	}
}

// secured is a fault of a WebSocket whose client leg has TLS.
func secured(how string, play func(*stage), want ending) fault {
	return fault{how: how, change: secureListener(object{}), want: want, play: func(s *stage) {
		s.openBy(websocket.Dialer{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, "wss://"+s.first.String()+"/chat", nil)
		play(s)
	}}
}

const noRecord = "this is no TLS record, and long enough to look like one"

func secureFaults() []fault {
	unnotified := closing("client_gone", "client").seen("FIN", "FIN")
	unnotified.unnotified = true
	return []fault{
		secured("the client's FIN without TLS's close_notify", func(s *stage) { socket(s.client).CloseWrite() }, unnotified),
		secured("the client sends what is no TLS record", func(s *stage) { io.WriteString(socket(s.client), noRecord) },
			closing("tls_error", "client").on("client").unclean(1001).seen("a TLS alert", "Close 1001 peer lost")),
		opened("the upstream sends what is no TLS record", secureUpstream, func(s *stage) { io.WriteString(socket(s.upstream), noRecord) },
			closing("tls_error", "upstream").on("upstream").unclean(1012).seen("Close 1012 peer lost", "a TLS alert")),
	}
}

// secureUpstream is the stage's upstream with TLS.
func secureUpstream(s *stage, cfg object) {
	ca, file := newTargetCA(s.t)
	leaf, err := ca.Issue(selfca.Leaf{Names: []string{"localhost"}})
	if err != nil {
		s.t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(s.accept))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{leaf.TLS()}}
	server.StartTLS()
	s.t.Cleanup(server.Close)
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	setUpstream(cfg, "targets", []string{"wss://localhost:" + port}, "tls", object{"ca": file})
	s.zone.lead("localhost", "127.0.0.1")
}

// silentFaults are those of ends that say nothing.
func silentFaults() []fault {
	pinged := func(how, key string, leg lifecycle.Leg, want ending) fault {
		f := opened(how, func(_ *stage, cfg object) {
			setRoute(cfg, "keepalive", object{"interval": "off", key: "50ms", "timeout": "200ms"})
		}, func(*stage) {}, want)
		f.deaf = leg
		return f
	}
	return []fault{
		opened("no frame for `timeouts.idle`", func(_ *stage, cfg object) { setRoute(cfg, "timeouts", object{"idle": "200ms"}) }, func(*stage) {},
			closing("idle_timeout", "proxy").with(1001).seen("Close 1001 idle", "Close 1001 idle")),
		pinged("the client answers no ping", "interval", lifecycle.LegClient,
			closing("pong_timeout", "proxy").on("client").unclean(1001).seen("RST", "Close 1001 peer lost")),
		pinged("the upstream answers no ping", "upstream_interval", lifecycle.LegUpstream,
			closing("pong_timeout", "proxy").on("upstream").unclean(1012).seen("Close 1012 peer lost", "RST")),
	}
}

// limitFaults are those of ends that send what they should not.
func limitFaults() []fault {
	large := make([]byte, 2000)
	return []fault{
		opened("the client's message is over `limits.max_message`", routeLimit("max_message", 1000),
			func(s *stage) { s.client.WriteMessage(websocket.BinaryMessage, large) },
			closing("message_too_big", "proxy").on("client").with(1009).seen("Close 1009 message too big", "Close 1001 peer sent too much at once")),
		opened("the upstream's frame is over `limits.max_frame`", routeLimit("max_frame", 1000),
			func(s *stage) { s.upstream.WriteMessage(websocket.BinaryMessage, large) },
			closing("message_too_big", "proxy").on("upstream").with(1009).seen("Close 1012 peer sent too much at once", "Close 1009 message too big")),
		opened("the client's messages are over `limits.messages_per_second`", routeLimit("messages_per_second", 0.01), func(s *stage) {
			for range 3 {
				s.client.WriteMessage(websocket.TextMessage, []byte("again"))
			}
		}, closing("message_rate", "proxy").on("client").with(1008).seen("Close 1008 too much per second", "Close 1001 peer sent too much")),
		opened("the client does not mask a frame", nil, func(s *stage) { socket(s.client).Write([]byte{0x81, 2, 'h', 'i'}) },
			closing("protocol_error", "proxy").on("client").with(1002).seen("Close 1002 mask_missing", "Close 1001 peer broke the protocol")),
		opened("the upstream masks a frame", nil, func(s *stage) { socket(s.upstream).Write([]byte{0x81, 0x82, 1, 2, 3, 4, 'h', 'i'}) },
			closing("protocol_error", "proxy").on("upstream").with(1002).seen("Close 1012 peer broke the protocol", "Close 1002 mask_unexpected")),
	}
}

// drainNow is a drain that waits for nobody.
var drainNow = proxy.Drain{}

// ownFaults are decisions of ours.
func ownFaults() []fault {
	cut := closing("internal", "proxy").unclean(1011).seen("Close 1011 internal error", "RST")
	cut.truncated = true // a frame was on its way
	cutOff := closing("admin", "proxy").unclean(1008).seen("Close 1008 admin", "RST")
	cutOff.truncated = true
	both := func(e ending, code, word, reason string) ending {
		return e.seen("Close "+code+" "+word, "Close 1001 "+reason)
	}
	return []fault{
		opened("`timeouts.max_lifetime` is over", func(_ *stage, cfg object) { setRoute(cfg, "timeouts", object{"max_lifetime": "200ms"}) }, func(*stage) {},
			both(closing("max_lifetime", "proxy").with(1012), "1012", "max lifetime", "max lifetime")),
		opened("a repeated authentication check says no", onlyOnce, func(*stage) {},
			both(closing("auth_expired", "proxy").with(4401), "4401", "authentication expired", "authentication expired")),
		opened("a drain", nil, func(s *stage) { s.post("/api/drain", `{"route": "chat", "spread": 0}`) },
			both(closing("drain", "proxy").with(1012), "1012", "restarting", "restarting")),
		{
			how: "a drain whose client does not answer within `timeouts.close`", change: briefly, deaf: lifecycle.LegClient,
			want: closing("drain", "proxy").unclean(1012).seen("Close 1012 restarting", "Close 1001 restarting"),
			play: func(s *stage) {
				s.open()
				s.post("/api/drain", `{"route": "chat", "spread": 0}`)
			},
		},
		opened("the hard stop of a drain, before it is asked to leave", nil, func(s *stage) { s.proxy.Stop() }, closing("forced_stop", "proxy").seen("RST", "RST")),
		opened("a reload changes the route, with `on_change: close`", nil, func(s *stage) {
			setRoute(s.cfg, "on_change", "close", "server_timing", true)
			s.mustReload()
		}, both(closing("reload", "proxy").with(1012), "1012", "configuration changed", "configuration changed")),
		opened("the admin API is asked to", nil, func(s *stage) { s.deleteAll() },
			both(closing("admin", "proxy").with(1008), "1008", "admin", "admin")),
		opened("the admin API is asked to, while the client's frame does not end within `timeouts.close`", briefly, func(s *stage) {
			s.halfFrame()
			s.deleteAll()
		}, cutOff),
		{
			how: "a fault of wsproxy's own while it passes a pong on to the upstream", want: cut,
			play: func(s *stage) {
				s.open()
				s.spite.Store(true)
				s.upstream.WriteControl(websocket.PingMessage, []byte("x"), time.Now().Add(patience))
			},
		},
	}
}

// halfFrame has the client begin a frame, and waits until the upstream has that.
func (s *stage) halfFrame() {
	s.t.Helper()
	socket(s.client).Write([]byte{0x82, 0x80 | 126, 0x10, 0, 1, 2, 3, 4, 'h'}) // 4 KiB, so that a Close is no end of it
	if _, r, err := s.upstream.NextReader(); err != nil {
		s.t.Fatal(err)
	} else if _, err = r.Read(make([]byte, 1)); err != nil {
		s.t.Fatal(err)
	}
}

// briefly has nobody wait long for the end of a closing.
func briefly(_ *stage, cfg object) { setRoute(cfg, "timeouts", object{"close": "500ms"}) }

// onlyOnce has a service let a client in that it will soon say no to.
func onlyOnce(s *stage, cfg object) {
	var asked atomic.Int32
	checked(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) > 1 {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})(s, cfg)
}

// deleteAll has the admin API close the route's connections.
func (s *stage) deleteAll() {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodDelete, "http://"+s.adminAddr.Addr().String()+"/api/connections?client=127.0.0.1", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if resp.StatusCode/100 != 2 {
		s.t.Fatalf("got %s", resp.Status)
	}
}
