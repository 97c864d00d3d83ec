package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"wsproxy/lifecycle"
	"wsproxy/proxy/relay"
)

// tunnel is one that a client asked for by CONNECT or SOCKS5, until a relay has it.
type tunnel struct {
	server  *Server
	in      *inbound
	forward *Forward
	record  *lifecycle.Connection
	to      destination
	permits []func() // give back what the limits counted

	step    *lifecycle.Step // of ours that is under way
	stepCtx context.Context

	client   net.Conn  // once it is ours
	upstream net.Conn  // dialled
	scheme   string    // of a WebSocket in it: wss if it is intercepted, else ws
	begun    time.Time // there is something to relay
	handed   bool      // the relay has both
}

// serveHTTP carries out a CONNECT (RFC 9110 §9.3.6).
func (t *tunnel) serveHTTP(w http.ResponseWriter, r *http.Request, o origin, complete time.Time) {
	defer t.cleanUp()
	defer t.recover()
	ctx := lifecycle.NewContext(r.Context(), t.record)
	if p := t.server.Propagator; p != nil {
		ctx = p.Extract(ctx, r.Header)
	}
	to, err := connectDestination(r)
	t.record.Update(func(f *lifecycle.Facts) {
		describeForward(f)
		f.Method, f.Host, f.Protocol, f.UserAgent = r.Method, r.Host, strings.TrimPrefix(r.Proto, "HTTP/"), r.UserAgent()
		f.Client, f.Trusted = o.client, o.trustTrace
	})
	ctx, f := t.open(ctx, complete, to, o.client, func() *lifecycle.Failure {
		return t.forward.permitsHTTP(ctx, r, o.client, to, err)
	})
	if f != nil {
		t.server.refuse(w, t.record, f, t.forward)
		return
	}
	t.server.serving.Add(1) // in the place of net/http's connection, which ends here
	defer t.server.serving.Done()
	hijacked, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		t.record.Failed(&lifecycle.Failure{Phase: t.record.Phase(), Reason: goneOrCanceled(ctx), Err: err}, 0)
		return
	}
	t.client = hijacked.(*inbound).Conn
	early := make([]byte, rw.Reader.Buffered())
	rw.Read(early) // from the buffer: can't fail
	grant := "HTTP/1.1 200 Connection established\r\n"
	if trace := t.record.TraceResponse(); trace != "" {
		grant += "Traceresponse: " + trace + "\r\n"
	}
	t.run(ctx, []byte(grant+"\r\n"), early)
}

// connectDestination reads the target of a CONNECT, and refuses a request that has a body: its bytes
// would be the tunnel's first.
func connectDestination(r *http.Request) (destination, error) {
	if len(r.TransferEncoding) > 0 || r.ContentLength != 0 {
		return destination{}, errors.New("a CONNECT with a body")
	}
	return parseDestination(r.RequestURI, 0)
}

// open is the route phase and the dialling. The context that it returns has the connection's trace.
func (t *tunnel) open(ctx context.Context, complete time.Time, to destination, client string, decide func() *lifecycle.Failure) (context.Context, *lifecycle.Failure) {
	t.to = to
	t.stepCtx, t.step = t.record.Begin(ctx, &lifecycle.Step{Phase: lifecycle.PhaseRoute, Begun: complete})
	ctx = t.stepCtx
	f := t.admit(client)
	if f == nil {
		f = decide()
	}
	if f == nil {
		t.record.Update(func(f *lifecycle.Facts) { f.Target = to.String() })
	}
	if err := t.end(f); err != nil {
		return ctx, failure(err)
	}
	dialling, cancel := context.WithTimeout(ctx, t.forward.route.Handshake)
	defer cancel()
	conn, err := t.forward.Dial(dialling, to.host, to.port)
	if err != nil {
		return ctx, failure(err)
	}
	t.upstream = conn
	return ctx, nil
}

// admit is whether there is room for the tunnel, within the limits of its listener.
func (t *tunnel) admit(client string) *lifecycle.Failure {
	if t.server.draining.Load() != nil {
		return lifecycle.Fail(lifecycle.ReasonDraining, nil)
	}
	if !t.in.admit(seatSetUp, true) {
		return lifecycle.Failf(lifecycle.ReasonConnectionLimit, "the process has as many connections as it can hold")
	}
	limiter := t.in.listener.Limiter
	if limiter == nil {
		return nil
	}
	ip, _ := parseAddress(client)
	if f := limiter.Handshake(ip); f != nil {
		return f
	}
	release, f := limiter.Connect(ip, "")
	if f == nil {
		t.permits = append(t.permits, release)
	}
	return f
}

// end ends the step of ours.
func (t *tunnel) end(f *lifecycle.Failure) error {
	step := t.step
	t.step = nil
	if f == nil {
		return step.End(t.stepCtx, nil)
	}
	return step.End(t.stepCtx, f)
}

