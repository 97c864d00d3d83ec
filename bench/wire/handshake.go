package wire

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/url"
)

const (
	// Key is the Sec-WebSocket-Key of every client here: nothing depends on its being random.
	Key = "d3MgcHJveHkgYmVuY2hlcw=="

	acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" // RFC 6455 §1.3
	maxHead    = 8 << 10
)

// Request is a client's handshake.
func Request(host, path string) []byte {
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n", path, host, Key)
}

// Response is the server's answer to a handshake with this key.
func Response(key string) []byte {
	return fmt.Appendf(nil, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: %s\r\n\r\n", accept(key))
}

func accept(key string) string {
	sum := sha1.Sum([]byte(key + acceptGUID))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// ReadHead reads a request's or response's head, up to its empty line. Nothing may follow it at once: no
// end here speaks before its turn.
func ReadHead(r io.Reader) ([]byte, error) {
	head := make([]byte, 0, 1<<10)
	for {
		n, err := r.Read(head[len(head):cap(head)])
		head = head[:len(head)+n]
		end := bytes.Index(head, []byte("\r\n\r\n"))
		switch {
		case end >= 0 && end+4 < len(head):
			return nil, fmt.Errorf("%d bytes came right behind the head", len(head)-end-4)
		case end >= 0:
			return head, nil
		case err != nil:
			return nil, fmt.Errorf("read head: %w", unexpected(err))
		case len(head) >= maxHead:
			return nil, errors.New("head is too long")
		}
		head = append(head, 0)[:len(head)] // grows when full
	}
}

// CheckResponse holds a response's head against the handshake with Key.
func CheckResponse(head []byte) error {
	status, _, _ := bytes.Cut(head, []byte("\r\n"))
	if !bytes.HasPrefix(status, []byte("HTTP/1.1 101")) {
		return fmt.Errorf("answered %q, want 101", status)
	}
	if got, want := field(head, "Sec-WebSocket-Accept"), accept(Key); got != want {
		return fmt.Errorf("Sec-WebSocket-Accept is %q, want %q", got, want)
	}
	return nil
}

// ParseRequest finds what a server needs in a request's head.
func ParseRequest(head []byte) (target *url.URL, key string, err error) {
	line, _, _ := bytes.Cut(head, []byte("\r\n"))
	parts := bytes.Split(line, []byte(" "))
	if len(parts) != 3 {
		return nil, "", fmt.Errorf("not a request: %q", line)
	}
	if target, err = url.ParseRequestURI(string(parts[1])); err != nil {
		return nil, "", err
	}
	if key = field(head, "Sec-WebSocket-Key"); key == "" {
		return nil, "", errors.New("no Sec-WebSocket-Key")
	}
	return target, key, nil
}

// field finds a header in a head. Proxies in Go write names in their own case.
func field(head []byte, name string) string {
	for line := range bytes.SplitSeq(head, []byte("\r\n")) {
		n, value, _ := bytes.Cut(line, []byte(":"))
		if bytes.EqualFold(n, []byte(name)) {
			return string(bytes.TrimSpace(value))
		}
	}
	return ""
}
