package proxy

import (
	"context"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wsproxy/internal/memnet"
	"wsproxy/lifecycle"
	"wsproxy/proxy/relay"
)

// newForwardWorld has one target, a.example:9000, and a listener whose clients name it.
func newForwardWorld(t *testing.T) (*world, *Forward) {
	w := newWorld(t)
	w.network.SetHost("a.example", memnet.Host{Addresses: []string{"10.0.1.1"}})
	w.listener.Forward = &Forward{Dial: func(ctx context.Context, host string, port uint16) (net.Conn, error) {
		ctx, step := lifecycle.FromContext(ctx).Begin(ctx, &lifecycle.Step{Phase: lifecycle.PhaseConnect})
		c, err := w.network.Dial(ctx, net.JoinHostPort(host, strconv.Itoa(int(port))))
		if err := step.End(ctx, err); err != nil {
			return nil, err
		}
		return relay.NewConn(c), nil
	}}
	return w, w.listener.Forward
}

func connectHead(lines ...string) string {
	return head("CONNECT a.example:9000 HTTP/1.1", append([]string{"Host: a.example:9000"}, lines...)...)
}

const granted = "HTTP/1.1 200 Connection established\r\n\r\n"

func basic(user, password string) string {
	return "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// onlyUser lets u in from loopback, with this password.
func onlyUser(password string) func(context.Context, netip.Addr, string, string) error {
	return func(_ context.Context, client netip.Addr, user, given string) error {
		if !client.IsLoopback() || user != "u" || given != password {
			return errors.New("wrong")
		}
		return nil
	}
}

// absoluteForm is request with its target in absolute form.
func absoluteForm(target string, lines ...string) string {
	r := strings.Replace(request(lines...), "/chat", target, 1)
	return strings.Replace(r, "Host: example.com", "Host: a.example:9000", 1)
}

// echoing sends back whatever comes, and ends its side when the client does.
func echoing(p *peer) {
	done := 0
	for {
		p.await(func(b []byte) bool { return len(b) > done })
		s := p.String()[done:]
		if s == "" {
			return
		}
		done += len(s)
		p.conn.Write([]byte(s))
	}
}

func TestForwardConnectOpaque(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := newForwardWorld(t)
		w.targets[0].script = echoing
		w.start()
		p := w.send(connectHead() + "SSH-2.0-x\r\n") // the first bytes come right behind the head
		if got, want := p.String(), granted+"SSH-2.0-x\r\n"; got != want {
			t.Fatalf("client: got %q, want %q", got, want)
		}
		p.write(t, "more")
		synctest.Wait()
		p.conn.CloseWrite()
		synctest.Wait()
		if got := w.received(); got != "SSH-2.0-x\r\nmore" {
			t.Errorf("upstream: got %q", got)
		}
		if got, want := w.journal.ends(), "closed 200 tunnel_end"; got != want || !p.ended() {
			t.Errorf("got %q, ended %t, want %q, ended", got, p.ended(), want)
		}
		if got, want := w.journal.String(), "request: ok, route: ok, connect: ok, transfer: ok, close: ok"; got != want {
			t.Errorf("phases: got %q, want %q", got, want)
		}
		if o := w.journal.outcomes[0]; !o.Close.Clean || o.Close.Initiator != lifecycle.InitiatorClient || o.Upstream.Bytes != 15 || o.Down.Bytes != 15 {
			t.Errorf("got %+v, %d and %d bytes", o.Close, o.Upstream.Bytes, o.Down.Bytes)
		}
		w.settled()
	})
}