// run tells the client that the tunnel stands, looks at its first bytes and hands it over.
func (t *tunnel) run(ctx context.Context, grant, early []byte) {
	t.client.SetWriteDeadline(time.Now().Add(headTimeout))
	t.client.Write(grant) // if the client is gone the relay will see that, too
	t.client.SetWriteDeadline(time.Time{})
	t.scheme, t.begun = "ws", time.Now()
	t.record.Update(func(f *lifecycle.Facts) { f.Granted = t.begun })
	s := sense(ctx, t.client, t.upstream, early)
	t.record.Update(func(f *lifecycle.Facts) {
		f.Tunnel, f.ServerName, f.ALPN = s.kind, s.hello.serverName, strings.Join(s.hello.alpn, ",")
	})
	if config, host := t.interception(s); config != nil && ctx.Err() == nil {
		var there bool
		if s, there = t.intercept(ctx, s, config, host); !there {
			return
		}
		t.record.Update(func(f *lifecycle.Facts) { f.Tunnel = s.kind })
	}
	switch {
	case ctx.Err() != nil:
		t.abandon()
	case s.kind == lifecycle.TunnelWebSocket:
		t.upgrade(ctx, s)
	default:
		t.relay(s)
	}
}

// relay hands an opaque tunnel over.
func (t *tunnel) relay(s sensed) {
	t.handed = true
	t.in.seat.settle()
	held := t.hold()
	t.server.start(&relay.Pair{
		Conn: t.record, Client: t.client, Upstream: t.upstream, Early: s.early, Tunnel: true, Begun: t.begun, Policy: &t.forward.route.Policy,
		Done: func(lifecycle.Close) { held.release() },
	})
}

// upgrade makes a WebSocket of a tunnel that begins with a request for one.
func (t *tunnel) upgrade(ctx context.Context, s sensed) {
	o := origin{client: t.record.Client, scheme: "http", host: s.request.Host, silent: true}
	u := &upgrade{
		server: t.server, in: t.in, permits: t.permits, forward: t.forward, record: t.record, r: s.request, origin: o,
		route: t.forward.route, target: t.forward.target(t.scheme, t.to), lease: unleased{}, upstream: t.upstream,
	}
	t.record.Update(func(f *lifecycle.Facts) {
		f.Path, f.Target, f.Framing = s.request.URL.Path, u.target.Name, u.route.Framing.String()
	})
	t.handed = true
	client := t.client
	ctx, gone := context.WithCancelCause(ctx)
	defer gone(nil)
	w := newTunnelWriter(client, s.early[lifecycle.Upstream][s.head:])
	w.attend(gone) // as net/http does for a request of its own
	defer w.leave()
	u.finish(ctx, w)
	w.leave()
	if !u.handed {
		t.in.seat.linger()
		linger(client)
		client.Close()
		t.in.seat.leave()
	}
}

// abandon ends a tunnel that was granted, because the server is closing.
func (t *tunnel) abandon() {
	t.record.Update(func(f *lifecycle.Facts) { f.Tunnel = lifecycle.TunnelOther })
	ctx := lifecycle.NewContext(context.Background(), t.record)
	for _, step := range []*lifecycle.Step{{Phase: lifecycle.PhaseTransfer, Begun: t.begun}, {Phase: lifecycle.PhaseClose}} {
		ctx, step := t.record.Begin(ctx, step)
		step.End(ctx, nil)
	}
	t.record.Closed(lifecycle.Close{Cause: lifecycle.CauseForcedStop, Initiator: lifecycle.InitiatorProxy, Code: lifecycle.NoCode})
}

// cleanUp lets go of what the relay did not take.
func (t *tunnel) cleanUp() {
	if !t.handed {
		held := t.hold()
		held.abandon(t.client, t.upstream)
	}
}

func (t *tunnel) hold() hold { return hold{permits: t.permits, seat: t.in.seat} }

// recover ends this connection alone where the fault is ours.
func (t *tunnel) recover() {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler {
		panic(v)
	}
	t.server.log().Error("connection failed", "connection.id", t.record.ID, "error", v, "stack", string(debug.Stack()))
	f := lifecycle.Fail(lifecycle.ReasonInternal, fmt.Errorf("panic: %v", v))
	if t.step != nil {
		f = failure(t.end(f))
	} else {
		f.Phase = t.record.Phase()
	}
	t.record.Failed(f, 0)
	if t.client == nil {
		panic(http.ErrAbortHandler)
	}
}

// goneOrCanceled is why a client's socket broke before it had its answer.
func goneOrCanceled(ctx context.Context) lifecycle.Reason {
	if f, ok := errors.AsType[*lifecycle.Failure](context.Cause(ctx)); ok {
		return f.Reason
	}
	return lifecycle.ReasonClientGone
}
