package proxy

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"golang.org/x/net/http/httpguts"

	"wsproxy/proxy/frame"
)

// FuzzRequest sends arbitrary bytes as a client's first. What reaches the upstream must be the one
// upgrade, without a body, that net/http finds in them.
func FuzzRequest(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 2*headerBytes {
			t.Skip("no more than a head is read")
		}
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.route.RejectHTTP = true // other requests stay here
			w.route.Framing = frame.ModeOff
			w.targets[0].script = agreeing
			w.start()
			p := w.send(string(data))
			client, upstream := p.String(), w.received()
			if upstream != "" {
				checkForwarded(t, data, upstream)
			}
			if upgraded := strings.Contains(client, "HTTP/1.1 101 "); upgraded != (upstream != "") {
				t.Errorf("client got %q, but upstream %q", client, upstream)
			}
			p.conn.Reset()
			synctest.Wait()
			w.settled()
		})
	})
}

// agreeing answers a handshake as a server does, whatever its key.
func agreeing(p *peer) {
	p.awaitHead()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(p.String())))
	if err != nil {
		return
	}
	answer := strings.Replace(switching(), proof, acceptKey(r.Header.Get("Sec-WebSocket-Key")), 1)
	io.WriteString(p.conn, answer)
	p.awaitEnd()
}

func checkForwarded(t *testing.T, sent []byte, got string) {
	t.Helper()
	in := bufio.NewReader(bytes.NewReader(sent))
	want := firstUpgrade(t, in)
	out := bufio.NewReader(strings.NewReader(got))
	r, err := http.ReadRequest(out)
	if err != nil {
		t.Fatalf("upstream got %q: %v", got, err)
	}
	if f := checkUpgrade(want); f != nil {
		t.Errorf("forwarded a bad upgrade: %v", f)
	}
	if f := checkUpgrade(r); f != nil {
		t.Errorf("upstream got %q: %v", got, f)
	}
	if r.RequestURI != want.URL.RequestURI() || r.Host != want.Host {
		t.Errorf("got %q at %q, want %q at %q", r.RequestURI, r.Host, want.URL.RequestURI(), want.Host)
	}
	ours := []string{"Connection", "Upgrade", "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "Content-Length"}
	h := endToEnd(want.Header)
	for _, name := range ours {
		h.Del(name)
		r.Header.Del(name)
	}
	if len(h) != len(r.Header) {
		t.Errorf("got headers %q, want %q", r.Header, h)
	}
	for name, values := range h {
		if !slices.Equal(values, r.Header[name]) {
			t.Errorf("%s: got %q, want %q", name, r.Header[name], values)
		}
	}
	early, _ := io.ReadAll(in)
	relayed, _ := io.ReadAll(out)
	if !bytes.Equal(early, relayed) {
		t.Errorf("got %q behind the head, want %q", relayed, early)
	}
}

// firstUpgrade reads as far as the first upgrade, over the requests before it.
func firstUpgrade(t *testing.T, in *bufio.Reader) *http.Request {
	t.Helper()
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			t.Fatalf("forwarded what net/http does not read: %v", err)
		}
		if isUpgrade(r) {
			return r
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			t.Fatalf("forwarded what is within a body: %v", err)
		}
	}
}

// FuzzAnswer answers a handshake with arbitrary bytes. A client gets a 101 only with the right Accept
// and only what it has offered, and otherwise a whole response.
func FuzzAnswer(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 4*headerBytes {
			t.Skip("more than the buffer holds")
		}
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.targets[0].script = replyingAndClosing(string(data))
			w.start()
			p := w.send(request("Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Extensions: permessage-deflate"))
			got := p.String()
			resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(got)), nil)
			if err != nil {
				t.Fatalf("client got %q: %v", got, err)
			}
			if resp.StatusCode == http.StatusSwitchingProtocols {
				checkSwitched(t, resp.Header)
			} else if body, err := io.ReadAll(resp.Body); err != nil || len(body) > maxBody || !p.ended() {
				t.Errorf("client got %q: %v, closed %t", got, err, p.ended())
			}
			p.conn.Reset()
			synctest.Wait()
			w.settled()
		})
	})
}

func checkSwitched(t *testing.T, h http.Header) {
	t.Helper()
	for name, values := range h {
		if !httpguts.ValidHeaderFieldName(name) || slices.ContainsFunc(values, func(v string) bool { return !httpguts.ValidHeaderFieldValue(v) }) {
			t.Errorf("got header %q: %q", name, values)
		}
	}
	if got := h["Sec-Websocket-Accept"]; len(got) != 1 || got[0] != proof {
		t.Errorf("Accept: got %q, want %s", got, proof)
	}
	if got := h["Sec-Websocket-Protocol"]; len(got) > 0 && !slices.Equal(got, []string{"chat"}) {
		t.Errorf("subprotocol: got %q, want chat or none", got)
	}
	for _, name := range extensionNames(h) {
		if name != "permessage-deflate" {
			t.Errorf("extension: got %q, want permessage-deflate or none", name)
		}
	}
}
