package relay

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"wsproxy/lifecycle"
)

// couple is a pair in a loop. Its loop's goroutine alone touches it.
type couple struct {
	loop    *loop
	session *session
	sockets [2]socket // by the direction that reads it
	lanes   [2]lane

	due     time.Time // of the timer
	timer   int       // index in the loop's heap
	changes int       // session.changes as of the last settle
	over    bool

	pumping lifecycle.Direction // for a fault: what was under way,
	dirty   bool                // and whether a frame may be half-written
	faults  int
	done    func(lifecycle.Close)
	ended   func()
}

// lane is one direction of a couple.
type lane struct {
	couple *couple
	dir    lifecycle.Direction
	held   []byte // the beginning of a header or control frame
	early  []byte // came with the handshake
	queued bool
}

// newCouple takes the descriptors out of p's sockets. If it fails p is as it was.
func newCouple(p *Pair, client, upstream *Conn) (*couple, error) {
	cfd, err := dup(client)
	if err != nil {
		return nil, err
	}
	ufd, err := dup(upstream)
	if err != nil {
		unix.Close(cfd)
		return nil, err
	}
	c := &couple{session: newSession(p), timer: noTimer, done: p.Done}
	up, down := p.Conn.Flow(lifecycle.Upstream), p.Conn.Flow(lifecycle.Downstream)
	c.sockets[lifecycle.Upstream] = newSocket(c, lifecycle.Upstream, cfd, client, p.Client, &down.StallNanos)
	c.sockets[lifecycle.Downstream] = newSocket(c, lifecycle.Downstream, ufd, upstream, p.Upstream, &up.StallNanos)
	for d := range c.lanes {
		c.lanes[d] = lane{couple: c, dir: lifecycle.Direction(d), early: p.Early[d]}
		c.sockets[d].attach()
	}
	p.Early = [2][]byte{}
	return c, nil
}

func (c *couple) other(s *socket) *socket { return &c.sockets[1-s.dir] }

// pump moves bytes in direction d until there is nothing to do or its turn is over. If it is queued its turn comes by that.
func (c *couple) pump(d lifecycle.Direction) {
	lane, in, out := &c.lanes[d], &c.sockets[d], &c.sockets[1-d]
	if lane.queued {
		return
	}
	c.pumping = d
	for moved := 0; !c.over; {
		next := c.session.next(d)
		if out.pending() && (next != actRead || c.session.flows[d].reading < readDrop) {
			return // go on when it is written
		}
		switch next {
		case actRead:
			if len(lane.early) == 0 && !in.readable {
				return
			}
			if n, ok := c.splice(lane, in, out); ok {
				moved += n
			} else {
				moved += c.relay(lane, in, out)
			}
		case actInject:
			c.dirty = true
			c.send(out, c.session.flows[d].inject)
			c.dirty = false
			c.session.injected(d)
		case actPing:
			if b := c.session.ping(d, c); b != nil {
				c.dirty = true
				c.send(out, b)
				c.dirty = false
			}
		case actFIN:
			c.report(out, out.shut())
			c.session.finished(d)
		case actWait, actStop:
			return
		}
		if moved >= turn {
			c.loop.queue(lane)
			return
		}
	}
}

// relay passes on what one read brings, and returns how much was read.
func (c *couple) relay(lane *lane, in, out *socket) int {
	buf := c.loop.buf[:]
	held := copy(buf, lane.held)
	var n int
	var err error
	if len(lane.early) > 0 {
		n = copy(buf[held:], lane.early)
		if lane.early = lane.early[n:]; len(lane.early) == 0 {
			lane.early = nil // or its array would live as long as the connection
		}
	} else {
		n, err = in.read(buf[held:])
	}
	if n > 0 {
		c.dirty = true
		pass, kept := c.session.sift(lane.dir, buf[:held+n])
		if kept > 0 || held > 0 {
			lane.held = append(lane.held[:0], buf[held+n-kept:held+n]...)
		}
		if pass > 0 {
			c.send(out, buf[:pass])
			if sampled() && !out.pending() {
				c.session.conn.Relayed(lane.dir, time.Since(c.loop.now))
			}
		}
		c.dirty = false
	}
	if err != nil {
		in.readable = false
		if !errors.Is(err, errWouldBlock) {
			c.ends(in, err)
		}
	}
	return n
}

// splice passes on payload of a large frame without reading it. It is not for TLS, nor for what will not
// be passed on; ok says whether it did.
func (c *couple) splice(lane *lane, in, out *socket) (n int, ok bool) {
	left := c.session.passing(lane.dir)
	if left < spliceFrom || in.tls != nil || out.tls != nil || len(lane.early) > 0 || c.session.flows[lane.dir].held > 0 {
		return 0, false
	}
	p := c.loop.pipes.get()
	if p == nil {
		return 0, false
	}
	n, err := p.fill(in.fd, int(min(left, pipeSize)))
	if n > 0 {
		c.dirty = true
		c.session.advance(lane.dir, n)
		c.report(out, out.sendPipe(p))
		c.dirty = false
		return n, true
	}
	c.loop.pipes.put(p)
	in.readable = false
	if err != error(errWouldBlock) {
		c.ends(in, err)
	}
	return 0, true
}

