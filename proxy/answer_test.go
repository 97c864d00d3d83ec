package proxy

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wsproxy/internal/memnet"
	"wsproxy/lifecycle"
)

func TestAnswerRefused(t *testing.T) {
	swap := func(old, with string) string { return strings.Replace(switching(), old, with, 1) }
	interim := head("HTTP/1.1 103 Early Hints", "Link: </a>")
	const bad, gone = lifecycle.ReasonBadUpgradeResponse, lifecycle.ReasonUpstreamGone
	cases := map[string]struct {
		lines  []string // of the request
		answer string
		reason lifecycle.Reason // none: bad_upgrade_response
	}{
		"wrong Accept":              {answer: swap(proof, "AAAAAAAAAAAAAAAAAAAAAAAAAAA=")},
		"Accept in other case":      {answer: swap(proof, strings.ToLower(proof))},
		"Accept is the key":         {answer: swap(proof, key)},
		"empty Accept":              {answer: swap(" "+proof, "")},
		"no Accept":                 {answer: swap("Sec-WebSocket-Accept", "X")},
		"Accept twice":              {answer: switching("Sec-WebSocket-Accept: " + proof)},
		"a blank behind a name":     {answer: switching("Sec-WebSocket-Protocol : chat")},
		"a control character":       {answer: switching("X: a\x00b")},
		"a carriage return":         {answer: switching("X: a\rSec-WebSocket-Accept: b")},
		"no Upgrade":                {answer: swap("Upgrade: websocket", "X: y")},
		"another Upgrade":           {answer: swap("Upgrade: websocket", "Upgrade: h2c")},
		"no Connection":             {answer: swap("Connection: Upgrade", "X: y")},
		"Connection: close":         {answer: swap("Connection: Upgrade", "Connection: close")},
		"subprotocol out of blue":   {answer: switching("Sec-WebSocket-Protocol: chat")},
		"subprotocol not offered":   {lines: []string{"Sec-WebSocket-Protocol: a, b"}, answer: switching("Sec-WebSocket-Protocol: c")},
		"subprotocol in other case": {lines: []string{"Sec-WebSocket-Protocol: chat"}, answer: switching("Sec-WebSocket-Protocol: Chat")},
		"empty subprotocol":         {lines: []string{"Sec-WebSocket-Protocol: chat"}, answer: switching("Sec-WebSocket-Protocol:")},
		"subprotocols in a list":    {lines: []string{"Sec-WebSocket-Protocol: a, b"}, answer: switching("Sec-WebSocket-Protocol: a, b")},
		"subprotocol twice":         {lines: []string{"Sec-WebSocket-Protocol: a, b"}, answer: switching("Sec-WebSocket-Protocol: a", "Sec-WebSocket-Protocol: b")},
		"extension out of blue":     {answer: switching("Sec-WebSocket-Extensions: permessage-deflate")},
		"extension not offered": {
			lines:  []string{"Sec-WebSocket-Extensions: permessage-deflate"},
			answer: switching("Sec-WebSocket-Extensions: permessage-deflate, x-mux"),
		},
		"extension only begins like one offered": {
			lines:  []string{"Sec-WebSocket-Extensions: permessage-deflate"},
			answer: switching("Sec-WebSocket-Extensions: permessage-deflate2"),
		},
		"not HTTP":                      {answer: "SSH-2.0-OpenSSH_9.9\r\n\r\n"},
		"status that is no number":      {answer: head("HTTP/1.1 1x1 What")},
		"head that is no header":        {answer: switching("nonsense")},
		"differing Content-Lengths":     {answer: head("HTTP/1.1 200 OK", "Content-Length: 1", "Content-Length: 2") + "ab"},
		"head too long":                 {answer: switching("X: " + strings.Repeat("x", headerBytes))},
		"head that has no end":          {answer: "HTTP/1.1 101 " + strings.Repeat("x", 4*headerBytes)},
		"too many interim responses":    {answer: strings.Repeat(interim, maxInterim) + switching()},
		"nothing":                       {answer: "", reason: gone},
		"half a status line":            {answer: "HTTP/1.1 10", reason: gone},
		"half a head":                   {answer: strings.TrimSuffix(switching(), "\r\n"), reason: gone},
		"only an interim response":      {answer: interim, reason: gone},
		"half a head under the maximum": {answer: "HTTP/1.1 101 " + strings.Repeat("x", headerBytes-100), reason: gone},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "a", "b")
				w.route.Retries = 1 // not to be used: the request was sent
				w.targets[0].script = replyingAndClosing(c.answer)
				w.start()
				p := w.send(request(c.lines...))
				reason := c.reason
				if reason == lifecycle.ReasonNone {
					reason = bad
				}
				wantProblem(t, p.String(), http.StatusBadGateway, lifecycle.PhaseUpgrade, reason)
				if want := "failed 502 " + reason.String(); w.journal.ends() != want || !p.ended() {
					t.Errorf("got %q, closed %t, want %q, closed", w.journal.ends(), p.ended(), want)
				}
				if n := len(w.targets[1].accepted()); n != 0 {
					t.Errorf("got %d connections to the second target, want none", n)
				}
				w.settled()
			})
		})
	}
}

