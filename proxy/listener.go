package proxy

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"wsproxy/lifecycle"
	"wsproxy/proxy/relay"
)

// listener is a socket's clients under one setting: it does the TLS handshake as a phase of its own, and gives
// net/http what came of it.
type listener struct {
	Listener
	server *Server
	http   *http.Server

	ready chan *inbound
	busy  sync.WaitGroup  // clients from accept until net/http is done with them
	ctx   context.Context // ends with the listener; its cause is why
	stop  context.CancelCauseFunc
}

func newListener(s *Server, l Listener) *listener {
	ctx, stop := context.WithCancelCause(context.Background())
	if l.TLS != nil {
		l.TLS = noting(l.TLS)
	}
	in := &listener{Listener: l, server: s, ready: make(chan *inbound), ctx: ctx, stop: stop}
	in.http = &http.Server{
		Handler:                      http.HandlerFunc(s.serveHTTP),
		ReadHeaderTimeout:            headTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               headerBytes,
		BaseContext:                  func(net.Listener) context.Context { return s.ctx },
		ConnState:                    s.connState,
		ConnContext:                  connContext,
		ErrorLog:                     slog.NewLogLogger(s.log().Handler(), slog.LevelDebug),
		DisableGeneralOptionsHandler: true,
		Protocols:                    new(http.Protocols),
	}
	in.http.Protocols.SetHTTP1(true)
	return in
}

// take has a client just accepted, whom busy counts.
func (l *listener) take(c net.Conn) {
	in := newInbound(l, relay.NewConn(c))
	var err error
	if in.seat, err = l.server.room.enter(l.ctx, in.evict); err != nil {
		in.Close()
		l.busy.Done()
		return
	}
	if !l.ProxyProtocol {
		l.admit(in)
		return
	}
	accepted := time.Now()
	l.server.serving.Go(func() {
		if l.introduce(in, accepted) {
			l.admit(in)
		} else {
			l.busy.Done()
		}
	})
}

// admit has a client whose address is known.
func (l *listener) admit(in *inbound) {
	if l.TLS == nil {
		l.ask(in, in.record.Accepted)
		return
	}
	l.server.serving.Go(func() { l.handshake(in) })
}

func (l *listener) handshake(in *inbound) {
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
		l.busy.Done()
		return
	}
	in.Conn = conn
	l.ask(in, step.Ended)
}

// ask awaits the client's request. Where it may be another than HTTP it is first seen what it is.
func (l *listener) ask(in *inbound, at time.Time) {
	in.awaitRequest(at)
	if l.Forward == nil {
		l.hand(in)
		return
	}
	l.server.serving.Go(func() {
		switch first, ok := in.first(l.server.ctx); {
		case !ok:
			in.Close()
			l.busy.Done()
		case first == socksVersion:
			defer l.busy.Done()
			l.server.serveSOCKS(in)
		default:
			l.hand(in)
		}
	})
}

func (l *listener) hand(in *inbound) {
	select {
	case l.ready <- in:
	case <-l.ctx.Done():
		in.Close()
		l.busy.Done()
	}
}

// leave ends the listener, which gets no new clients, when the last it has is gone or upgraded. Not
// http.Server.Shutdown: that drops requests which it reads once it has begun.
func (l *listener) leave() {
	l.http.SetKeepAlivesEnabled(false) // closes the idle connections, others behind their response
	l.busy.Wait()
	l.Close()
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

// Close lets clients go that wait for their TLS handshake. The socket has its own Close.
func (l *listener) Close() error {
	l.stop(net.ErrClosed)
	return nil
}
