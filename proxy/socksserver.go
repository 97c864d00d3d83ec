package proxy

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"wsproxy/lifecycle"
)

// serveSOCKS has every client of a forward listener that begins as SOCKS5 does.
func (s *Server) serveSOCKS(in *inbound) {
	t := &tunnel{server: s, in: in, forward: in.listener.Forward, record: in.record, client: in.Conn}
	defer t.cleanUp()
	defer t.recover()
	t.record.Update(func(f *lifecycle.Facts) {
		describeForward(f)
		f.Method, f.Protocol = lifecycle.MethodSOCKS5, "5"
	})
	ctx, cancel := context.WithCancelCause(lifecycle.NewContext(s.ctx, t.record))
	defer cancel(nil)
	peer := in.RemoteAddr().String()
	var unknown *lifecycle.Failure
	var check func(user, password string) bool
	if fw := t.forward; fw.Authenticate != nil {
		unknown = lifecycle.Fail(lifecycle.ReasonUnauthenticated, errSOCKSMethods)
		check = func(user, password string) bool {
			if fw.admits(peer) { // else there is nothing to be known
				unknown = fw.knows(ctx, peer, user, password)
			}
			return unknown == nil
		}
	}
	to, err := in.askedSOCKS(ctx, check)
	if refused := errors.Is(err, errSOCKSCredentials) || errors.Is(err, errSOCKSMethods) && check != nil; err != nil && !refused {
		in.socksFailed(err)
		return
	}
	in.take()
	if unknown == nil {
		t.record.Update(func(f *lifecycle.Facts) { f.Host = to.String() })
	}
	t.answerSOCKS(ctx, cancel, peer, to, unknown)
}

// askedSOCKS reads the request within headTimeout.
func (in *inbound) askedSOCKS(ctx context.Context, check func(user, password string) bool) (destination, error) {
	in.SetReadDeadline(time.Now().Add(headTimeout))
	in.SetWriteDeadline(time.Now().Add(headTimeout))
	stop := context.AfterFunc(ctx, func() { in.SetReadDeadline(past) })
	c := socksConn{in}
	var version [1]byte
	_, err := io.ReadFull(c, version[:]) // which was seen before
	var to destination
	if err == nil {
		to, err = socksAsked(c, check)
	}
	if !stop() {
		return to, lifecycle.Fail(lifecycle.ReasonCanceled, errShutDown)
	}
	in.SetReadDeadline(time.Time{})
	in.SetWriteDeadline(time.Time{})
	return to, err
}

// socksConn reads as an inbound does, and writes to its connection: nothing here is net/http's.
type socksConn struct{ *inbound }

func (c socksConn) Write(b []byte) (int, error) { return c.Conn.Write(b) }

// socksFailed ends the record of a client whose request can't be had.
func (in *inbound) socksFailed(err error) {
	in.mu.Lock()
	record, request, ctx := in.record, in.request, in.ctx
	in.record, in.request = nil, nil
	read, evicted := in.readErr, in.evicted
	in.mu.Unlock()
	if _, ok := errors.AsType[*lifecycle.Failure](err); !ok {
		switch {
		case evicted:
			err = lifecycle.Failf(lifecycle.ReasonConnectionLimit, "its place was needed")
		case read == nil:
			err = lifecycle.Fail(lifecycle.ReasonRequestInvalid, err)
		case !errors.Is(read, os.ErrDeadlineExceeded):
			err = lifecycle.Fail(lifecycle.ReasonClientGone, read)
		}
	}
	f := failure(request.End(ctx, err))
	record.Failed(f, 0)
	if f.Reason == lifecycle.ReasonRequestInvalid {
		in.linger()
	}
}

// answerSOCKS opens the tunnel that was asked for. One who is not known has been told so already.
func (t *tunnel) answerSOCKS(ctx context.Context, gone context.CancelCauseFunc, peer string, to destination, unknown *lifecycle.Failure) {
	ahead := readAhead(t.client, gone)
	ctx, f := t.open(ctx, time.Now(), to, peer, func() *lifecycle.Failure {
		return t.forward.permits(peer, func() *lifecycle.Failure { return unknown }, to, nil)
	})
	early := ahead.stop()
	if f == nil {
		t.run(ctx, []byte{socksVersion, byte(socksGranted), 0, socksIPv4, 0, 0, 0, 0, 0, 0}, early)
		return
	}
	if unknown == nil && f.Reason != lifecycle.ReasonClientGone {
		t.client.SetWriteDeadline(time.Now().Add(refusalTimeout))
		socksAnswer(t.client, replyFor(f), nil)
	}
	t.record.Failed(f, 0)
	t.in.linger()
}