func TestForwardTargetSpeaksFirst(t *testing.T) {
	for _, begin := range []string{"", "GET / HT", "\x16\x03\x01\x02\x00"} {
		synctest.Test(t, func(t *testing.T) {
			w, _ := newForwardWorld(t)
			w.targets[0].script = func(p *peer) {
				time.Sleep(300 * time.Millisecond)
				p.conn.Write([]byte("220 hello\r\n"))
				p.awaitEnd()
			}
			w.start()
			begun := time.Now()
			p := w.send(connectHead() + begin)
			p.await(func(b []byte) bool { return strings.HasSuffix(string(b), "220 hello\r\n") })
			if took := time.Since(begun); took != 300*time.Millisecond {
				t.Errorf("the greeting took %s, want 300ms", took)
			}
			p.write(t, "QUIT")
			synctest.Wait()
			if got := w.received(); got != begin+"QUIT" {
				t.Errorf("upstream: got %q, want %q", got, begin+"QUIT")
			}
		})
	}
}

func TestForwardSilentTunnelOpens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := newForwardWorld(t)
		w.targets[0].script = echoing
		w.start()
		p := w.send(connectHead())
		time.Sleep(senseTimeout + time.Second)
		p.write(t, "late")
		synctest.Wait()
		if got := p.String(); got != granted+"late" {
			t.Errorf("got %q", got)
		}
		for c := range w.server.Registry.All() {
			if got := c.Phase(); got != lifecycle.PhaseTransfer {
				t.Errorf("phase: got %s, want transfer", got)
			}
			if took := c.Timeline()[3].Start; took != 0 {
				t.Errorf("transfer began %s after accept, want with the grant", took)
			}
		}
	})
}

func TestForwardWebSocketInTunnel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := newForwardWorld(t)
		w.targets[0].script = accepting("\x81\x02hi")
		w.start()
		p := w.send(connectHead())
		inside := request("X-App: 1", "Proxy-Authorization: Basic c2VjcmV0", "X-Forwarded-For: 1.2.3.4")
		p.write(t, inside[:40])
		synctest.Wait()
		p.write(t, inside[40:]+"\x89\x80\x00\x00\x00\x00") // a ping right behind
		synctest.Wait()
		if got, want := p.String(), granted+switchingBack()+"\x81\x02hi"; got != want {
			t.Fatalf("client: got %q, want %q", got, want)
		}
		got := w.received()
		for _, want := range []string{"GET /chat HTTP/1.1\r\nHost: example.com\r\n", "X-App: 1", "X-Forwarded-For: 1.2.3.4\r\n"} {
			if !strings.Contains(got, want) {
				t.Errorf("upstream: got %q, want %q in it", got, want)
			}
		}
		if strings.Contains(got, "c2VjcmV0") || strings.Contains(got, "\r\nForwarded:") || !strings.HasSuffix(got, "\x89\x80\x00\x00\x00\x00") {
			t.Errorf("upstream: got %q", got)
		}
		p.write(t, "\x88\x82\x00\x00\x00\x00\x03\xe8")
		synctest.Wait()
		p.conn.Close()
		time.Sleep(10 * time.Second)
		if got, want := w.journal.ends(), "closed 101 client_close"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if got, want := w.journal.String(), "request: ok, route: ok, connect: ok, upgrade: ok (101), transfer: ok, close: ok"; got != want {
			t.Errorf("phases: got %q, want %q", got, want)
		}
		if o := w.journal.outcomes[0]; o.Upstream.Ping != 1 || o.Down.Text != 1 {
			t.Errorf("counted %+v and %+v", o.Upstream, o.Down)
		}
		w.settled()
	})
}

// switchingBack is what a client gets of switching.
func switchingBack() string {
	return head("HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Sec-WebSocket-Accept: "+proof, "Upgrade: websocket")
}

