package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"wsproxy/lifecycle"
	"wsproxy/proxy/frame"
	"wsproxy/proxy/relay"
)

// serveHTTP has every request whose head is complete. From here a connection's path reads top to
// bottom: route, dial, upgrade, relay.
func (s *Server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	in := r.Context().Value(inboundKey{}).(*inbound)
	complete := time.Now()
	if s.answer() {
		defer s.answering.Done()
	}
	record := in.take()
	if record == nil {
		panic(http.ErrAbortHandler)
	}
	if in.listener.Forward != nil {
		s.serveForward(w, r, in, record, complete)
		return
	}
	if !isUpgrade(r) && r.ProtoMajor == 1 { // net/http lets the preface of HTTP/2 through
		record.Dismiss()
		s.servePlain(w, r, in)
		return
	}
	in.refuse() // unless net/http has no more to do with the connection
	u := &upgrade{server: s, in: in, record: record, r: r, origin: in.listener.origin(r)}
	u.run(w, complete)
}

// upgrade is one WebSocket connection until its 101.
type upgrade struct {
	server  *Server
	in      *inbound
	forward *Forward // nil where a route says where to go
	record  *lifecycle.Connection
	r       *http.Request
	origin  origin
	route   *Route
	target  Target

	step    *lifecycle.Step // of ours that is under way
	stepCtx context.Context

	admission *Admission // nil where everyone is let in

	permits  []func() // give back what the limits counted
	lease    Lease    // of the target
	upstream net.Conn // dialled
	client   net.Conn // taken over from net/http
	handed   bool     // the relay has both, and the target
}

// run serves the connection, and answers a client whose connection can't be.
func (u *upgrade) run(w http.ResponseWriter, complete time.Time) {
	defer u.recover(w)
	if f := u.serve(w, complete); f != nil {
		u.server.refuse(w, u.record, f, u.forward)
	}
}

// finish is run for a request whose route is decided and whose target is dialled.
func (u *upgrade) finish(ctx context.Context, w http.ResponseWriter) {
	defer u.recover(w)
	defer u.cleanUp()
	if f := u.connect(ctx, w); f != nil {
		u.server.refuse(w, u.record, f, u.forward)
	}
}

// serve runs the connection up to the relay, which then has it. It returns why it could not.
func (u *upgrade) serve(w http.ResponseWriter, complete time.Time) *lifecycle.Failure {
	ctx := lifecycle.NewContext(u.r.Context(), u.record)
	if p := u.server.Propagator; p != nil {
		ctx = p.Extract(ctx, u.r.Header)
	}
	defer u.cleanUp()
	ctx, err := u.decide(ctx, complete)
	if err != nil {
		return failure(err)
	}
	return u.connect(ctx, w)
}

// connect dials, unless that was done, and has the handshake carried through.
func (u *upgrade) connect(ctx context.Context, w http.ResponseWriter) *lifecycle.Failure {
	ctx, cancel := context.WithTimeout(ctx, u.route.Handshake)
	defer cancel()
	a, err := u.reach(ctx)
	if err != nil {
		return u.failed(err)
	}
	pair, err := u.upgrade(ctx, a, w)
	if err != nil {
		return u.failed(err)
	}
	if pair != nil {
		u.in.seat.settle()
		u.server.start(pair)
		u.handed = true
	}
	return nil
}

// begin begins a phase of ours; end ends it.
func (u *upgrade) begin(ctx context.Context, s *lifecycle.Step) context.Context {
	u.stepCtx, u.step = u.record.Begin(ctx, s)
	return u.stepCtx
}

func (u *upgrade) end(err error) error {
	step := u.step
	u.step = nil
	return step.End(u.stepCtx, err)
}

// decide is the route phase: what the request may have, and where.
func (u *upgrade) decide(ctx context.Context, complete time.Time) (context.Context, error) {
	generation := u.server.Registry.Generation()
	if u.forward != nil {
		u.route = u.forward.route
	} else {
		table := u.server.table.Load()
		u.route, generation = table.route(u.r), table.generation
	}
	u.record.Update(func(f *lifecycle.Facts) {
		f.Generation = generation
		u.describe(f)
	})
	if u.route != nil {
		ctx = lifecycle.AllowBaggage(ctx, u.route.Baggage)
	}
	ctx = u.begin(ctx, &lifecycle.Step{Phase: lifecycle.PhaseRoute, Begun: complete})
	if f := u.acceptable(); f != nil {
		return ctx, u.end(f)
	}
	if f := u.handshakeLimits(); f != nil {
		return ctx, u.end(f)
	}
	if err := u.authenticate(ctx); err != nil {
		return ctx, u.end(err)
	}
	if f := u.connectionLimits(); f != nil {
		return ctx, u.end(f)
	}
	if f := u.first(ctx); f != nil {
		return ctx, u.end(f)
	}
	return ctx, u.end(nil)
}

