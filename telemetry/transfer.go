package telemetry

import (
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"wsproxy/lifecycle"
)

// transfer is what the segments of one open connection need. A segment is built when it ends, with its
// true start and the numbers since then: nothing live is held for hours.
type transfer struct {
	watcher *watcher
	due     time.Time // end of the current segment; guarded by the scheduler, as is index
	index   int       // in the scheduler's heap, -1: not in it

	mu      sync.Mutex
	begun   time.Time // of the current segment
	length  time.Duration
	number  int
	before  trace.SpanContext // of the segment before
	counted [2]sums           // at the end of the segment before
	over    bool
	ended   time.Time // then
	total   [2]sums   // then
}

// sums are the numbers of one direction that spans tell.
type sums struct {
	bytes, messages uint64
	stall           time.Duration
}

func sumsOf(f *lifecycle.Flow) sums {
	return sums{bytes: f.Bytes.Load(), messages: f.Messages(), stall: time.Duration(f.StallNanos.Load())}
}

// sums are the numbers so far.
func (t *transfer) sums() (now [2]sums) {
	for i, d := range []lifecycle.Direction{lifecycle.Upstream, lifecycle.Downstream} {
		now[i] = sumsOf(t.watcher.conn.Flow(d))
	}
	return now
}

// last tells of the last segment, once it has ended.
func (t *transfer) last() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cut(t.ended, t.total, true)
}

// cut ends the current segment with the numbers so far. The caller holds mu.
func (t *transfer) cut(at time.Time, sofar [2]sums, final bool) {
	w := t.watcher
	made := newSpan()
	l := &made.attrs
	l.string(keyConnectionID, w.conn.ID)
	*l = append(*l, keySegmentIndex.Int(t.number), keySegmentFinal.Bool(final))
	for i, now := range sofar {
		before := t.counted[i]
		l.sums(segmentKeys[i], sums{now.bytes - before.bytes, now.messages - before.messages, now.stall - before.stall}, w.tunnel)
	}
	t.counted = sofar
	var links []trace.Link
	if t.before.IsValid() {
		links = append(links, trace.Link{SpanContext: t.before})
	}
	name := spanWebsocketTransfer
	if w.tunnel {
		name = spanTunnelTransfer
	}
	t.before = w.part(made, name, t.begun, at, links)
	t.begun = at
	t.number++
}

// sumKeys are the attributes of one direction's sums.
type sumKeys struct{ bytes, messages, stall attribute.Key }

var (
	segmentKeys = [2]sumKeys{
		{keySegmentUpstreamBytes, keySegmentUpstreamMessages, keySegmentUpstreamStall},
		{keySegmentDownstreamBytes, keySegmentDownstreamMessages, keySegmentDownstreamStall},
	}
	totalKeys = [2]sumKeys{
		{keyTotalUpstreamBytes, keyTotalUpstreamMessages, keyTotalUpstreamStall},
		{keyTotalDownstreamBytes, keyTotalDownstreamMessages, keyTotalDownstreamStall},
	}
)

// sums adds one direction's sums; an opaque tunnel has no messages.
func (l *list) sums(k sumKeys, s sums, tunnel bool) {
	*l = append(*l, k.bytes.Int64(int64(s.bytes)), k.stall.Float64(s.stall.Seconds()))
	if !tunnel {
		*l = append(*l, k.messages.Int64(int64(s.messages)))
	}
}

// totals adds both directions' sums of a connection that ended.
func (l *list) totals(o *lifecycle.Outcome, tunnel bool) {
	for i, c := range []*lifecycle.Counts{&o.Upstream, &o.Down} {
		l.sums(totalKeys[i], sums{c.Bytes, c.Messages(), c.Stall}, tunnel)
	}
}

// part makes s the span of a part of an open connection's life: under the SERVER span, or in linked mode a
// root with a link to it.
func (w *watcher) part(s *span, name string, begun, ended time.Time, links []trace.Link) trace.SpanContext {
	if w.tel.settings.Linked {
		w.tel.tracing.linked(s, name, trace.SpanKindInternal, begun, append(links, trace.Link{SpanContext: w.server})...)
	} else {
		w.tel.tracing.child(s, w.server, name, trace.SpanKindInternal, begun, links...)
	}
	made := s.context
	s.end(ended)
	return made
}

// closeSpan makes the span of the close with the connection's totals.
func (w *watcher) closeSpan(o *lifecycle.Outcome) {
	if !w.sampled() {
		return
	}
	begun, ended := o.At, o.At
	for _, m := range w.conn.Timeline() {
		if m.Phase == lifecycle.PhaseClose {
			begun = w.conn.Accepted.Add(m.Start)
			ended = begun.Add(max(m.Duration, 0))
		}
	}
	made := newSpan()
	l := &made.attrs
	l.string(keyConnectionID, w.conn.ID)
	l.close(o.Close)
	l.string(keyFraming, w.conn.Facts().Framing)
	l.totals(o, w.tunnel)
	name := spanWebsocketClose
	if w.tunnel {
		name = spanTunnelClose
	}
	w.part(made, name, begun, ended, nil)
}

func (l *list) close(c lifecycle.Close) {
	l.string(keyCloseCause, c.Cause.String())
	l.string(keyCloseInitiator, c.Initiator.String())
	l.string(keyCloseLeg, c.Leg.String())
	if c.Code > 0 {
		l.int(keyCloseCode, c.Code)
	}
	*l = append(*l, keyCloseClean.Bool(c.Clean))
	l.flag(keyCloseFrameTruncated, c.FrameTruncated)
	l.flag(keyCloseTLSTruncated, c.TLSTruncated)
}