func TestAnswerPassed(t *testing.T) {
	const bare = "HTTP/1.1 101 Switching Protocols\r\n" +
		"Connection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: " + proof + "\r\n" +
		"Upgrade: websocket\r\n\r\n"
	cases := map[string]struct {
		lines  []string // of the request
		answer string
		add    []string // to bare
		facts  lifecycle.Facts
	}{
		"bare":                 {answer: switching()},
		"names in lower case":  {answer: strings.Replace(switching(), "Sec-WebSocket-Accept", "sec-websocket-accept", 1)},
		"line ends without CR": {answer: strings.ReplaceAll(switching(), "\r\n", "\n")},
		"another phrase":       {answer: strings.Replace(switching(), "Switching Protocols", "Web Socket Protocol Handshake", 1)},
		"several tokens":       {answer: strings.Replace(switching(), "Connection: Upgrade", "connection: keep-alive, upgrade", 1)},
		"a length":             {answer: switching("Content-Length: 0")},
		"interim responses":    {answer: strings.Repeat(head("HTTP/1.1 100 Continue"), maxInterim-1) + switching()},
		"one of the subprotocols": {
			lines:  []string{"Sec-WebSocket-Protocol: a", "Sec-WebSocket-Protocol: b,c"},
			answer: switching("Sec-WebSocket-Protocol: c"),
			add:    []string{"Sec-WebSocket-Protocol: c"},
			facts:  lifecycle.Facts{Subprotocol: "c"},
		},
		"permessage-deflate": {
			lines:  []string{"Sec-WebSocket-Extensions: x-webkit-deflate-frame, Permessage-Deflate; client_max_window_bits"},
			answer: switching("Sec-WebSocket-Extensions: permessage-deflate;server_no_context_takeover"),
			add:    []string{"Sec-WebSocket-Extensions: permessage-deflate;server_no_context_takeover"},
			facts:  lifecycle.Facts{Extensions: "permessage-deflate", Compressed: true},
		},
		"two extensions": {
			lines:  []string{"Sec-WebSocket-Extensions: permessage-deflate", "Sec-WebSocket-Extensions: x-mux"},
			answer: switching("Sec-WebSocket-Extensions: x-mux", "Sec-WebSocket-Extensions: permessage-deflate"),
			add:    []string{"Sec-WebSocket-Extensions: x-mux", "Sec-WebSocket-Extensions: permessage-deflate"},
			facts:  lifecycle.Facts{Extensions: "x-mux, permessage-deflate", Compressed: true},
		},
		"headers of the application": {
			answer: switching("Set-Cookie: a=b", "Set-Cookie: c=d", "X-App: 1", "Date: today"),
			add:    []string{"Set-Cookie: a=b", "Set-Cookie: c=d", "X-App: 1", "Date: today"},
		},
		"headers of the hop": {
			answer: strings.Replace(switching("Keep-Alive: timeout=5", "X-Hop: 1", "Trailer: X", "Proxy-Authenticate: Basic"),
				"Connection: Upgrade", "Connection: Upgrade, X-Hop, Sec-WebSocket-Accept", 1),
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.targets[0].script = replying(c.answer)
				w.start()
				p := w.send(request(c.lines...))
				wantHead(t, p.String(), bare, c.add...)
				for live := range w.server.Registry.All() {
					f := live.Facts()
					got := lifecycle.Facts{Subprotocol: f.Subprotocol, Extensions: f.Extensions, Compressed: f.Compressed}
					if got != c.facts {
						t.Errorf("got %+v, want %+v", got, c.facts)
					}
				}
				if want := "request: ok, route: ok, connect: ok, upgrade: ok (101)"; w.journal.String() != want {
					t.Errorf("got %s, want %s", &w.journal, want)
				}
				p.conn.Reset()
				synctest.Wait()
				w.settled()
			})
		})
	}
}