// acceptable is whether the request may be had at all.
func (u *upgrade) acceptable() *lifecycle.Failure {
	f := checkUpgrade(u.r)
	switch {
	case f != nil:
	case u.server.draining.Load() != nil:
		f = lifecycle.Fail(lifecycle.ReasonDraining, nil)
	case !u.in.admit(seatSetUp, true):
		f = lifecycle.Failf(lifecycle.ReasonConnectionLimit, "the process has as many connections as it can hold")
	case u.route == nil:
		f = lifecycle.Fail(lifecycle.ReasonNoRoute, nil)
	case !u.originAllowed():
		f = lifecycle.Fail(lifecycle.ReasonOriginDenied, nil)
	}
	return f
}

// describe notes what the request head tells.
func (u *upgrade) describe(f *lifecycle.Facts) {
	f.Method, f.Scheme, f.Host, f.Path = u.r.Method, u.origin.scheme, u.origin.host, u.r.URL.Path
	f.Protocol = strings.TrimPrefix(u.r.Proto, "HTTP/")
	f.UserAgent = u.r.UserAgent()
	f.Client = u.origin.client
	f.Trusted = u.origin.trustTrace
	switch r := u.route; {
	case r == nil:
	case u.forward != nil:
		describeForward(f)
		f.Framing = r.Framing.String()
	default:
		f.Route, f.Pattern, f.Upstream, f.Framing = r.Name, r.pattern, r.Upstream.Name, r.Framing.String()
		f.Visitor = r.Identity.of(u.r, u.origin.client)
	}
}

// first is the target that is tried first.
func (u *upgrade) first(ctx context.Context) *lifecycle.Failure {
	if u.forward != nil {
		return u.choose(ctx)
	}
	return u.pick(nil, nil)
}

// choose takes the target that a client of a forward listener has named.
func (u *upgrade) choose(ctx context.Context) *lifecycle.Failure {
	to, err := absolute(u.r)
	if f := u.forward.permitsHTTP(ctx, u.r, u.origin.client, to, err); f != nil {
		return f
	}
	u.target, u.lease = u.forward.target("ws", to), unleased{}
	u.record.Update(func(f *lifecycle.Facts) { f.Target = u.target.Name })
	return nil
}

func (u *upgrade) originAllowed() bool {
	return u.route.Origin == nil || u.route.Origin(u.r.Header.Get("Origin"), u.origin.scheme, u.origin.host)
}

// pick chooses a target that was not tried yet.
func (u *upgrade) pick(tried []string, why *lifecycle.Failure) *lifecycle.Failure {
	t, lease, ok := u.route.Upstream.Pick(Choice{Request: u.r, Client: u.origin.client, Tried: tried, Failed: why})
	if !ok {
		return lifecycle.Fail(lifecycle.ReasonNoUpstream, nil)
	}
	u.target, u.lease = t, lease
	u.record.Update(func(f *lifecycle.Facts) { f.Target, f.Egress = t.Name, t.Egress })
	return nil
}

// upgrade carries a target's answer back. A nil pair without error is a refusal by the upstream, passed
// on to the client.
func (u *upgrade) upgrade(ctx context.Context, a *answer, w http.ResponseWriter) (*relay.Pair, error) {
	if a.StatusCode != http.StatusSwitchingProtocols {
		rejected := failure(u.end(a.rejection()))
		u.lease.Failed(rejected)
		a.pass(w, u.visit())
		u.record.Failed(rejected, a.StatusCode)
		return nil, nil
	}
	agreed, err := a.check(u.r)
	if err != nil {
		return nil, u.end(err)
	}
	u.record.Update(func(f *lifecycle.Facts) {
		f.Subprotocol, f.Extensions, f.Compressed = agreed.subprotocol, agreed.extensions, agreed.deflate
	})
	client, early, err := u.answer(w, a)
	if err != nil {
		f := failure(u.end(lifecycle.Fail(goneOrCanceled(ctx), err)))
		u.record.Failed(f, 0)
		return nil, nil
	}
	if err := u.end(nil); err != nil {
		u.record.Failed(failure(err), http.StatusSwitchingProtocols)
		return nil, nil
	}
	held, record := u.hold(), u.record // alone: the request and all of the set-up must not live as long as the socket
	held.vigil = newVigil(record, u.admission)
	held.lease.Opened()
	return &relay.Pair{
		Conn: record, Client: client, Upstream: u.upstream, Early: [2][]byte{lifecycle.Upstream: early, lifecycle.Downstream: a.early},
		Framing: u.route.Framing, Deflate: agreed.deflate, Lenient: agreed.other, Policy: &u.route.Policy,
		Done: func(c lifecycle.Close) {
			held.lease.Closed(c, spoke(record))
			held.release()
		},
	}, nil
}

