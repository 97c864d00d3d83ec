package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"wsproxy/lifecycle"
	"wsproxy/proxy/relay"
)

// inbound is a client's connection as net/http sees it. It has a record for the request that is awaited
// or being read, and knows how reading it ended when net/http gives up on it without calling a handler.
type inbound struct {
	net.Conn // the socket, or TLS above it
	listener *listener
	socket   *relay.Conn

	mu      sync.Mutex
	record  *lifecycle.Connection // of the request being read, nil between requests
	request *lifecycle.Step
	ctx     context.Context // of the request step; carries values only
	readErr error
	status  int // net/http's own refusal
}

func newInbound(l *listener, c *relay.Conn) *inbound {
	in := &inbound{Conn: c, listener: l, socket: c}
	in.record = l.server.Registry.Open(c.RemoteAddr().String(), time.Now())
	in.ctx = lifecycle.NewContext(context.Background(), in.record)
	return in
}

// awaitRequest begins the request phase.
func (in *inbound) awaitRequest(at time.Time) {
	in.ctx, in.request = in.record.Begin(in.ctx, &lifecycle.Step{Phase: lifecycle.PhaseRequest, Begun: at})
}

// active is called when a request's first byte was read. The first request of a connection has its
// record since accept, later ones get theirs now.
func (in *inbound) active() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.record != nil {
		return
	}
	now := time.Now()
	in.record = in.listener.server.Registry.Open(in.RemoteAddr().String(), now)
	in.ctx = lifecycle.NewContext(context.Background(), in.record)
	in.awaitRequest(now)
}

// take hands the record over to the handler of a request whose head is complete.
func (in *inbound) take() *lifecycle.Connection {
	in.mu.Lock()
	defer in.mu.Unlock()
	record := in.record
	in.request.End(in.ctx, nil)
	in.record, in.request = nil, nil
	return record
}

// Read notes why net/http could not read a request.
func (in *inbound) Read(b []byte) (int, error) {
	n, err := in.Conn.Read(b)
	if err != nil {
		in.mu.Lock()
		in.readErr = err
		in.mu.Unlock()
	}
	return n, err
}

// Write passes on what handlers write. What net/http writes by itself, before any handler was called,
// is its refusal of a bad request head: the client gets ours instead.
func (in *inbound) Write(b []byte) (int, error) {
	in.mu.Lock()
	reading := in.request != nil
	if reading && in.status == 0 {
		in.status = statusOf(b)
	}
	in.mu.Unlock()
	if reading {
		return len(b), nil
	}
	return in.Conn.Write(b)
}

// statusOf reads the status of a response, 400 if it can't be read.
func statusOf(b []byte) int {
	line, _, _ := bytes.Cut(b, []byte("\r\n"))
	if fields := bytes.Fields(line); len(fields) > 1 {
		if n, err := strconv.Atoi(string(fields[1])); err == nil {
			return n
		}
	}
	return 400
}

// Close ends the connection and, if a request was being read, tells what became of it.
func (in *inbound) Close() error {
	in.mu.Lock()
	record, request, ctx := in.record, in.request, in.ctx
	in.record, in.request = nil, nil
	in.mu.Unlock()
	switch {
	case record == nil:
	case request == nil: // closed before its turn came
		record.Unused()
	default:
		in.requestFailed(ctx, record, request)
	}
	return in.Conn.Close()
}

func (in *inbound) requestFailed(ctx context.Context, record *lifecycle.Connection, request *lifecycle.Step) {
	if !in.socket.Used() {
		request.End(ctx, lifecycle.Fail(lifecycle.ReasonClientGone, errors.New("left without a byte")))
		record.Unused()
		return
	}
	f, _ := errors.AsType[*lifecycle.Failure](request.End(ctx, in.headError()))
	status := 0
	if f.Reason != lifecycle.ReasonClientGone {
		status = statusFor(f)
		in.Conn.SetWriteDeadline(time.Now().Add(refusalTimeout))
		writeRefusal(in.Conn, record, f, status)
	}
	record.Failed(f, status)
}

// headError is why no complete request head came.
func (in *inbound) headError() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch err := in.readErr; {
	case in.status == 431:
		return lifecycle.Fail(lifecycle.ReasonHeadersTooLarge, nil)
	case in.status != 0:
		return lifecycle.Failf(lifecycle.ReasonRequestInvalid, "not a valid HTTP request (status %d)", in.status)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return err
	case err != nil && !errors.Is(err, net.ErrClosed):
		return lifecycle.Fail(lifecycle.ReasonClientGone, err)
	}
	return lifecycle.Fail(lifecycle.ReasonCanceled, errors.New("the proxy is shutting down"))
}

// tlsFailed ends a connection whose TLS handshake failed.
func (in *inbound) tlsFailed(err error) {
	record := in.record
	in.record = nil
	f, _ := errors.AsType[*lifecycle.Failure](err)
	if !in.socket.Used() && f.Reason == lifecycle.ReasonClientGone {
		record.Unused()
	} else {
		record.Failed(f, 0)
	}
	in.socket.Close()
}

// CloseWrite is for net/http, which half-closes before it closes after a refusal.
func (in *inbound) CloseWrite() error {
	if w, ok := in.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return io.ErrClosedPipe
}
