package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"

	"wsproxy/lifecycle"
)

// isUpgrade reports whether a request asks for a WebSocket, well or badly.
func isUpgrade(r *http.Request) bool { return hasToken(r.Header["Upgrade"], "websocket") }

// checkUpgrade holds a request against RFC 6455 §4.1, and against smuggling: a body, which an upgrade
// has no use for, might be read as the next request by someone behind us.
func checkUpgrade(r *http.Request) *lifecycle.Failure {
	bad := func(format string, args ...any) *lifecycle.Failure {
		return lifecycle.Failf(lifecycle.ReasonRequestInvalid, format, args...)
	}
	switch {
	case r.Method != http.MethodGet:
		return bad("method %s, want GET", r.Method)
	case !r.ProtoAtLeast(1, 1):
		return bad("%s, want HTTP/1.1", r.Proto)
	case !hasToken(r.Header["Connection"], "upgrade"):
		return bad("no Connection: Upgrade")
	case len(r.TransferEncoding) > 0 || r.ContentLength != 0:
		return bad("an upgrade with a body")
	case len(r.Header["Expect"]) > 0:
		return bad("an upgrade with Expect")
	case r.Host == "" || !httpguts.ValidHostHeader(r.Host): // net/http has not judged the one of an absolute-form target
		return bad("no valid host")
	case !strings.HasPrefix(r.URL.RequestURI(), "/"):
		return bad("a target without a path")
	}
	if v := r.Header["Sec-Websocket-Version"]; len(v) == 0 {
		return bad("no Sec-WebSocket-Version")
	} else if len(v) > 1 || v[0] != "13" {
		f := bad("Sec-WebSocket-Version %q, want 13", v)
		f.Status = http.StatusUpgradeRequired
		return f
	}
	keys := r.Header["Sec-Websocket-Key"]
	if len(keys) != 1 {
		return bad("%d Sec-WebSocket-Key headers, want one", len(keys))
	}
	if key, err := base64.StdEncoding.DecodeString(keys[0]); err != nil || len(key) != 16 {
		return bad("Sec-WebSocket-Key is not 16 bytes in base64")
	}
	return nil
}

// requestHead is the handshake as it goes to the upstream; releaseHead takes it back.
func (s *Server) requestHead(ctx context.Context, r *http.Request, v *visit, host string) *bytes.Buffer {
	h := endToEnd(r.Header)
	h.Del("Content-Length")
	v.origin.forward(h, r)
	v.request(h)
	if s.Propagator != nil {
		s.Propagator.Inject(ctx, h)
	}
	h.Set("Connection", "Upgrade")
	h.Set("Upgrade", "websocket")
	b := heads.Get().(*bytes.Buffer)
	b.Reset()
	writeHead(b, "GET "+r.URL.RequestURI()+" HTTP/1.1\r\nHost: "+oneLine.Replace(host), h)
	return b
}

// heads are buffers for a request or response head, answers those that an upstream's answer is read
// through. What is kept of it is copied.
var (
	heads   = sync.Pool{New: func() any { return bytes.NewBuffer(make([]byte, 0, 1<<10)) }}
	answers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 4<<10) }}
)

// headKept is the largest buffer that is worth keeping.
const headKept = 16 << 10

func releaseHead(b *bytes.Buffer) {
	if b.Cap() <= headKept {
		heads.Put(b)
	}
}

// answer is an upstream's response to the handshake.
type answer struct {
	*http.Response
	early []byte // what came right behind a 101
	body  []byte // of any other response, at most maxBody
}

// maxBody is how much of the body of a refusal is passed on.
const maxBody = 64 << 10

// bodyTimeout is how long it may take to come. One that never ends, as of a stream of events, is cut.
const bodyTimeout = 2 * time.Second

// maxInterim is how many 1xx responses may come before the final one.
const maxInterim = 8

// exchange sends the handshake and reads the answer. ctx bounds both.
func exchange(ctx context.Context, conn net.Conn, r *http.Request, head []byte) (*answer, error) {
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := conn.Write(head); err != nil {
		return nil, fmt.Errorf("write handshake: %w", err)
	}
	a, err := readAnswer(conn, r)
	if err != nil {
		return nil, fmt.Errorf("read handshake response: %w", err)
	}
	if a.StatusCode != http.StatusSwitchingProtocols {
		return a, nil // its connection has no further use
	}
	if !stop() { // too late: the deadline is set, or about to be
		return nil, context.Cause(ctx)
	}
	return a, conn.SetDeadline(time.Time{})
}

