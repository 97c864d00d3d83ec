package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"wsproxy/lifecycle"
	"wsproxy/proxy/relay"
)

// handshakes bounds how many TLS handshakes are under way per listener; more wait in the backlog.
const handshakes = 1024

// listener accepts, does the TLS handshake as a phase of its own, and gives net/http what came of it.
type listener struct {
	Listener
	server *Server
	http   *http.Server

	ready   chan *inbound
	slots   chan struct{}
	ctx     context.Context // ends with the listener; its cause is why
	stop    context.CancelCauseFunc
	closing sync.Once
}

func newListener(s *Server, l Listener) *listener {
	ctx, stop := context.WithCancelCause(context.Background())
	if l.TLS != nil {
		l.TLS = noting(l.TLS)
	}
	return &listener{Listener: l, server: s, ready: make(chan *inbound), slots: make(chan struct{}, handshakes), ctx: ctx, stop: stop}
}

// accept takes clients from the socket until it is closed.
func (l *listener) accept() {
	var pause time.Duration
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			if pause = l.backOff(err, pause); pause > 0 {
				continue
			}
			l.stop(err)
			return
		}
		pause = 0
		in := newInbound(l, relay.NewConn(c))
		if l.TLS == nil {
			in.awaitRequest(in.record.Accepted)
			l.hand(in)
			continue
		}
		select {
		case l.slots <- struct{}{}:
			l.server.serving.Go(func() { l.handshake(in) })
		case <-l.ctx.Done():
			in.Close()
			return
		}
	}
}

// backOff waits after an error that may pass, such as too few descriptors, and says how long it did; 0
// means that the listener is done.
func (l *listener) backOff(err error, last time.Duration) time.Duration {
	ne, ok := errors.AsType[net.Error](err)
	if !ok || !(ne.Timeout() || isExhausted(err)) {
		return 0
	}
	pause := min(max(2*last, 5*time.Millisecond), time.Second)
	l.server.log().Warn("cannot accept", "address", l.Addr().String(), "error", err, "retry_in", pause)
	select {
	case <-time.After(pause):
		return pause
	case <-l.ctx.Done():
		return 0
	}
}

func (l *listener) handshake(in *inbound) {
	defer func() { <-l.slots }()
	asked := new(hello)
	ctx, cancel := context.WithTimeout(context.WithValue(l.ctx, helloKey{}, asked), tlsTimeout)
	defer cancel()
	ctx, step := in.record.Begin(ctx, &lifecycle.Step{Phase: lifecycle.PhaseTLSAccept, Begun: in.record.Accepted})
	conn := tls.Server(in.Conn, l.TLS)
	err := conn.HandshakeContext(ctx)
	switch {
	case err == nil:
		in.tls = lifecycle.NewTLSInfo(conn.ConnectionState())
		step.TLS = in.tls
		in.record.Update(func(f *lifecycle.Facts) { f.ClientTLS = in.tls })
	case l.ctx.Err() != nil:
		err = lifecycle.Fail(lifecycle.ReasonCanceled, err)
	default:
		err = asked.explain(ctx, err)
	}
	if err = step.End(ctx, err); err != nil {
		in.tlsFailed(err)
		return
	}
	in.Conn = conn
	in.awaitRequest(step.Ended)
	l.hand(in)
}

func (l *listener) hand(in *inbound) {
	select {
	case l.ready <- in:
	case <-l.ctx.Done():
		in.Close()
	}
}

// Accept gives net/http the next client whose TLS, if any, is done.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case in := <-l.ready:
		return in, nil
	case <-l.ctx.Done():
		return nil, context.Cause(l.ctx)
	}
}

// Close ends accept. Clients that wait for their TLS handshake are let go.
func (l *listener) Close() (err error) {
	l.closing.Do(func() {
		l.stop(net.ErrClosed)
		err = l.Listener.Close()
	})
	return err
}
