package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
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
	seat     *seat              // nil until there was room
	tls      *lifecycle.TLSInfo // nil if plain
	client   net.Addr           // as a PROXY header told it; nil: the socket's peer
	local    net.Addr           // likewise

	ahead []byte // was read to see what the client speaks, and is to be read again

	mu      sync.Mutex
	record  *lifecycle.Connection // of the request being read, nil between requests
	request *lifecycle.Step
	ctx     context.Context // of the request step; carries values only
	between bool            // a request was answered and nothing was seen of the next
	heard   bool            // something of the request has come
	readErr error
	status  int  // net/http's own refusal
	refused bool // what it was answered ends the connection
	closed  bool
	evicted bool // its place was needed for another client
}

func newInbound(l *listener, c *relay.Conn) *inbound {
	in := &inbound{Conn: c, listener: l, socket: c}
	if !l.ProxyProtocol { // else it is yet to be told whose record it is
		in.open(time.Now())
	}
	return in
}

// open makes a record for the next request.
func (in *inbound) open(at time.Time) {
	in.record = in.listener.server.Registry.Open(in.RemoteAddr().String(), at)
	in.ctx = lifecycle.NewContext(context.Background(), in.record)
	in.between = false
	if in.tls != nil {
		in.record.Update(func(f *lifecycle.Facts) { f.ClientTLS = in.tls })
	}
}

// awaitRequest begins the request phase.
func (in *inbound) awaitRequest(at time.Time) {
	in.ctx, in.request = in.record.Begin(in.ctx, &lifecycle.Step{Phase: lifecycle.PhaseRequest, Begun: at})
}

// next is called at the first that is seen of a request behind another one.
func (in *inbound) next() {
	now := time.Now()
	in.open(now)
	in.awaitRequest(now)
}

// idle is called when a request was answered. The next one gets its record with its first byte.
func (in *inbound) idle() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.between, in.heard, in.readErr, in.status = true, false, nil, 0
}

// take hands the record over to the handler of a request whose head is complete. It is nil if the
// connection was closed meanwhile.
func (in *inbound) take() *lifecycle.Connection {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return nil
	}
	if in.record == nil { // it came in one piece with the request before
		in.next()
	}
	record := in.record
	in.request.End(in.ctx, nil)
	in.record, in.request = nil, nil
	return record
}

// Read notes when a request begins, and why net/http could not read on.
func (in *inbound) Read(b []byte) (int, error) {
	n, err := in.read(b)
	in.mu.Lock()
	defer in.mu.Unlock()
	if n > 0 {
		if in.between {
			in.next()
		}
		in.heard = true
	}
	if err != nil {
		in.readErr = err
	}
	return n, err
}

func (in *inbound) read(b []byte) (int, error) {
	if len(in.ahead) == 0 {
		return in.Conn.Read(b)
	}
	n := copy(b, in.ahead)
	in.ahead = in.ahead[n:]
	return n, nil
}

// Write passes on what handlers write. What net/http writes by itself, before any handler was called,
// is its refusal of a bad request head: the client gets ours instead.
func (in *inbound) Write(b []byte) (int, error) {
	in.mu.Lock()
	if in.between { // of a bad head that came in one piece with the request before
		in.next()
		in.heard = true
	}
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

// refuse says that what the handler answers is a refusal, behind which the connection ends.
func (in *inbound) refuse() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.refused = true
}

// Close ends the connection and, if a request was being read, tells what became of it.
func (in *inbound) Close() error {
	in.giveUp()
	in.mu.Lock()
	lingers := in.refused && !in.closed
	in.closed = true
	in.mu.Unlock()
	if lingers && !in.listener.server.isClosed() {
		in.linger()
	}
	err := in.Conn.Close()
	if in.seat != nil {
		in.seat.leave()
	}
	return err
}

