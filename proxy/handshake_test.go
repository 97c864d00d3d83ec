package proxy

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"wsproxy/lifecycle"
)

// response parses what a client got.
func response(t *testing.T, raw string) (*http.Response, string) {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(raw)), nil)
	if err != nil {
		t.Fatalf("client got %q: %v", raw, err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("client got %q: %v", raw, err)
	}
	return resp, string(body)
}

// wantProblem fails unless a client got a refusal with the given status and reason.
func wantProblem(t *testing.T, raw string, status int, phase lifecycle.Phase, reason lifecycle.Reason) http.Header {
	t.Helper()
	resp, body := response(t, raw)
	if resp.StatusCode != status || resp.Header.Get("Content-Type") != "application/problem+json" || !resp.Close {
		t.Errorf("got %q, want status %d with application/problem+json and Connection: close", raw, status)
	}
	var got problem
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatalf("body %q: %v", body, err)
	}
	want := problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status, Phase: phase.String(), Reason: reason.String(),
	}
	if got != want {
		t.Errorf("problem: got %+v, want %+v", got, want)
	}
	return resp.Header
}

// without is a good upgrade less the header lines that begin so.
func without(prefix string, lines ...string) string {
	var kept []string
	for line := range strings.Lines(request(lines...)) {
		if !strings.HasPrefix(line, prefix) {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

func TestHandshakeRefused(t *testing.T) {
	const rest = "Upgrade: websocket"
	start := func(line string) string { return strings.Replace(request(), "GET /chat HTTP/1.1", line, 1) }
	cases := map[string]struct {
		raw    string
		status int // 0: 400
		early  bool
	}{
		"method":                          {raw: start("POST /chat HTTP/1.1")},
		"method in lower case":            {raw: start("get /chat HTTP/1.1")},
		"HTTP/1.0":                        {raw: start("GET /chat HTTP/1.0")},
		"HTTP/1.0 without Host":           {raw: strings.Replace(without("Host"), "HTTP/1.1", "HTTP/1.0", 1)},
		"no Connection":                   {raw: without("Connection")},
		"Connection without upgrade":      {raw: without("Connection", "Connection: keep-alive")},
		"no key":                          {raw: without("Sec-WebSocket-Key")},
		"empty key":                       {raw: without("Sec-WebSocket-Key", "sec-websocket-key:")},
		"key too short":                   {raw: without("Sec-WebSocket-Key", "sec-websocket-key: AAAA")},
		"key too long":                    {raw: without("Sec-WebSocket-Key", "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAAAA")},
		"key not base64":                  {raw: without("Sec-WebSocket-Key", "sec-websocket-key: !!!!!!!!!!!!!!!!!!!!!!==")},
		"key twice":                       {raw: request("Sec-WebSocket-Key: " + key)},
		"no version":                      {raw: without("Sec-WebSocket-Version")},
		"version 8":                       {raw: without("Sec-WebSocket-Version", "sec-websocket-version: 8"), status: 426},
		"version twice":                   {raw: request("Sec-WebSocket-Version: 12"), status: 426},
		"versions in a list":              {raw: without("Sec-WebSocket-Version", "sec-websocket-version: 13, 8"), status: 426},
		"chunked body":                    {raw: request("Transfer-Encoding: chunked") + "0\r\n\r\n"},
		"chunked body that never comes":   {raw: request("Transfer-Encoding: chunked")},
		"chunked and Content-Length":      {raw: request("Transfer-Encoding: chunked", "Content-Length: 0") + "0\r\n\r\n"},
		"chunked in HTTP/1.0":             {raw: strings.Replace(request("Transfer-Encoding: chunked"), "HTTP/1.1", "HTTP/1.0", 1)},
		"identity":                        {raw: request("Transfer-Encoding: identity"), early: true},
		"empty Transfer-Encoding":         {raw: request("Transfer-Encoding:"), early: true},
		"Transfer-Encoding twice":         {raw: request("Transfer-Encoding: chunked", "Transfer-Encoding: identity"), early: true},
		"Transfer-Encoding, blank before": {raw: request("Transfer-Encoding : chunked"), early: true},
		"body":                            {raw: request("Content-Length: 5") + "hello"},
		"body that never comes":           {raw: request("Content-Length: 5")},
		"body that is a request":          {raw: request("Content-Length: 36") + "GET /evil HTTP/1.1\r\nHost: x.test\r\n\r\n"},
		"differing Content-Lengths":       {raw: request("Content-Length: 0", "Content-Length: 5") + "hello", early: true},
		"Content-Lengths in a list":       {raw: request("Content-Length: 0, 5") + "hello", early: true},
		"negative Content-Length":         {raw: request("Content-Length: -1"), early: true},
		"Content-Length with a sign":      {raw: request("Content-Length: +0"), early: true},
		"Expect":                          {raw: request("Expect: 100-continue")},
		"Expect something else":           {raw: request("Expect: tea"), early: true},
		"Expect hidden by an empty one":   {raw: request("Expect:", "Expect: 100-continue")},
		"no Host":                         {raw: without("Host"), early: true},
		"empty Host":                      {raw: without("Host", "host:")},
		"Host twice":                      {raw: request("Host: example.com"), early: true},
		"Host with a blank":               {raw: without("Host", "host: a b"), early: true},
		"absolute form without Host":      {raw: strings.Replace(without("Host"), "/chat", "ws://example.com/chat", 1), early: true},
		"absolute form, blank in host":    {raw: start("GET http://[fe80::1%25%20x]/chat HTTP/1.1")},
		"asterisk form":                   {raw: start("GET * HTTP/1.1")},
		"opaque target":                   {raw: start("GET http:chat HTTP/1.1")},
		"no target":                       {raw: start("GET HTTP/1.1"), early: true},
		"header name with a blank":        {raw: request("X Y: z"), early: true},
		"no colon":                        {raw: request("nonsense"), early: true},
		"NUL in a value":                  {raw: request("X: a\x00b"), early: true},
		"not HTTP":                        {raw: "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n" + rest, early: true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.start()
				p := w.send(c.raw)
				p.awaitEnd() // the fake clock runs on if it has to
				phase, status := lifecycle.PhaseRoute, http.StatusBadRequest
				if c.early {
					phase = lifecycle.PhaseRequest
				}
				if c.status != 0 {
					status = c.status
				}
				h := wantProblem(t, p.String(), status, phase, lifecycle.ReasonRequestInvalid)
				if status == http.StatusUpgradeRequired {
					upgrades := strings.Contains(p.String(), "\r\nConnection: Upgrade\r\n") // net/http drops it behind a close
					if h.Get("Sec-WebSocket-Version") != "13" || h.Get("Upgrade") != "websocket" || !upgrades {
						t.Errorf("got %q, want version 13, Upgrade: websocket and Connection: Upgrade", p)
					}
				}
				if got := w.received(); got != "" {
					t.Errorf("upstream got %q, want nothing", got)
				}
				synctest.Wait()
				w.settled()
			})
		})
	}
}

