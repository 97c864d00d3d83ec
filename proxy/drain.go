package proxy

import (
	"context"
	"time"

	"wsproxy/lifecycle"
	"wsproxy/proxy/relay"
)

// Drain says how open connections are asked to leave.
type Drain struct {
	Spread time.Duration // the Close frames are spread evenly over it
	Code   int           // for the client; 0: 1012
	Reason string
}

// start hands an upgraded pair to the engine. One whose handshake was under way when a drain began
// leaves at once.
func (s *Server) start(p *relay.Pair) {
	s.Engine.Start(p)
	if d := s.drain.Load(); d != nil {
		p.Conn.Stop(d.request())
	}
}

func (d *Drain) request() lifecycle.StopRequest {
	return lifecycle.StopRequest{Cause: lifecycle.CauseDrain, Code: d.Code, Reason: d.Reason}
}

// Drain refuses new upgrades and asks the open connections to leave, one after the other, until all
// were asked or ctx ends. It does not wait for them; the engine does.
func (s *Server) Drain(ctx context.Context, d Drain) {
	s.draining.Store(true)
	var open []*lifecycle.Connection
	for c := range s.Registry.All() {
		if c.Phase() == lifecycle.PhaseTransfer {
			open = append(open, c)
		}
	}
	begun := time.Now()
	for i, c := range open {
		at := begun.Add(d.Spread * time.Duration(i) / time.Duration(len(open)))
		if !sleepUntil(ctx, at) {
			break
		}
		c.Stop(d.request())
	}
	s.drain.Store(&d)
	for c := range s.Registry.All() { // those upgraded since the list was made
		if c.Phase() == lifecycle.PhaseTransfer {
			c.Stop(d.request())
		}
	}
}

// Stop cuts every open connection off.
func (s *Server) Stop() {
	for c := range s.Registry.All() {
		if c.Phase() >= lifecycle.PhaseTransfer {
			c.Stop(lifecycle.StopRequest{Cause: lifecycle.CauseForcedStop})
		}
	}
}

func sleepUntil(ctx context.Context, at time.Time) bool {
	t := time.NewTimer(time.Until(at))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