func TestForwardWebSocketInTunnelRefused(t *testing.T) {
	for name, c := range map[string]struct {
		script func(*peer)
		status string
		ends   string
	}{
		"by upstream":  {replying(head("HTTP/1.1 401 No", "Content-Length: 4") + "body"), "401 Unauthorized", "failed 401 upgrade_rejected"},
		"wrong accept": {replying(strings.Replace(switching(), proof, "bm8=", 1)), "502 Bad Gateway", "failed 502 bad_upgrade_response"},
		"gone":         {replyingAndClosing(""), "502 Bad Gateway", "failed 502 upstream_gone"},
		"silent":       {silent, "504 Gateway Timeout", "failed 504 upgrade_timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, _ := newForwardWorld(t)
				w.targets[0].script = c.script
				w.start()
				p := w.send(connectHead() + request())
				p.awaitEnd()
				time.Sleep(time.Minute)
				if got, want := p.String(), granted+"HTTP/1.1 "+c.status+"\r\n"; !strings.HasPrefix(got, want) {
					t.Errorf("got %q, want it to begin with %q", got, want)
				}
				if got := w.journal.ends(); got != c.ends {
					t.Errorf("got %q, want %q", got, c.ends)
				}
				w.settled()
			})
		})
	}
}

func TestForwardAbsoluteForm(t *testing.T) {
	for _, target := range []string{"http://a.example:9000/chat?q=1", "ws://a.example:9000/chat?q=1", "ws://A.Example:9000/chat?q=1"} {
		synctest.Test(t, func(t *testing.T) {
			w, fw := newForwardWorld(t)
			fw.Authenticate = onlyUser("p:w")
			w.targets[0].script = accepting("")
			w.start()
			p := w.send(absoluteForm(target, basic("u", "p:w"), "Proxy-Connection: keep-alive"))
			if got := p.String(); !strings.HasPrefix(got, "HTTP/1.1 101 ") {
				t.Fatalf("client: got %q, want a 101", got)
			}
			got := w.received()
			if !strings.HasPrefix(got, "GET /chat?q=1 HTTP/1.1\r\nHost: ") || strings.Contains(got, "Proxy-") || strings.Contains(got, "orwarded") {
				t.Errorf("upstream: got %q", got)
			}
		})
	}
}

