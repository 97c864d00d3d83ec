package wire

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestHeaders(t *testing.T) {
	key := [4]byte{1, 2, 3, 4}
	cases := map[string]struct {
		header Header
		bytes  []byte
	}{
		"empty":          {Header{Final: true, Opcode: Binary}, []byte{0x82, 0}},
		"fragment":       {Header{Opcode: Binary, Length: 125}, []byte{0x02, 125}},
		"two bytes":      {Header{Final: true, Length: 126}, []byte{0x80, 126, 0, 126}},
		"two bytes full": {Header{Final: true, Length: 65535}, []byte{0x80, 126, 255, 255}},
		"eight bytes":    {Header{Final: true, Length: 65536}, []byte{0x80, 127, 0, 0, 0, 0, 0, 1, 0, 0}},
		"masked":         {Header{Final: true, Opcode: Close, Length: 2, Key: &key}, []byte{0x88, 0x82, 1, 2, 3, 4}},
	}
	for name, tc := range cases {
		if got := tc.header.Append(nil); !bytes.Equal(got, tc.bytes) {
			t.Errorf("%s: got % x, want % x", name, got, tc.bytes)
		}
		got, err := ReadHeader(bufio.NewReader(bytes.NewReader(tc.bytes)))
		if err != nil || !bytes.Equal(got.Append(nil), tc.bytes) || got.Length != tc.header.Length {
			t.Errorf("%s: read %+v, %v, want %+v", name, got, err, tc.header)
		}
		for cut := 1; cut < len(tc.bytes); cut++ {
			if _, err := ReadHeader(bufio.NewReader(bytes.NewReader(tc.bytes[:cut]))); err != io.ErrUnexpectedEOF {
				t.Errorf("%s: cut after %d: got %v, want %v", name, cut, err, io.ErrUnexpectedEOF)
			}
		}
	}
}

func TestHandshake(t *testing.T) {
	request, err := ReadHead(iotest.OneByteReader(bytes.NewReader(Request("example.com", "/echo?size=64"))))
	if err != nil {
		t.Fatal(err)
	}
	target, key, err := ParseRequest(request)
	if err != nil || target.Path != "/echo" || target.Query().Get("size") != "64" || key != Key {
		t.Errorf("got %v, %q, %v", target, key, err)
	}
	response := Response(key)
	if err := CheckResponse(response); err != nil {
		t.Error(err)
	}
	if err := CheckResponse(bytes.Replace(response, []byte("WebSocket"), []byte("Websocket"), 1)); err != nil {
		t.Errorf("as Go writes it: %v", err)
	}
	for name, bad := range map[string][]byte{
		"refused":   []byte("HTTP/1.1 502 Bad Gateway\r\n\r\n"),
		"wrong key": Response("other"),
	} {
		if CheckResponse(bad) == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// The example of RFC 6455 §1.3.
func TestAccept(t *testing.T) {
	if got, want := accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestReadHead(t *testing.T) {
	long := "GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 3000) + "\r\n\r\n"
	if got, err := ReadHead(strings.NewReader(long)); err != nil || string(got) != long {
		t.Errorf("longer than its buffer: got %d bytes, %v, want %d", len(got), err, len(long))
	}
	for name, bad := range map[string]string{
		"ends early":  "GET / HTTP/1.1\r\n",
		"has a rest":  "GET / HTTP/1.1\r\n\r\nx",
		"never ends":  strings.Repeat("x", 2*maxHead),
		"has nothing": "",
	} {
		if got, err := ReadHead(strings.NewReader(bad)); err == nil {
			t.Errorf("%s: got %q, want an error", name, got)
		}
	}
}

func TestScriptIsTheSameHoweverItIsRead(t *testing.T) {
	limits := Limits{Messages: 30, Largest: 200_000}
	want, err := io.ReadAll(NewScript(5, true, limits))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(iotest.HalfReader(NewScript(5, true, limits)))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %d other bytes, %v, want %d", len(got), err, len(want))
	}
	for name, other := range map[string]*Script{"seed": NewScript(6, true, limits), "side": NewScript(5, false, limits)} {
		if b, _ := io.ReadAll(other); bytes.Equal(b, want) {
			t.Errorf("another %s gave the same bytes", name)
		}
	}
}

// A script keeps RFC 6455's rules for fragments and control frames, or strict proxies would refuse it.
func TestScriptIsValid(t *testing.T) {
	for seed := range uint64(20) {
		for _, client := range []bool{false, true} {
			checkScript(t, seed, client, Limits{Messages: 40, Largest: 3 << 20})
		}
	}
}

func checkScript(t *testing.T, seed uint64, client bool, limits Limits) {
	t.Helper()
	r := bufio.NewReader(NewScript(seed, client, limits))
	messages, open, length, largest := 0, false, int64(0), int64(0)
	for {
		h, err := ReadHeader(r)
		if err == io.EOF {
			break
		}
		if err != nil || (h.Key != nil) != client {
			t.Fatalf("seed %d: got %+v, %v", seed, h, err)
		}
		if _, err := io.CopyN(io.Discard, r, h.Length); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		switch {
		case h.Opcode >= Close:
			if !h.Final || h.Length > 125 || h.Opcode == Close {
				t.Fatalf("seed %d: control frame %+v", seed, h)
			}
			continue
		case (h.Opcode == Continuation) != open:
			t.Fatalf("seed %d: %+v inside a message: %t", seed, h, open)
		case !open:
			length = 0
		}
		length += h.Length
		if open = !h.Final; !open {
			messages++
			largest = max(largest, length)
		}
	}
	if messages != limits.Messages || largest != limits.Largest || open {
		t.Errorf("seed %d: got %d messages, the largest of %d bytes, want %d and %d", seed, messages, largest, limits.Messages, limits.Largest)
	}
}