func TestHandshakeTakes(t *testing.T) {
	cases := map[string]string{
		"as it should be":             request(),
		"names in lower case":         strings.NewReplacer("Host:", "host:", "Upgrade:", "upgrade:", "Sec-WebSocket-Key:", "sec-websocket-key:").Replace(request()),
		"values in any case":          without("Upgrade", "upgrade: WebSocket"),
		"several tokens":              without("Connection", "connection: keep-alive, Upgrade"),
		"tokens over several lines":   without("Connection", "connection: keep-alive", "connection: upgrade"),
		"another protocol before":     without("Upgrade", "upgrade: h2c, websocket"),
		"an empty body":               request("Content-Length: 0"),
		"the same length twice":       request("Content-Length: 0", "Content-Length: 0"),
		"line ends without CR":        strings.ReplaceAll(request(), "\r\n", "\n"),
		"absolute form, ws":           strings.Replace(request(), "/chat", "ws://example.com/chat", 1),
		"absolute form, without path": strings.Replace(request(), "/chat", "http://example.com", 1),
	}
	for name, raw := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.start()
				got := w.send(raw).String()
				if !strings.HasPrefix(got, "HTTP/1.1 101 Switching Protocols\r\n") {
					t.Errorf("client got %q, want a 101", got)
				}
				r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(w.received())))
				if err != nil {
					t.Fatalf("upstream got %q: %v", w.received(), err)
				}
				if f := checkUpgrade(r); f != nil || r.Header["Content-Length"] != nil {
					t.Errorf("upstream got %q: %v", w.received(), f)
				}
			})
		})
	}
}