func TestForwardRefused(t *testing.T) {
	denied := func(host string, port uint16) error { return errors.New(host + " is not for you") }
	type changes = func(*world, *Forward)
	authenticate := func(_ *world, fw *Forward) {
		fw.Realm = `the "realm"`
		fw.Authenticate = onlyUser("p")
	}
	for name, c := range map[string]struct {
		raw    string
		change changes
		status int
		phase  lifecycle.Phase
		reason lifecycle.Reason
	}{
		"no credentials":   {connectHead(), authenticate, 407, lifecycle.PhaseRoute, lifecycle.ReasonUnauthenticated},
		"wrong password":   {connectHead(basic("u", "q")), authenticate, 407, lifecycle.PhaseRoute, lifecycle.ReasonUnauthenticated},
		"another scheme":   {connectHead("Proxy-Authorization: Bearer x"), authenticate, 407, lifecycle.PhaseRoute, lifecycle.ReasonUnauthenticated},
		"no base64":        {connectHead("Proxy-Authorization: Basic ???"), authenticate, 407, lifecycle.PhaseRoute, lifecycle.ReasonUnauthenticated},
		"upgrade, unknown": {absoluteForm("ws://a.example:9000/chat"), authenticate, 407, lifecycle.PhaseRoute, lifecycle.ReasonUnauthenticated},
		"too many attempts": {connectHead(basic("u", "p")), func(_ *world, fw *Forward) {
			fw.Authenticate = func(context.Context, netip.Addr, string, string) error {
				return lifecycle.Fail(lifecycle.ReasonRateLimit, nil)
			}
		}, 429, lifecycle.PhaseRoute, lifecycle.ReasonRateLimit},
		"not allowed":          {connectHead(), func(_ *world, fw *Forward) { fw.Allow = denied }, 403, lifecycle.PhaseRoute, lifecycle.ReasonForbidden},
		"upgrade, not allowed": {absoluteForm("ws://a.example:9000/chat"), func(_ *world, fw *Forward) { fw.Allow = denied }, 403, lifecycle.PhaseRoute, lifecycle.ReasonForbidden},
		"from elsewhere": {connectHead(), func(_ *world, fw *Forward) {
			fw.Clients = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		}, 403, lifecycle.PhaseRoute, lifecycle.ReasonForbidden},
		"draining":         {connectHead(), func(w *world, _ *Forward) { w.server.Refuse(Drain{}) }, 503, lifecycle.PhaseRoute, lifecycle.ReasonDraining},
		"nobody there":     {connectHead(), func(w *world, _ *Forward) { w.targets[0].refuse = true }, 502, lifecycle.PhaseConnect, lifecycle.ReasonConnectionRefused},
		"no answer":        {connectHead(), func(w *world, _ *Forward) { w.network.SetPath("10.0.1.1", memnet.Path{BlackHole: true}) }, 504, lifecycle.PhaseConnect, lifecycle.ReasonConnectTimeout},
		"address denied":   {connectHead(), denyAddress, 403, lifecycle.PhaseConnect, lifecycle.ReasonAddressDenied},
		"with a body":      {connectHead("Content-Length: 3") + "abc", nil, 400, lifecycle.PhaseRoute, lifecycle.ReasonRequestInvalid},
		"with chunks":      {connectHead("Transfer-Encoding: chunked") + "0\r\n\r\n", nil, 400, lifecycle.PhaseRoute, lifecycle.ReasonRequestInvalid},
		"no port":          {head("CONNECT a.example HTTP/1.1", "Host: a.example"), nil, 400, lifecycle.PhaseRoute, lifecycle.ReasonRequestInvalid},
		"port 0":           {head("CONNECT a.example:0 HTTP/1.1", "Host: a.example"), nil, 400, lifecycle.PhaseRoute, lifecycle.ReasonRequestInvalid},
		"a zone":           {head("CONNECT [fe80::1%25eth0]:80 HTTP/1.1", "Host: a"), nil, 400, lifecycle.PhaseRoute, lifecycle.ReasonRequestInvalid},
		"upgrade over TLS": {absoluteForm("https://a.example:9000/chat"), nil, 400, lifecycle.PhaseRoute, lifecycle.ReasonRequestInvalid},
		"upgrade to us":    {request(), nil, 400, lifecycle.PhaseRoute, lifecycle.ReasonRequestInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, fw := newForwardWorld(t)
				if c.change != nil {
					c.change(w, fw)
				}
				w.start()
				p := w.send(c.raw)
				p.awaitEnd()
				wantProblem(t, p.String(), c.status, c.phase, c.reason)
				if challenged := strings.Contains(p.String(), `Proxy-Authenticate: Basic realm="the \"realm\"", charset="UTF-8"`); challenged != (c.status == 407) {
					t.Errorf("challenged: %t, in %q", challenged, p.String())
				}
				kind := "failed"
				if c.phase == lifecycle.PhaseRoute {
					kind = "rejected"
				}
				if got, want := w.journal.ends(), kind+" "+strconv.Itoa(c.status)+" "+c.reason.String(); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
				if w.received() != "" {
					t.Errorf("upstream got %q", w.received())
				}
				w.settled()
			})
		})
	}
}

func denyAddress(_ *world, fw *Forward) {
	fw.Dial = func(ctx context.Context, _ string, _ uint16) (net.Conn, error) {
		ctx, step := lifecycle.FromContext(ctx).Begin(ctx, &lifecycle.Step{Phase: lifecycle.PhaseConnect})
		return nil, step.End(ctx, lifecycle.Failf(lifecycle.ReasonAddressDenied, "a private address"))
	}
}

