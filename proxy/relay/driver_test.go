package relay

import (
	"bytes"
	"context"
	"slices"
	"testing"
	"time"

	"wsproxy/lifecycle"
	"wsproxy/proxy/frame"
)

// driver is an engine without I/O: what each leg sends is queued, and what it gets is kept.
type driver struct {
	t       *testing.T
	session *session
	ends    [2]end // by the direction that reads it
	closed  *lifecycle.Close
}

func (d *driver) tcp(lifecycle.Leg) (tcpInfo, bool) { return tcpInfo{}, false }

// end is one endpoint.
type end struct {
	queue    []event // what it sends
	held     []byte
	got      []byte
	fin, rst bool
	writeErr error // what writing to it meets
}

// event is what a read brings.
type event struct {
	data      []byte
	eof       bool
	truncated bool
	err       error
}

// opened returns the record of a connection that is about to be relayed.
func opened(t testing.TB, r *lifecycle.Registry) *lifecycle.Connection {
	t.Helper()
	c := r.Open("192.0.2.1:50000", time.Now())
	ctx := context.Background()
	for _, p := range []lifecycle.Phase{lifecycle.PhaseRequest, lifecycle.PhaseRoute, lifecycle.PhaseConnect, lifecycle.PhaseUpgrade} {
		ctx, s := c.Begin(ctx, &lifecycle.Step{Phase: p})
		if err := s.End(ctx, nil); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func newDriver(t *testing.T, p Policy, mode frame.Mode) *driver {
	t.Helper()
	pair := &Pair{Conn: opened(t, new(lifecycle.Registry)), Framing: mode, Policy: &p}
	return &driver{t: t, session: newSession(pair)}
}

func (d *driver) client() *end { return &d.ends[lifecycle.Upstream] }

func (d *driver) upstream() *end { return &d.ends[lifecycle.Downstream] }

// clientSends and the like queue what a leg sends and let the session work on it.
func (d *driver) clientSends(all ...message) { d.send(d.client(), fromClient(all...)) }

func (d *driver) upstreamSends(all ...message) { d.send(d.upstream(), fromUpstream(all...)) }

func (d *driver) send(e *end, b []byte) { d.happens(e, event{data: b}) }

func (d *driver) leaves(e *end) { d.happens(e, event{eof: true}) }

func (d *driver) breaks(e *end, err error) { d.happens(e, event{err: err}) }

func (d *driver) happens(e *end, ev event) {
	e.queue = append(e.queue, ev)
	d.run()
}

// part is the first n bytes of a frame, rest what is left.
func part(b []byte, n int) (first, rest []byte) { return b[:n], b[n:] }

// passes lets time pass until the session's next moment.
func (d *driver) passes() {
	d.t.Helper()
	at := d.session.timer(time.Now(), stalls{})
	if at.IsZero() {
		d.t.Fatal("the session waits for nothing")
	}
	d.session.tick(at, stalls{}, d)
	d.run()
}

func (d *driver) stop(r lifecycle.StopRequest) {
	d.session.stop(r)
	d.run()
}

// run does what the session says, until there is nothing more to do.
func (d *driver) run() {
	for again := true; again; {
		again = false
		for _, dir := range []lifecycle.Direction{lifecycle.Upstream, lifecycle.Downstream} {
			again = d.act(dir) || again
			d.cuts()
		}
	}
	stopped := func(dir lifecycle.Direction) bool { return d.session.next(dir) == actStop }
	if d.closed == nil && stopped(lifecycle.Upstream) && stopped(lifecycle.Downstream) {
		d.closed = new(d.session.done())
	}
}

func (d *driver) act(dir lifecycle.Direction) bool {
	in, out := &d.ends[dir], &d.ends[1-dir]
	switch d.session.next(dir) {
	case actRead:
		if len(in.queue) == 0 {
			return false
		}
		ev := in.queue[0]
		in.queue = in.queue[1:]
		d.read(dir, ev)
	case actInject:
		if d.write(dir, out, d.session.flows[dir].inject) {
			d.session.injected(dir)
		}
	case actPing:
		if b := d.session.ping(dir, d); b != nil {
			d.write(dir, out, b)
		}
	case actFIN:
		out.fin = true
		d.session.finished(dir)
	default:
		return false
	}
	return true
}

func (d *driver) read(dir lifecycle.Direction, ev event) {
	in, out := &d.ends[dir], &d.ends[1-dir]
	switch {
	case ev.eof:
		d.session.ended(dir, ev.truncated)
	case ev.err != nil:
		d.session.failed(dir.From(), ev.err)
	default:
		b := slices.Concat(in.held, ev.data)
		pass, held := d.session.sift(dir, b)
		in.held = bytes.Clone(b[len(b)-held:])
		if pass > 0 {
			d.write(dir, out, b[:pass])
		}
	}
}

func (d *driver) write(dir lifecycle.Direction, out *end, b []byte) bool {
	switch {
	case out.writeErr != nil:
		d.session.notWritten(dir.To(), out.writeErr)
		return false
	case out.fin, out.rst:
		d.t.Errorf("%s: %d bytes written behind the end", dir, len(b))
		return false
	}
	out.got = append(out.got, b...)
	return true
}

func (d *driver) cuts() {
	for i := range d.ends {
		if d.session.legs[i].cut && !d.ends[i].rst {
			d.ends[i].rst = true
		}
	}
}

// wire tells what a leg got.
func (e *end) wire(masked bool) string {
	s := describe(e.got, masked)
	add := func(what string) {
		if s != "" {
			s += ", "
		}
		s += what
	}
	if e.fin {
		add("FIN")
	}
	if e.rst {
		add("RST")
	}
	return s
}