func TestRequestHead(t *testing.T) {
	const bare = "GET /chat HTTP/1.1\r\n" +
		"Host: example.com\r\n" +
		"Connection: Upgrade\r\n" +
		"Forwarded: for=127.0.0.1;host=\"example.com\";proto=http\r\n" +
		"Sec-WebSocket-Key: " + key + "\r\n" +
		"Sec-WebSocket-Version: 13\r\n" +
		"Upgrade: websocket\r\n" +
		"X-Forwarded-For: 127.0.0.1\r\n" +
		"X-Forwarded-Host: example.com\r\n" +
		"X-Forwarded-Proto: http\r\n\r\n"
	cases := map[string]struct {
		raw     string
		ownHost bool
		remove  []string // of bare
		add     []string
		replace [][2]string // in bare
	}{
		"bare": {raw: request()},
		"what endpoints say to each other": {
			raw: request("Cookie: a=b", "Authorization: Bearer x", "Origin: http://example.com", "X-App: 1", "X-App: 2",
				"Sec-WebSocket-Protocol: chat, superchat", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-other"),
			add: []string{"Cookie: a=b", "Authorization: Bearer x", "Origin: http://example.com", "X-App: 1", "X-App: 2",
				"Sec-WebSocket-Protocol: chat, superchat", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-other"},
		},
		"what is between two hops": {
			raw: request("Proxy-Authorization: Basic eDp5", "Proxy-Connection: keep-alive", "Keep-Alive: timeout=5", "TE: trailers",
				"Trailer: X", "Content-Length: 0", "Proxy-Authenticate: Basic"),
		},
		"headers that Connection names": {
			raw: without("Connection", "connection: upgrade, X-Hop, x-other-hop", "X-Hop: 1", "X-Other-Hop: 2", "X-Kept: 3"),
			add: []string{"X-Kept: 3"},
		},
		"Connection names the handshake": {
			raw: without("Connection", "connection: upgrade, sec-websocket-key, Sec-WebSocket-Version, Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: chat"),
			add: []string{"Sec-WebSocket-Protocol: chat"},
		},
		"another protocol is not offered on": {raw: without("Upgrade", "upgrade: h2c, websocket")},
		"query": {
			raw:     strings.Replace(request(), "/chat", "/chat?token=a%20b&x=%zz;?", 1),
			replace: [][2]string{{"/chat", "/chat?token=a%20b&x=%zz;?"}},
		},
		"escaped path": {
			raw:     strings.Replace(request(), "/chat", "/a%2Fb/%7Ec//d/../e", 1),
			replace: [][2]string{{"/chat", "/a%2Fb/%7Ec//d/../e"}},
		},
		"two slashes": {
			raw:     strings.Replace(request(), "/chat", "//evil.test/x", 1),
			replace: [][2]string{{"/chat", "//evil.test/x"}},
		},
		"own host": {
			raw: request(), ownHost: true,
			replace: [][2]string{{"Host: example.com\r\nConn", "Host: a.internal\r\nConn"}},
		},
		"absolute form beats Host": {
			raw:     strings.Replace(request(), "/chat", "http://user:secret@other.test:81/chat?q", 1),
			replace: [][2]string{{"example.com", "other.test:81"}, {"/chat", "/chat?q"}},
		},
		"folded line": {
			raw: request("X-Folded: a\r\n b"),
			add: []string{"X-Folded: a b"},
		},
		"what an untrusted client forwards": {
			raw: request("Forwarded: for=1.2.3.4", "X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil.test", "X-Real-Ip: 1.2.3.4"),
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.route.OwnHost = c.ownHost
				w.start()
				w.send(c.raw)
				want := bare
				for _, r := range c.replace {
					want = strings.ReplaceAll(want, r[0], r[1])
				}
				wantHead(t, w.received(), want, c.add...)
			})
		})
	}
}

// wantHead compares heads, of which got may have more lines anywhere behind the first.
func wantHead(t *testing.T, got, want string, more ...string) {
	t.Helper()
	left := got
	for _, line := range more {
		if !strings.Contains(left, "\r\n"+line+"\r\n") {
			t.Errorf("got %q, want a line %q", got, line)
		}
		left = strings.Replace(left, line+"\r\n", "", 1)
	}
	if left != want {
		t.Errorf("without %q got\n%s\nwant\n%s", more, left, want)
	}
}

func TestHandshakeRefusedBecauseOfOrigin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var got []string
		w.route.Origin = func(origin, scheme, host string) bool {
			got = append(got, origin, scheme, host)
			return false
		}
		w.start()
		p := w.send(request("Origin: http://evil.test"))
		wantProblem(t, p.String(), http.StatusForbidden, lifecycle.PhaseRoute, lifecycle.ReasonOriginDenied)
		if want := "http://evil.test http example.com"; strings.Join(got, " ") != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if w.received() != "" || w.journal.ends() != "rejected 403 origin_denied" {
			t.Errorf("got %q and %q, want a rejection and nothing sent", w.journal.ends(), w.received())
		}
	})
}
