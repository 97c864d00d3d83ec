package egress

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// maxResponseHead bounds all that a proxy says before the tunnel, interim responses included.
const maxResponseHead = 16 << 10

var errNotHTTP = errors.New("not an HTTP/1 response")

// readResponse reads the head of the answer to a CONNECT and no byte behind it, and returns its
// status. Interim responses are skipped.
func readResponse(r io.Reader) (status int, err error) {
	head := &headReader{from: r, left: maxResponseHead}
	for {
		status, err = head.read()
		switch {
		case err != nil:
			return 0, err
		case status == http.StatusSwitchingProtocols: // final, but no answer to a CONNECT
			return 0, fmt.Errorf("unexpected status %d", status)
		case status >= 200:
			return status, nil
		}
	}
}

// headReader reads the heads of responses line by line. It has no buffer: what is behind the last one
// must stay in the socket, for whoever takes the descriptor. So it never asks for more than the
// shortest end of a head that is still possible, which is two bytes inside a line and one behind it.
type headReader struct {
	from io.Reader
	left int // bytes that all heads together may still have
	line []byte
}

func (h *headReader) read() (status int, err error) {
	line, err := h.next()
	if err != nil {
		return 0, err
	}
	if status, err = parseStatusLine(line); err != nil {
		return 0, err
	}
	for {
		switch line, err = h.next(); {
		case err != nil:
			return 0, err
		case len(line) == 0:
			return status, nil
		case !isField(line):
			return 0, errNotHTTP
		}
	}
}

// next returns the next line without its end. It is valid until the call after.
func (h *headReader) next() ([]byte, error) {
	over := 0 // bytes of this line that came with the last one
	if i := bytes.IndexByte(h.line, '\n'); i >= 0 {
		over = copy(h.line, h.line[i+1:])
	}
	h.line = h.line[:over]
	for {
		if i := bytes.IndexByte(h.line, '\n'); i >= 0 {
			return bytes.TrimSuffix(h.line[:i], []byte("\r")), nil
		}
		want := 2
		if n := len(h.line); n == 0 || n == 1 && h.line[0] == '\r' {
			want = 1
		}
		if h.left -= want; h.left < 0 {
			return nil, fmt.Errorf("response head over %d bytes", maxResponseHead)
		}
		n := len(h.line)
		h.line = append(h.line, 0, 0)[:n+want]
		got, err := io.ReadFull(h.from, h.line[n:])
		if err != nil && (got == 0 || bytes.IndexByte(h.line[n:n+got], '\n') < 0) {
			return nil, unexpected(err)
		}
		h.line = h.line[:n+got]
	}
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// parseStatusLine reads "HTTP/1.x NNN reason", the reason being optional.
func parseStatusLine(line []byte) (int, error) {
	rest, ok := bytes.CutPrefix(line, []byte("HTTP/1."))
	if !ok || len(rest) < 5 || !isDigit(rest[0]) || rest[1] != ' ' || len(rest) > 5 && rest[5] != ' ' {
		return 0, errNotHTTP
	}
	status := 0
	for _, c := range rest[2:5] {
		if !isDigit(c) {
			return 0, errNotHTTP
		}
		status = status*10 + int(c-'0')
	}
	if status < 100 {
		return 0, errNotHTTP
	}
	return status, nil
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// isField says whether line could be a header field or the continuation of one (RFC 9112 section 5.2).
func isField(line []byte) bool {
	return line[0] == ' ' || line[0] == '\t' || bytes.IndexByte(line, ':') > 0
}
