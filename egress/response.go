package egress

import (
	"bufio"
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
// status. Interim responses are skipped. r's buffer holds maxResponseHead bytes.
func readResponse(r *bufio.Reader) (status int, err error) {
	left := maxResponseHead
	for {
		status, err = readHead(r, &left)
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

func readHead(r *bufio.Reader, left *int) (status int, err error) {
	line, err := readLine(r, left)
	if err != nil {
		return 0, err
	}
	if status, err = parseStatusLine(line); err != nil {
		return 0, err
	}
	for {
		switch line, err = readLine(r, left); {
		case err != nil:
			return 0, err
		case len(line) == 0:
			return status, nil
		case !isField(line):
			return 0, errNotHTTP
		}
	}
}

func readLine(r *bufio.Reader, left *int) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	*left -= len(line)
	switch {
	case errors.Is(err, bufio.ErrBufferFull) || *left < 0:
		return nil, fmt.Errorf("response head over %d bytes", maxResponseHead)
	case errors.Is(err, io.EOF):
		return nil, io.ErrUnexpectedEOF
	case err != nil:
		return nil, err
	}
	return bytes.TrimSuffix(line[:len(line)-1], []byte("\r")), nil
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