func readAnswer(conn net.Conn, r *http.Request) (*answer, error) {
	source := &noted{Reader: conn}
	limited := &io.LimitedReader{R: source, N: headerBytes}
	br := answers.Get().(*bufio.Reader)
	br.Reset(limited)
	defer func() {
		br.Reset(nil)
		answers.Put(br)
	}()
	for range maxInterim {
		resp, err := http.ReadResponse(br, r)
		if err != nil {
			return nil, headError(limited, source.err, err)
		}
		if resp.StatusCode == http.StatusSwitchingProtocols {
			early, _ := br.Peek(br.Buffered())
			return &answer{Response: resp, early: slices.Clone(early)}, nil
		}
		if resp.StatusCode >= 200 {
			limited.N = maxBody + int64(headerBytes)
			defer time.AfterFunc(bodyTimeout, func() { conn.SetReadDeadline(time.Unix(1, 0)) }).Stop()
			body, _ := io.ReadAll(io.LimitReader(resp.Body, maxBody)) // a body cut short is still an answer
			resp.Body = http.NoBody                                   // br is another's now
			return &answer{Response: resp, body: body}, nil
		}
	}
	return nil, lifecycle.Failf(lifecycle.ReasonBadUpgradeResponse, "more than %d interim responses", maxInterim)
}

// noted keeps the error that its reader ended with: net/http takes half a status line for a whole one.
type noted struct {
	io.Reader
	err error
}

func (n *noted) Read(b []byte) (int, error) {
	read, err := n.Reader.Read(b)
	n.err = err
	return read, err
}

// headError tells a head that is over the limit, one that ended early and one that is wrong.
func headError(l *io.LimitedReader, ended, err error) error {
	switch {
	case ended != nil:
		return ended
	case l.N > 0:
		return err
	}
	return lifecycle.Failf(lifecycle.ReasonBadUpgradeResponse, "response head is over %d bytes", headerBytes)
}

// agreement is what the handshake settled.
type agreement struct {
	subprotocol string
	extensions  string
	deflate     bool
	other       bool // another extension than permessage-deflate
}

// check holds a 101 against RFC 6455 §4.1: the key's proof, and nothing that was not offered.
func (a *answer) check(r *http.Request) (agreement, error) {
	bad := func(format string, args ...any) (agreement, error) {
		f := lifecycle.Failf(lifecycle.ReasonBadUpgradeResponse, format, args...)
		f.Status = a.StatusCode
		return agreement{}, f
	}
	h := a.Header
	switch {
	case !wellFormed(h):
		return bad("a malformed header in the 101")
	case !hasToken(h["Upgrade"], "websocket"):
		return bad("no Upgrade: websocket in the 101")
	case !hasToken(h["Connection"], "upgrade"):
		return bad("no Connection: Upgrade in the 101")
	case len(h["Sec-Websocket-Accept"]) != 1 || h["Sec-Websocket-Accept"][0] != acceptKey(r.Header.Get("Sec-Websocket-Key")):
		return bad("wrong Sec-WebSocket-Accept")
	}
	var got agreement
	if p := h["Sec-Websocket-Protocol"]; len(p) > 1 || len(p) == 1 && !slices.Contains(tokens(r.Header["Sec-Websocket-Protocol"]), p[0]) {
		return bad("subprotocol was not offered")
	} else if len(p) == 1 {
		got.subprotocol = p[0]
	}
	offered := extensionNames(r.Header)
	for _, name := range extensionNames(h) {
		if !slices.Contains(offered, name) {
			return bad("extension was not offered")
		}
		if name == "permessage-deflate" {
			got.deflate = true
		} else {
			got.other = true
		}
	}
	got.extensions = strings.Join(extensionNames(h), ", ")
	return got, nil
}

// acceptGUID is from RFC 6455 §1.3.
const acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + acceptGUID))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// extensionNames are the names in Sec-WebSocket-Extensions, without parameters. A comma inside a quoted
// parameter is none of ours to find: no registered extension has such a parameter.
func extensionNames(h http.Header) []string {
	var names []string
	for _, t := range tokens(h["Sec-Websocket-Extensions"]) {
		name, _, _ := strings.Cut(t, ";")
		names = append(names, strings.ToLower(strings.TrimSpace(name)))
	}
	return names
}

// responseHead is the 101 as it goes to the client; releaseHead takes it back. Nobody needs the answer's
// own headers any more.
func (a *answer) responseHead(extra http.Header, v *visit) *bytes.Buffer {
	h := a.Header
	dropHop(h)
	h.Del("Content-Length")
	v.response(h)
	h.Set("Connection", "Upgrade")
	h.Set("Upgrade", "websocket")
	for name, values := range extra {
		h[name] = append(h[name], values...)
	}
	b := heads.Get().(*bytes.Buffer)
	b.Reset()
	writeHead(b, "HTTP/1.1 101 Switching Protocols", h)
	return b
}

// pass answers the client with what the upstream answered instead of a 101.
func (a *answer) pass(w http.ResponseWriter, v *visit) {
	h := w.Header()
	maps.Copy(h, endToEnd(a.Header))
	v.response(h)
	h.Del("Content-Length") // the body may have been cut
	if h["Content-Type"] == nil {
		h["Content-Type"] = nil // or net/http would guess one
	}
	h.Set("Connection", "close")
	w.WriteHeader(a.StatusCode)
	w.Write(a.body)
}