// evict ends the connection for want of room: at once if it has its answer, else by the deadline that
// it would have met later.
func (in *inbound) evict(answered bool) {
	if answered {
		in.socket.Close()
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.evicted = true
	in.socket.SetReadDeadline(past)
}

// admit gives the client of a complete request head what its request needs, if there is room.
func (in *inbound) admit(descriptors int, connection bool) bool {
	admitted := in.seat.admit(descriptors, connection)
	in.mu.Lock()
	defer in.mu.Unlock()
	return admitted && !in.evicted // as its head came in
}

// past is a deadline that is over.
var past = time.Unix(1, 0)

// SetReadDeadline keeps net/http from giving an evicted client more time.
func (in *inbound) SetReadDeadline(t time.Time) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.evicted {
		t = past
	}
	return in.Conn.SetReadDeadline(t)
}

// CloseWrite is for net/http, which half-closes before it closes after a refusal.
func (in *inbound) CloseWrite() error {
	in.giveUp()
	if w, ok := in.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}

// linger reads for a moment what the client still sends: a socket that is closed with unread bytes is
// reset, and then the client may never read its answer.
func (in *inbound) linger() {
	in.seat.linger()
	linger(in.Conn)
}

func linger(c net.Conn) {
	if w, ok := c.(interface{ CloseWrite() error }); ok {
		w.CloseWrite()
	}
	c.SetReadDeadline(time.Now().Add(refusalTimeout))
	io.CopyN(io.Discard, c, lingerBytes)
}

// giveUp ends the request that is being read, if there is one.
func (in *inbound) giveUp() {
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
}

func (in *inbound) requestFailed(ctx context.Context, record *lifecycle.Connection, request *lifecycle.Step) {
	why, heard := in.headError()
	if !heard {
		request.End(ctx, lifecycle.Fail(lifecycle.ReasonClientGone, errors.New("left without a byte")))
		record.Unused()
		return
	}
	f := failure(request.End(ctx, why))
	status := 0
	if f.Reason != lifecycle.ReasonClientGone {
		status = statusFor(f)
		if f.Reason != lifecycle.ReasonConnectionLimit { // its room is wanted at once
			in.refuse()
		}
		in.Conn.SetWriteDeadline(time.Now().Add(refusalTimeout))
		in.listener.server.writeRefusal(in.Conn, record, f, status)
	}
	record.Failed(f, status)
}

// headError is why no complete request head came, and whether any of it did.
func (in *inbound) headError() (err error, heard bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch err := in.readErr; {
	case in.evicted:
		return lifecycle.Failf(lifecycle.ReasonConnectionLimit, "its place was needed"), in.heard
	case in.status == http.StatusRequestHeaderFieldsTooLarge:
		return lifecycle.Fail(lifecycle.ReasonHeadersTooLarge, nil), in.heard
	case errors.Is(err, os.ErrDeadlineExceeded):
		return err, in.heard
	case err != nil && !errors.Is(err, net.ErrClosed):
		return lifecycle.Fail(lifecycle.ReasonClientGone, err), in.heard
	case in.status != 0:
		return lifecycle.Failf(lifecycle.ReasonRequestInvalid, "not a valid HTTP request (status %d)", in.status), in.heard
	}
	return lifecycle.Fail(lifecycle.ReasonCanceled, errShutDown), in.heard
}

// tlsFailed ends a connection whose TLS handshake failed.
func (in *inbound) tlsFailed(err error) {
	record := in.record
	in.record = nil
	f := failure(err)
	if !in.socket.Used() && (f.Reason == lifecycle.ReasonClientGone || f.Reason == lifecycle.ReasonCanceled) {
		record.Unused()
	} else {
		record.Failed(f, 0)
	}
	in.socket.Close()
	in.seat.leave()
}

// first waits for the first byte that the client sends, and leaves it to be read.
func (in *inbound) first(ctx context.Context) (b byte, ok bool) {
	in.SetReadDeadline(time.Now().Add(headTimeout))
	stop := context.AfterFunc(ctx, func() { in.SetReadDeadline(past) })
	var one [1]byte
	n, _ := in.Read(one[:])
	if !stop() {
		return 0, false
	}
	in.SetReadDeadline(time.Time{})
	in.ahead = one[:n]
	return one[0], n == 1
}
