//go:build e2e

package e2e

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"testing"

	coder "github.com/coder/websocket"
	"github.com/gorilla/websocket"
)

// talkSizes are on both sides of every length that a frame tells in another way.
var talkSizes = []int{0, 1, 125, 126, 1000, 65535, 65536, 1 << 20}

// clients has clients of four makers talk to servers of three, in the clear and through TLS, compressed,
// and wants the numbers that they saw.
func (h *house) clients(t *testing.T) {
	s := h.newSettings(t)
	makers := []string{"gorilla"}
	e := startEcho(t, h)
	servers := map[string]server{"gorilla": {e.plain, e.secure}}
	talkers := map[string]func(*testing.T, *wsproxy, string) talk{"gorilla": h.gorillaTalk, "coder": h.coderTalk}
	for _, p := range []peer{python, node} {
		if h.missing(t, append(p.needs, p.program)...) {
			continue
		}
		servers[p.name] = h.startServer(t, p)
		makers = append(makers, p.name)
		talkers[p.name] = func(t *testing.T, w *wsproxy, path string) talk { return h.talk(t, p, w.url(path), talkSizes) }
	}
	for _, m := range makers {
		s.route(m, nil, "ws://"+servers[m].plain)
		s.route(m+"-tls", object{"tls": s.trust()}, "wss://"+servers[m].secure)
	}
	w := h.serve(t, s)
	for _, m := range makers {
		for _, route := range []string{m, m + "-tls"} {
			sent := 0
			for _, client := range append(makers, "coder") {
				path := "/" + route + "/" + client
				t.Run(client+" to "+route, func(t *testing.T) {
					seen := talkers[client](t, w, path)
					h.checkTalk(t, w, path, seen)
					sent += seen.Sent
				})
			}
			for _, direction := range []string{"upstream", "downstream"} {
				labels := []string{"wsproxy_route_name", route, "wsproxy_direction", direction}
				h.stack.prometheus.want(t, "sum("+w.of("wsproxy_messages_total", labels...)+")", float64(sent))
				h.stack.prometheus.want(t, "sum("+w.of("wsproxy_message_size_bytes_count", labels...)+")", float64(sent))
			}
		}
	}
	for _, l := range complaints(w.log(t)) {
		t.Errorf("wsproxy complains: %s", l)
	}
}

// url is where a client finds a path: routes whose name ends in -tls are for clients with TLS.
func (w *wsproxy) url(path string) string {
	if strings.Contains(path, "-tls/") {
		return "wss://" + strings.Replace(w.tls, "127.0.0.1", "localhost", 1) + path
	}
	return "ws://" + w.plain + path
}

// checkTalk holds the trace of a conversation against what its client saw.
func (h *house) checkTalk(t *testing.T, w *wsproxy, path string, seen talk) {
	t.Helper()
	if want := 2 * len(talkSizes); seen.Sent != want || seen.Received != want {
		t.Errorf("the client sent %d and received %d messages, want %d", seen.Sent, seen.Received, want)
	}
	if seen.Code != 1000 || seen.Subprotocol != subprotocol || !strings.HasPrefix(seen.Extensions, "permessage-deflate") {
		t.Errorf("the client saw %+v", seen)
	}
	trace := h.stack.jaeger.await(t, w.traceOf(t, func(l line) bool { return l.Path == path }), spansNamed(spanUpgrade, spanTransfer, spanClose))
	root, end := trace.root(), trace.span(spanClose)
	for _, key := range []string{"wsproxy.total.upstream.messages", "wsproxy.total.downstream.messages"} {
		wantNumber(t, end, key, int64(seen.Sent))
	}
	for _, want := range []struct {
		span       *span
		key, value string
	}{
		{root, "wsproxy.websocket.subprotocol", subprotocol},
		{root, "wsproxy.websocket.extensions", "permessage-deflate"},
		{end, "wsproxy.close.cause", "client_close"},
	} {
		if got := want.span.text(want.key); got != want.value {
			t.Errorf("got %s %q, want %q", want.key, got, want.value)
		}
	}
	checkTimes(t, trace)
}

// talkMessages are two of each size.
func talkMessages(yield func(kind int, payload []byte) bool) {
	for _, size := range talkSizes {
		if !yield(websocket.TextMessage, bytes.Repeat([]byte("x"), size)) {
			return
		}
		noise := make([]byte, size)
		for i := range noise {
			noise[i] = byte(i * i % 251)
		}
		if !yield(websocket.BinaryMessage, noise) {
			return
		}
	}
}

func (h *house) gorillaTalk(t *testing.T, w *wsproxy, path string) talk {
	t.Helper()
	c := h.open(t, w, path, request{secure: strings.Contains(path, "-tls/"), compress: true, subprotocols: []string{subprotocol}})
	talkMessages(func(kind int, payload []byte) bool {
		c.talk(t, kind, payload)
		return true
	})
	c.leave(t, 1000)
	return talk{Sent: c.sent, Received: c.received, Subprotocol: c.Subprotocol(), Extensions: c.extensions, Code: 1000}
}

func (h *house) coderTalk(t *testing.T, w *wsproxy, path string) talk {
	t.Helper()
	options := &coder.DialOptions{
		HTTPClient:      &http.Client{Transport: &http.Transport{TLSClientConfig: h.clientTLS(), DisableKeepAlives: true}},
		Subprotocols:    []string{subprotocol},
		CompressionMode: coder.CompressionContextTakeover,
	}
	ctx := t.Context()
	c, resp, err := coder.Dial(ctx, w.url(path), options)
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	c.SetReadLimit(-1)
	seen := talk{Subprotocol: c.Subprotocol(), Extensions: resp.Header.Get("Sec-WebSocket-Extensions"), Code: 1000}
	talkMessages(func(kind int, payload []byte) bool {
		err := c.Write(ctx, coder.MessageType(kind), payload)
		if err == nil {
			seen.Sent++
			var back []byte
			if _, back, err = c.Read(ctx); err == nil && !bytes.Equal(back, payload) {
				err = errors.New("another message came back")
			}
		}
		if err != nil {
			t.Error(err)
			return false
		}
		seen.Received++
		return true
	})
	if err := c.Close(coder.StatusNormalClosure, ""); err != nil {
		t.Errorf("close: %v", err)
	}
	return seen
}