// ends reports that nothing more can be read from in.
func (c *couple) ends(in *socket, err error) {
	if isEnd(err) {
		c.session.ended(in.dir, in.truncated())
	} else {
		c.session.failed(in.dir.From(), err)
	}
}

func (c *couple) send(out *socket, b []byte) { c.report(out, out.send(b)) }

// report tells the session of a write to out that failed.
func (c *couple) report(out *socket, err error) {
	if err != nil {
		out.discard()
		c.session.notWritten(out.dir.From(), err)
	}
}

// flushed goes on writing what waits for s.
func (c *couple) flushed(s *socket) {
	c.report(s, s.flush())
	if !s.pending() {
		c.session.taken(1-s.dir, c.loop.now)
	}
}

// broken gives up a leg that was reset while the other is too slow to take what it sent.
func (c *couple) broken(s *socket) {
	if err := s.err(); err != nil {
		c.session.notWritten(s.dir.From(), err)
	}
}

// settle carries out what the session has come to: cuts, the other direction's part, the timer, the end.
func (c *couple) settle() {
	for !c.over && c.session.changes != c.changes {
		c.changes = c.session.changes
		for d := range c.sockets {
			if s := &c.sockets[d]; c.session.legs[d].cut {
				s.discard()
				s.reset()
			}
		}
		c.pump(lifecycle.Upstream)
		c.pump(lifecycle.Downstream)
	}
	if c.over {
		return
	}
	if c.stopped(lifecycle.Upstream) && c.stopped(lifecycle.Downstream) {
		c.finish()
		return
	}
	c.loop.timers.move(c, c.wanted(c.loop.now), c.loop.now)
}

// stopped reports that direction d is over and has nothing left to write.
func (c *couple) stopped(d lifecycle.Direction) bool {
	return c.session.next(d) == actStop && !c.sockets[1-d].pending()
}

// wanted is when the couple is to be ticked next.
func (c *couple) wanted(now time.Time) time.Time {
	waits := c.stalled()
	at := c.session.timer(now, waits)
	if !waits.any() {
		return at
	}
	for d := range c.sockets {
		if s := &c.sockets[d]; s.pending() && !s.told {
			at = earlier(at, s.since.Add(stalledAfter))
		}
	}
	if limit := c.session.policy.Write; limit > 0 {
		for d := range c.sockets {
			if s := &c.sockets[d]; s.pending() {
				at = earlier(at, s.progress.Add(limit))
			}
		}
	}
	return at
}

func (c *couple) stalled() (w stalls) {
	for d := range w {
		w[d] = c.sockets[1-d].pending()
	}
	return w
}

// tick does what is due.
func (c *couple) tick(now time.Time) {
	if limit := c.session.policy.Write; limit > 0 {
		for d := range c.sockets {
			if s := &c.sockets[d]; s.pending() && !now.Before(s.progress.Add(limit)) {
				c.report(s, errSlow)
			}
		}
	}
	for d := range c.sockets {
		if s := &c.sockets[d]; s.pending() && !s.told && now.Sub(s.since) >= stalledAfter {
			s.told = true
			c.session.conn.Stalled(1-s.dir, now.Sub(s.since))
		}
	}
	c.session.tick(now, c.stalled(), c)
	c.probe(now)
}

// probe asks the system about both legs, if it is this couple's turn.
func (c *couple) probe(now time.Time) {
	if c.over || !c.loop.budget.allows(now) {
		return
	}
	for d := range c.sockets {
		s := &c.sockets[d]
		if now, ok := c.tcp(s.dir.From()); ok {
			s.info.probed(c.session.conn, s.dir.From(), now)
		}
	}
}

// tcp implements wire.
func (c *couple) tcp(l lifecycle.Leg) (now tcpInfo, ok bool) {
	s := &c.sockets[reader(l)]
	if s.closed {
		return now, false
	}
	return readTCP(s.fd)
}

// fault ends the couple because of a bug of ours: the first time in good order, if that is possible.
func (c *couple) fault() {
	c.faults++
	if c.faults > 2 {
		c.finish()
		return
	}
	c.loop.update(c, func(s *session) {
		s.fault(c.pumping, c.dirty)
		if c.faults > 1 {
			s.expire()
		}
	})
}

// finish closes both sockets and takes the couple out of its loop.
func (c *couple) finish() {
	if c.over {
		return
	}
	c.probe(c.loop.now)
	c.over = true
	l := c.loop
	l.timers.set(c, time.Time{})
	l.front = l.now
	for d := range c.sockets {
		c.sockets[d].discard()
		c.sockets[d].close()
	}
	l.connections.Add(-1)
	defer c.ended()
	end := c.end()
	if c.done != nil {
		c.done(end)
	}
}

// end tells how the connection ended, even if an observer has a fault.
func (c *couple) end() (end lifecycle.Close) {
	defer func() {
		if v := recover(); v != nil {
			c.loop.report(c, v)
			end = internalFault
			c.session.conn.Closed(end)
		}
	}()
	return c.session.done()
}
