package egress

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"testing/iotest"
	"time"

	"wsproxy/lifecycle"
)

// FuzzConnectResponse: an answer is read to its end and no further, in pieces as at once, and is
// never longer than it may be.
func FuzzConnectResponse(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\n\r\nearly"))
	f.Add([]byte("HTTP/1.0 407 Proxy Authentication Required\nProxy-Authenticate: Basic realm=\"x\"\n\n"))
	f.Add([]byte("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 \r\na: b\r\n c\r\n\r\n\x81\x05hello"))
	f.Add([]byte("SSH-2.0-OpenSSH\r\n"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		r := bytes.NewReader(answer)
		status, err := readResponse(r)
		if pieces, pieceErr := readResponse(iotest.OneByteReader(bytes.NewReader(answer))); pieces != status || (pieceErr == nil) != (err == nil) {
			t.Errorf("in pieces got %d, %v, want %d, %v", pieces, pieceErr, status, err)
		}
		if err != nil {
			if status != 0 {
				t.Errorf("got status %d with %v, want none", status, err)
			}
			return
		}
		rest, _ := io.ReadAll(r)
		head := answer[:len(answer)-len(rest)]
		if !bytes.HasSuffix(answer, rest) || !bytes.HasSuffix(head, []byte("\n")) {
			t.Errorf("got rest %q of %q, want all behind an empty line", rest, answer)
		}
		if status < 200 || status > 999 || len(head) > maxResponseHead {
			t.Errorf("got status %d in %d bytes, want a final one in at most %d", status, len(head), maxResponseHead)
		}
	})
}

// FuzzSOCKSReply: whatever a proxy says, the dial ends, with a reason of the proxy phase or with a
// tunnel whose first byte is the one behind the reply.
func FuzzSOCKSReply(f *testing.F) {
	for _, answer := range []string{
		socksOpen + socksGranted, socksLoggedIn + socksGranted + "early", "\x05\xff", socksLogin + "\x01\x01",
		socksOpen + "\x05\x05\x00\x01\x00\x00\x00\x00\x00\x00", socksOpen + "\x05\x00\x00\x03\x04here\x00\x50early",
	} {
		f.Add([]byte(answer), true)
		f.Add([]byte(answer), false)
	}
	f.Fuzz(func(t *testing.T, answer []byte, login bool) {
		conn := &scriptedConn{answer: bytes.NewReader(answer)}
		d := &socksDialer{address: "192.0.2.1:1080", forward: opened{conn}}
		if login {
			d.username, d.password = "alice", secret
		}
		tunnel, err := d.DialContext(context.Background(), "tcp", "chat.test:80")
		if err == nil {
			if tunnel != net.Conn(conn) {
				t.Errorf("got %T, want the socket itself", tunnel)
			}
			heard := answer[:len(answer)-conn.answer.Len()]
			unoffered := heard[1] == socksPassword && !login // and never asked for either: forgiven
			if !unoffered && socksReason(heard[:min(len(heard), 6)], login) != lifecycle.ReasonNone {
				t.Errorf("got a tunnel from %x, want none", heard)
			}
			return
		}
		if !conn.closed {
			t.Errorf("got an open socket after %v, want it closed", err)
		}
		if failure, ok := errors.AsType[*lifecycle.Failure](err); ok && !slices.Contains(lifecycle.Reasons(lifecycle.PhaseProxy), failure.Reason) {
			t.Errorf("got reason %s, want one of the proxy phase", failure.Reason)
		}
		if bytes.Contains([]byte(err.Error()), []byte(secret)) {
			t.Errorf("got the password in %q", err)
		}
	})
}

// scriptedConn answers, whatever it is told.
type scriptedConn struct {
	answer *bytes.Reader
	closed bool
}

func (c *scriptedConn) Read(p []byte) (int, error)       { return c.answer.Read(p) }
func (c *scriptedConn) Write(p []byte) (int, error)      { return len(p), nil }
func (c *scriptedConn) Close() error                     { c.closed = true; return nil }
func (c *scriptedConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *scriptedConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *scriptedConn) SetDeadline(time.Time) error      { return nil }
func (c *scriptedConn) SetReadDeadline(time.Time) error  { return nil }
func (c *scriptedConn) SetWriteDeadline(time.Time) error { return nil }
