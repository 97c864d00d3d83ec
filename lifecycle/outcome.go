package lifecycle

import "time"

// Closed takes an open connection, both of whose sockets are closed, out of the registry.
func (c *Connection) Closed(cl Close) {
	if c == nil {
		return
	}
	c.SetClose(cl)
	status := 101
	if f := c.Facts(); f.Tunnel.Opaque() {
		status = f.granted()
	}
	c.finish(Outcome{Kind: OutcomeClosed, Close: cl, Status: status})
}

// granted is the status that a tunnel was granted with; SOCKS5 has none.
func (f Facts) granted() int {
	if f.Method == MethodSOCKS5 {
		return 0
	}
	return 200
}

// Failed takes a connection that did not upgrade out of the registry. status is what the client was
// answered, 0 if nothing could be.
func (c *Connection) Failed(f *Failure, status int) {
	c.finish(Outcome{Kind: f.Kind(), Failure: f, Status: status})
}

// Kind sorts a failure that ends a connection: refused by us before dialling, or failed.
func (f *Failure) Kind() OutcomeKind {
	if (f.Phase == PhaseRequest || f.Phase == PhaseRoute) && f.Reason != ReasonClientGone && f.Reason != ReasonInternal {
		return OutcomeRejected
	}
	return OutcomeFailed
}

// Unused takes out a connection whose client left without a byte.
func (c *Connection) Unused() { c.finish(Outcome{Kind: OutcomeUnused}) }

// Dismiss takes out a connection whose request turned out to be plain HTTP.
func (c *Connection) Dismiss() { c.finish(Outcome{Kind: OutcomeDismissed}) }

func (c *Connection) finish(o Outcome) {
	if c == nil || !c.registry.remove(c, &o) {
		return
	}
	o.At = time.Now()
	c.mu.Lock()
	c.stop = func(StopRequest) {} // whoever keeps the record does not keep the relay
	c.untap()
	c.mu.Unlock()
	for _, w := range c.watchers {
		w.Done(o)
	}
}

// Live says whether the connection is still in its registry.
func (c *Connection) Live() bool {
	c.shard.mu.Lock()
	defer c.shard.mu.Unlock()
	return !c.done
}

// OnStop registers who carries out stop requests, from the moment the relay owns the connection. A
// request made before is handed over at once.
func (c *Connection) OnStop(f func(StopRequest)) {
	c.mu.Lock()
	c.stop = f
	asked := c.asked
	c.asked = nil
	c.mu.Unlock()
	if asked != nil {
		f(*asked)
	}
}

// Stop asks for the connection to be closed; it does not wait. Only an upgraded connection can be
// stopped, one that is being set up is stopped as soon as it is open.
func (c *Connection) Stop(r StopRequest) {
	c.mu.Lock()
	stop := c.stop
	if stop == nil {
		c.asked = &r
	}
	c.mu.Unlock()
	if stop != nil {
		stop(r)
	}
}