func TestForwardClientLeavesDuringDial(t *testing.T) {
	for name, raw := range map[string]string{"CONNECT": connectHead(), "SOCKS5": socksHello("a.example", 9000)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, _ := newForwardWorld(t)
				w.network.SetPath("10.0.1.1", memnet.Path{BlackHole: true})
				w.start()
				p := w.send(raw)
				p.conn.Close()
				synctest.Wait()
				if got, want := w.journal.ends(), "failed 0 client_gone"; got != want {
					t.Errorf("got %q, want %q", got, want)
				}
				w.settled()
			})
		})
	}
}

// A client of a tunnel that leaves before its WebSocket has its answer is not waited for, and what one that stays
// says meanwhile is not lost.
func TestForwardClientDuringUpgradeInTunnel(t *testing.T) {
	const frame = "\x81\x82\x00\x00\x00\x00hi"
	for name, leaves := range map[string]func(*memnet.Conn) error{"stays": nil, "closes": (*memnet.Conn).Close, "resets": (*memnet.Conn).Reset} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, _ := newForwardWorld(t)
				w.targets[0].script = func(p *peer) {
					p.awaitHead()
					time.Sleep(3 * time.Second)
					replying(switching())(p)
				}
				w.start()
				p := w.send(connectHead())
				p.write(t, request()+frame)
				time.Sleep(time.Second)
				p.write(t, frame)
				time.Sleep(time.Second)
				if leaves != nil {
					leaves(p.conn)
					synctest.Wait()
					if got, want := w.journal.ends(), "failed 0 client_gone"; got != want {
						t.Errorf("got %q, want %q", got, want)
					}
					w.settled()
					return
				}
				p.write(t, frame)
				time.Sleep(2 * time.Second)
				p.write(t, frame)
				synctest.Wait()
				if got := w.received(); !strings.HasSuffix(got, "\r\n\r\n"+strings.Repeat(frame, 4)) {
					t.Errorf("upstream: got %q, want all four messages", got)
				}
				if got, want := p.String(), granted+switchingBack(); got != want {
					t.Errorf("client: got %q, want %q", got, want)
				}
			})
		})
	}
}

func TestForwardResetIsPassedOn(t *testing.T) {
	for name, cause := range map[string]string{"client": "client_reset", "upstream": "upstream_reset"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, _ := newForwardWorld(t)
				w.targets[0].script = silent
				w.start()
				p := w.send(connectHead() + "x")
				far := w.targets[0].accepted()[0]
				resets, other := p, far
				if name == "upstream" {
					resets, other = far, p
				}
				resets.conn.Reset()
				synctest.Wait()
				if got, want := w.journal.ends(), "closed 200 "+cause; got != want {
					t.Errorf("got %q, want %q", got, want)
				}
				if !other.ended() || other.err.Error() == "EOF" {
					t.Errorf("the other side: ended %t, with %v, want a reset", other.ended(), other.err)
				}
				w.settled()
			})
		})
	}
}

func TestForwardHalfClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := newForwardWorld(t)
		w.targets[0].script = func(p *peer) {
			p.awaitEnd() // answers when it has heard all
			time.Sleep(20 * time.Second)
			p.conn.Write([]byte("answer"))
		}
		w.start()
		p := w.send(connectHead() + "question")
		p.conn.CloseWrite()
		p.awaitEnd()
		if got := p.String(); got != granted+"answer" {
			t.Errorf("got %q", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w, _ := newForwardWorld(t)
		var end net.Conn
		w.targets[0].script = func(p *peer) { end = p.conn; time.Sleep(time.Hour) }
		w.start()
		p := w.send(connectHead() + "question")
		p.conn.CloseWrite()
		begun := time.Now()
		p.awaitEnd()
		if took := time.Since(begun); took != 30*time.Second {
			t.Errorf("cut after %s, want 30s", took)
		}
		end.Close()
		time.Sleep(2 * time.Hour)
	})
}

func TestForwardDrainAndClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := newForwardWorld(t)
		w.targets[0].script = echoing
		w.start()
		open, silent := w.send(connectHead()+"x"), w.send(connectHead())
		w.server.Drain(t.Context(), Drain{})
		synctest.Wait()
		if !open.ended() || silent.ended() {
			t.Errorf("open ended %t, silent ended %t, want only the open one", open.ended(), silent.ended())
		}
		open.conn.Close()
		synctest.Wait()
		w.server.Close()
		synctest.Wait()
		if got, want := w.journal.ends(), "closed 200 drain, closed 200 forced_stop"; got != want || !silent.ended() {
			t.Errorf("got %q, want %q", got, want)
		}
		w.settled()
	})
}

func TestForwardPlain(t *testing.T) {
	const answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	for name, c := range map[string]struct {
		raw    string
		change func(*world, *Forward)
		status int
	}{
		"passed on":       {raw: head("GET http://a.example:9000/x?y HTTP/1.1", "Host: a.example:9000", basic("u", "p")), status: 200},
		"origin form":     {raw: head("GET /x HTTP/1.1", "Host: a.example:9000"), status: 400},
		"https":           {raw: head("GET https://a.example:9000/x HTTP/1.1", "Host: a.example:9000"), status: 400},
		"nobody there":    {raw: head("GET http://10.9.9.9/ HTTP/1.1", "Host: 10.9.9.9"), status: 502},
		"unauthenticated": {raw: head("GET http://a.example:9000/x HTTP/1.1", "Host: a.example:9000"), change: func(_ *world, fw *Forward) { fw.Authenticate = onlyUser("p") }, status: 407},
		"denied":          {raw: head("GET http://a.example:9000/x HTTP/1.1", "Host: a.example:9000"), change: denyAddress, status: 403},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, fw := newForwardWorld(t)
				w.targets[0].script = replying(answer)
				if c.change != nil {
					c.change(w, fw)
				}
				w.start()
				p := w.send(c.raw)
				if got, want := p.String(), "HTTP/1.1 "+strconv.Itoa(c.status)+" "+http.StatusText(c.status); !strings.HasPrefix(got, want) {
					t.Errorf("got %q, want %q", got, want)
				}
				got := w.received()
				if c.status == 200 && (!strings.HasPrefix(got, "GET /x?y HTTP/1.1\r\nHost: a.example:9000\r\n") || strings.Contains(got, "Proxy-") || strings.Contains(got, "orwarded")) {
					t.Errorf("upstream: got %q", got)
				}
				if len(w.journal.outcomes) > 0 && w.journal.ends() != "dismissed 0 " {
					t.Errorf("got %q, want a dismissed record", w.journal.ends())
				}
			})
		})
	}
}

func TestForwardHeads(t *testing.T) {
	for name, c := range map[string]struct {
		raw, ends string
		status    int
	}{
		"slow":         {"CONNECT a.example:9000 HTTP/1.1\r\n", "rejected 408 request_timeout", 408},
		"giant":        {connectHead("X: " + strings.Repeat("x", 30<<10)), "rejected 431 headers_too_large", 431},
		"giant target": {head("CONNECT " + strings.Repeat("x", 30<<10) + ":80 HTTP/1.1"), "rejected 431 headers_too_large", 431},
		"garbage":      {"garbage\r\n\r\n", "rejected 400 request_invalid", 400},
		"TLS":          {"\x16\x03\x01\x00\x05hello\r\n\r\n", "rejected 400 request_invalid", 400},
		"SOCKS4":       {"\x04\x01\x00\x50\x0a\x00\x01\x01\x00\r\n\r\n", "rejected 400 request_invalid", 400},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, _ := newForwardWorld(t)
				w.start()
				p := w.send(c.raw)
				p.awaitEnd()
				if got := p.String(); !strings.HasPrefix(got, "HTTP/1.1 "+strconv.Itoa(c.status)+" ") || w.journal.ends() != c.ends {
					t.Errorf("got %q, %q, want %q", got, w.journal.ends(), c.ends)
				}
				w.settled()
			})
		})
	}
}