func TestAnswerOfAnotherStatus(t *testing.T) {
	body := strings.Repeat("0123456789abcdef", maxBody/16+10)
	cases := map[string]struct {
		answer string
		status int
		body   string
		header http.Header // besides Date, Connection and Content-Length
	}{
		"401": {
			answer: head("HTTP/1.1 401 Unauthorized", "WWW-Authenticate: Bearer", "Content-Type: text/plain", "Content-Length: 4") + "no!\n",
			status: 401, body: "no!\n",
			header: http.Header{"Www-Authenticate": {"Bearer"}, "Content-Type": {"text/plain"}},
		},
		"200": {answer: head("HTTP/1.1 200 OK", "Content-Length: 2") + "ok", status: 200, body: "ok"},
		"204": {answer: head("HTTP/1.1 204 No Content", "X: y"), status: 204, header: http.Header{"X": {"y"}}},
		"302": {answer: head("HTTP/1.1 302 Found", "Location: /x", "Content-Length: 0"), status: 302, header: http.Header{"Location": {"/x"}}},
		"503": {answer: head("HTTP/1.1 503 Busy", "Retry-After: 9", "Content-Length: 0"), status: 503, header: http.Header{"Retry-After": {"9"}}},
		"426 with versions": {
			answer: head("HTTP/1.1 426 Upgrade Required", "Sec-WebSocket-Version: 13, 8", "Content-Length: 0"),
			status: 426, header: http.Header{"Sec-Websocket-Version": {"13, 8"}},
		},
		"status nobody knows": {answer: head("HTTP/1.1 799 What", "Content-Length: 0"), status: 799},
		"without a type, though it looks like a page": {
			answer: head("HTTP/1.1 403 Forbidden", "Content-Length: 31") + "<html><script>1</script></html>",
			status: 403, body: "<html><script>1</script></html>",
		},
		"headers of the hop": {
			answer: head("HTTP/1.1 403 Forbidden", "Connection: keep-alive, X-Hop", "Keep-Alive: timeout=5", "X-Hop: 1", "Upgrade: h2c",
				"Proxy-Authenticate: Basic", "Content-Length: 0"),
			status: 403,
		},
		"chunks": {
			answer: head("HTTP/1.1 500 Oops", "Transfer-Encoding: chunked") + "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
			status: 500, body: "abcde",
		},
		"until close":         {answer: head("HTTP/1.0 500 Oops") + "oops", status: 500, body: "oops"},
		"body cut short":      {answer: head("HTTP/1.1 500 Oops", "Content-Length: 10") + "oops", status: 500, body: "oops"},
		"body over the bound": {answer: head("HTTP/1.1 500 Oops", fmt.Sprint("Content-Length: ", len(body))) + body, status: 500, body: body[:maxBody]},
		"after an interim response": {
			answer: head("HTTP/1.1 100 Continue") + head("HTTP/1.1 404 Not Found", "Content-Length: 0"),
			status: 404,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.targets[0].script = replyingAndClosing(c.answer)
				w.start()
				p := w.send(request())
				resp, body := response(t, p.String())
				if resp.StatusCode != c.status || body != c.body || !resp.Close || !p.ended() {
					t.Errorf("got status %d, %d bytes of body, close %t, closed %t, want %d, %d, true, true",
						resp.StatusCode, len(body), resp.Close, p.ended(), c.status, len(c.body))
				}
				for _, name := range []string{"Date", "Connection", "Content-Length"} {
					resp.Header.Del(name)
				}
				if fmt.Sprint(resp.Header) != fmt.Sprint(c.header) {
					t.Errorf("headers: got %v, want %v", resp.Header, c.header)
				}
				if want := fmt.Sprintf("failed %d upgrade_rejected", c.status); w.journal.ends() != want {
					t.Errorf("got %q, want %q", w.journal.ends(), want)
				}
				w.settled()
			})
		})
	}
}

func TestAnswerTellsTimes(t *testing.T) {
	for _, timing := range []bool{true, false} {
		t.Run(fmt.Sprint("allowed ", timing), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.route.ServerTiming = timing
				w.journal.traceResponse = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
				w.network.SetPath("10.0.1.1", memnet.Path{Latency: 20 * time.Millisecond})
				w.targets[0].script = replying(switching("Server-Timing: app;dur=5"))
				w.start()
				p := w.send(request())
				time.Sleep(time.Second)
				synctest.Wait()
				resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(p.String())), nil)
				if err != nil {
					t.Fatal(err)
				}
				want := []string{"app;dur=5"}
				if timing {
					want = append(want, "request;dur=0.000, route;dur=0.000, connect;dur=20.000")
				}
				if got := resp.Header["Server-Timing"]; fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("Server-Timing: got %q, want %q", got, want)
				}
				if got := resp.Header.Get("traceresponse"); got != w.journal.traceResponse {
					t.Errorf("traceresponse: got %q, want %q", got, w.journal.traceResponse)
				}
			})
		})
	}
}

// TestAnswerWithoutEnd is of a refusal whose body goes on for ever: what came of it is passed on.
func TestAnswerWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.targets[0].script = func(p *peer) {
			p.awaitHead()
			p.conn.Write([]byte(head("HTTP/1.1 200 OK", "Content-Type: text/event-stream")))
			for !p.ended() {
				p.conn.Write([]byte("data: x\n\n"))
				time.Sleep(800 * time.Millisecond)
			}
		}
		w.start()
		begun := time.Now()
		p := w.send(request())
		p.awaitEnd()
		if got := p.String(); !strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n") || !strings.Contains(got, "data: x\n\ndata: x\n\n") {
			t.Errorf("got %q", got)
		}
		if took := time.Since(begun); took > bodyTimeout+refusalTimeout {
			t.Errorf("took %s", took)
		}
		if got, want := w.journal.ends(), "failed 200 upgrade_rejected"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
