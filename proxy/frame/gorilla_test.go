package frame

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"
)

// endpoint is a gorilla connection without a network: it reads what is in in and writes to out.
type endpoint struct {
	net.Conn
	in, out bytes.Buffer
	answer  bool // the handshake that was written still wants an answer
}

func (e *endpoint) Read(b []byte) (int, error) {
	if e.answer {
		e.answer = false
		e.accept()
	}
	return e.in.Read(b)
}

func (e *endpoint) Write(b []byte) (int, error)      { return e.out.Write(b) }
func (e *endpoint) Close() error                     { return nil }
func (e *endpoint) SetDeadline(time.Time) error      { return nil }
func (e *endpoint) SetReadDeadline(time.Time) error  { return nil }
func (e *endpoint) SetWriteDeadline(time.Time) error { return nil }

func (e *endpoint) accept() {
	request, err := http.ReadRequest(bufio.NewReader(&e.out))
	if err != nil {
		return // gorilla tells: it finds no answer
	}
	sum := sha1.Sum([]byte(request.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	e.in.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
		base64.StdEncoding.EncodeToString(sum[:]) + "\r\n")
	if offer := request.Header.Get("Sec-WebSocket-Extensions"); offer != "" {
		e.in.WriteString("Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n")
	}
	e.in.WriteString("\r\n")
}

type hijacker struct {
	http.ResponseWriter
	conn net.Conn
}

func (h hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, bufio.NewReadWriter(bufio.NewReader(h.conn), bufio.NewWriterSize(h.conn, 64)), nil
}

// gorilla returns an end that has its handshake behind it. A client masks what it writes, as rules say.
func gorilla(t *testing.T, rules Rules) (*websocket.Conn, *endpoint) {
	t.Helper()
	e := &endpoint{answer: rules.Masked}
	const writeBuffer = 1000 // longer messages are fragmented
	if rules.Masked {
		dialer := websocket.Dialer{
			NetDial:           func(string, string) (net.Conn, error) { return e, nil },
			EnableCompression: rules.Deflate, WriteBufferSize: writeBuffer,
		}
		conn, _, err := dialer.Dial("ws://upstream.test/", nil)
		if err != nil {
			t.Fatal(err)
		}
		e.out.Reset()
		return conn, e
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.Header = http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="}, "Sec-Websocket-Extensions": {"permessage-deflate"},
	}
	upgrader := websocket.Upgrader{EnableCompression: rules.Deflate, WriteBufferSize: writeBuffer}
	conn, err := upgrader.Upgrade(hijacker{httptest.NewRecorder(), e}, r, nil)
	if err != nil {
		t.Fatal(err)
	}
	e.out.Reset()
	return conn, e
}

func TestWhatGorillaWritesPassesAndIsCounted(t *testing.T) {
	tests := []struct {
		name  string
		rules Rules
	}{
		{"client", Rules{Masked: true}},
		{"server", Rules{}},
		{"client with deflate", Rules{Masked: true, Deflate: true}},
		{"server with deflate", Rules{Deflate: true}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			conn, e := gorilla(t, test.rules)
			want := writeTraffic(t, conn, test.rules)
			stream := e.out.Bytes()
			var got Counts
			passAll(t, test.rules, stream, &got)
			want.Bytes = uint64(len(stream))
			if got.Frames <= got.Messages()+got.Ping+got.Pong+got.CloseFrames {
				t.Errorf("got %d frames for %d messages, want some to be fragmented", got.Frames, got.Messages())
			}
			got.Frames = 0
			if test.rules.Deflate { // sizes are those of compressed payloads
				want.MessageBytes, want.Sizes = got.MessageBytes, got.Sizes
			}
			if got != want {
				t.Errorf("\n got %+v\nwant %+v", got, want)
			}
			requireSame(t, caller{rules: test.rules}, stream, 1)
		})
	}
}

// writeTraffic writes messages of many sizes with control frames inside them, and a Close. Frames and
// Bytes of what it returns are for the caller to fill in.
func writeTraffic(t *testing.T, conn *websocket.Conn, rules Rules) (want Counts) {
	t.Helper()
	r := rand.New(rand.NewPCG(7, 7))
	for i, size := range []int{0, 1, 64, 65, 125, 126, 999, 1000, 1001, 5000, 65535, 65536, 200000} {
		kind := websocket.TextMessage + i%2
		compressed := rules.Deflate && i%3 != 0
		conn.EnableWriteCompression(compressed)
		w, err := conn.NextWriter(kind)
		if err != nil {
			t.Fatal(err)
		}
		payload := make([]byte, size)
		for j := range payload {
			payload[j] = byte(r.Uint32()) // does not compress, so that it is fragmented, too
		}
		control := websocket.PingMessage + i%2
		_, err1 := w.Write(payload[:size/2])
		err2 := conn.WriteControl(control, payload[:min(size, MaxControlPayload)], time.Time{})
		_, err3 := w.Write(payload[size/2:])
		if err := errors.Join(err1, err2, err3, w.Close()); err != nil {
			t.Fatal(err)
		}
		first := byte(kind)
		if compressed {
			first |= rsv1Bit
		}
		want.message(first, uint64(size))
		want.control(Opcode(control))
	}
	if err := conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseGoingAway, "bye"), time.Time{}); err != nil {
		t.Fatal(err)
	}
	want.control(OpcodeClose)
	want.Frames = 0
	return want
}

// FuzzGorilla holds ModeStrict against another reader of the same bytes: it must refuse what gorilla
// refuses and nothing else, but for where gorilla is known to differ.
func FuzzGorilla(f *testing.F) {
	for _, test := range ruleTests {
		stream := append(frames(test.before...), test.frame.bytes()...)
		if !test.rules.Deflate && !test.rules.Lenient && len(stream) < 1000 {
			f.Add(stream, test.rules.Masked)
		}
	}
	f.Fuzz(func(t *testing.T, stream []byte, masked bool) {
		refused, comparable := strict(Rules{Masked: masked}, stream)
		if !comparable {
			return
		}
		// Whoever reads masked frames is the server.
		conn, e := gorilla(t, Rules{Masked: !masked})
		e.in.Write(stream)
		if err := readAll(conn); refused != protocolError(err) {
			t.Errorf("got refused %t, gorilla says %v", refused, err)
		}
	})
}

// strict scans up to the first Close or violation. It is not comparable where gorilla is more lenient
// (lengths in more bytes than needed, half a close code), stricter (1014, UTF-8 of the reason) or
// quicker (half a header).
func strict(rules Rules, stream []byte) (refused, comparable bool) {
	s, c := New(rules), Counts{}
	for {
		n, ev := s.Scan(stream, &c)
		stream = stream[n:]
		switch ev {
		case EventViolation:
			v := s.Violation()
			return true, v != ViolationLengthNotMinimal && v != ViolationClosePayloadOneByte
		case EventMore:
			return false, len(stream) < 2
		}
		f := ControlAt(stream)
		if f.Opcode == OpcodeClose {
			var buf [MaxControlPayload]byte
			code, reason, _ := ParseClose(f.Unmasked(&buf))
			return false, code != CloseBadGateway && utf8.Valid(reason)
		}
		stream = stream[f.Size:]
	}
}

func readAll(conn *websocket.Conn) error {
	for {
		_, r, err := conn.NextReader()
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			return err
		}
	}
}

// protocolError tells a refusal from the end of the stream and from a legal Close.
func protocolError(err error) bool {
	_, closed := errors.AsType[*websocket.CloseError](err)
	return !closed && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF)
}
