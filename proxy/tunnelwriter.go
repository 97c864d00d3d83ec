package proxy

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"time"
)

// tunnelWriter answers a request that came through a tunnel. It is the last one there: the answer ends
// with the connection, or the connection is taken over.
type tunnelWriter struct {
	conn   net.Conn
	early  []byte // what came behind the request
	ahead  *ahead // looks whether the client is still there; nil: nobody does
	header http.Header
	wrote  bool
}

func newTunnelWriter(conn net.Conn, early []byte) *tunnelWriter {
	return &tunnelWriter{conn: conn, early: early, header: make(http.Header)}
}

// Header implements http.ResponseWriter.
func (w *tunnelWriter) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *tunnelWriter) WriteHeader(status int) {
	if w.wrote {
		return
	}
	w.wrote = true
	var b bytes.Buffer
	writeHead(&b, fmt.Sprintf("HTTP/1.1 %d %s", status, http.StatusText(status)), w.header)
	w.conn.SetWriteDeadline(time.Now().Add(headTimeout))
	w.conn.Write(b.Bytes()) // the client may be gone; there is nobody else to tell
}

// Write implements http.ResponseWriter.
func (w *tunnelWriter) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.conn.Write(b)
}

// attend has gone called if the client leaves before it has its answer, until leave.
func (w *tunnelWriter) attend(gone context.CancelCauseFunc) { w.ahead = readAhead(w.conn, gone) }

// leave keeps what the client has said meanwhile.
func (w *tunnelWriter) leave() {
	if w.ahead != nil {
		w.early = append(w.early, w.ahead.stop()...)
		w.ahead = nil
	}
}

// Hijack implements http.Hijacker.
func (w *tunnelWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.leave()
	r := bufio.NewReaderSize(bytes.NewReader(w.early), max(len(w.early), 16))
	r.Peek(len(w.early)) // so that they are buffered
	return w.conn, bufio.NewReadWriter(r, bufio.NewWriterSize(w.conn, 16)), nil
}