func (u *upgrade) visit() *visit {
	return &visit{origin: u.origin, in: u.in, admission: u.admission, route: u.route, connection: u.record.ID}
}

// spoke says whether a message passed; in a byte tunnel, which knows of no messages, any byte.
func spoke(c *lifecycle.Connection) bool {
	tunnel := c.Facts().Framing == frame.ModeOff.String()
	for _, d := range []lifecycle.Direction{lifecycle.Upstream, lifecycle.Downstream} {
		f := c.Flow(d)
		if f.Text.Load()+f.Binary.Load() > 0 || tunnel && f.Bytes.Load() > 0 {
			return true
		}
	}
	return false
}

// answer takes the client's socket over from net/http and passes the 101 on. It returns the socket and
// what the client sent behind its request.
func (u *upgrade) answer(w http.ResponseWriter, a *answer) (net.Conn, []byte, error) {
	extra := http.Header{}
	if u.route.ServerTiming {
		extra.Set("Server-Timing", serverTiming(u.record.Timeline()))
	}
	if t := u.record.TraceResponse(); t != "" {
		extra.Set("Traceresponse", t)
	}
	u.target.setCookie(extra, u.origin)
	hijacked, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, nil, err
	}
	client := hijacked
	if in, ok := hijacked.(*inbound); ok {
		client = in.Conn
	}
	u.client = client
	early := make([]byte, rw.Reader.Buffered())
	rw.Read(early) // from the buffer: can't fail
	client.SetWriteDeadline(time.Now().Add(headTimeout))
	head := a.responseHead(extra, u.visit())
	_, err = client.Write(head.Bytes())
	releaseHead(head)
	if err != nil {
		return nil, nil, err
	}
	return client, early, client.SetWriteDeadline(time.Time{})
}

// serverTiming is the phases so far, in milliseconds, for the developer tools of a browser.
func serverTiming(marks []lifecycle.Mark) string {
	var parts []string
	for _, m := range marks {
		d := m.Duration
		if d < 0 { // the upgrade itself
			continue
		}
		parts = append(parts, m.Phase.String()+";dur="+strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'f', 3, 64))
	}
	return strings.Join(parts, ", ")
}

// cleanUp lets go of what the relay did not take.
func (u *upgrade) cleanUp() {
	if !u.handed {
		u.hold().abandon(u.client, u.upstream)
	}
}

// failed tells the target's lease why the handshake failed.
func (u *upgrade) failed(err error) *lifecycle.Failure {
	f := failure(err)
	u.lease.Failed(f)
	return f
}

// recover answers 500 for a fault of ours, which ends this connection alone.
func (u *upgrade) recover(w http.ResponseWriter) {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler {
		panic(v)
	}
	u.server.log().Error("connection failed", "connection.id", u.record.ID, "error", v, "stack", string(debug.Stack()))
	f := &lifecycle.Failure{Phase: u.record.Phase(), Reason: lifecycle.ReasonInternal, Err: fmt.Errorf("panic: %v", v)}
	if u.step != nil {
		f = failure(u.end(f))
	}
	switch {
	case u.handed:
	case u.client != nil: // it has its answer, or a part of it
		u.record.Failed(f, 0)
	default:
		u.server.refuse(w, u.record, f, u.forward)
	}
}

// failure is the *lifecycle.Failure that err, which ended a phase, wraps.
func failure(err error) *lifecycle.Failure {
	f, ok := errors.AsType[*lifecycle.Failure](err)
	if !ok {
		return lifecycle.Fail(lifecycle.ReasonInternal, err)
	}
	return f
}
