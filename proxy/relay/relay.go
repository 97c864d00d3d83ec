// Package relay carries frames between the two legs of an upgraded connection, byte for byte, until
// both have ended, and tells why they did.
//
// What happens to a connection is decided by a session, which does no I/O; an Engine drives it. The
// package does not open connections, choose targets or read configuration.
package relay

import (
	"cmp"
	"context"
	"net"
	"time"

	"wsproxy/lifecycle"
	"wsproxy/proxy/frame"
)

// Engine relays pairs.
type Engine interface {
	// Start takes over p, both of its sockets included, and returns at once.
	Start(p *Pair)

	// Wait returns when every pair started has ended, or with ctx's error.
	Wait(ctx context.Context) error

	// Workers tells of the engine's event loops; it has none if it is not made of loops.
	Workers() []lifecycle.Worker

	// Close ends the engine. Nothing is started afterwards, and no pair may still be running.
	Close()
}

// Pair is an upgraded connection or an opaque tunnel: the client has its answer, nothing was relayed
// yet.
type Pair struct {
	Conn     *lifecycle.Connection
	Client   net.Conn
	Upstream net.Conn

	// Early is what came in the same packets as the handshake, per direction; relayed first.
	Early [2][]byte

	// Tunnel says that the connection is an opaque one: a direction that ends is passed on as such, and
	// a reset as a reset. Framing does not matter then.
	Tunnel bool

	Begun time.Time // of the transfer; zero: now

	Framing frame.Mode
	Deflate bool // permessage-deflate was negotiated
	Lenient bool // another extension was: reserved bits and opcodes are not judged

	Policy *Policy // nil: the zero Policy

	// Done is called once, after both sockets are closed and the connection left the registry. It may
	// be nil.
	Done func(lifecycle.Close)
}

// Policy is what a route wants of its open connections.
type Policy struct {
	Idle        time.Duration // no frame for so long ends the connection; 0: never
	MaxLifetime time.Duration // since the 101; 0: unbounded
	Write       time.Duration // a leg that takes nothing for so long is cut; 0: never
	Close       time.Duration // for the close handshake; 0: 5 s
	HalfClose   time.Duration // for what still flows after a FIN; 0: 30 s

	// OnUpstreamLost is the close code for a client whose upstream went away; 0: 1012. FIN says to
	// send none.
	OnUpstreamLost frame.CloseCode
	FIN            bool

	Sizes     frame.Limits // of frames and messages, either way
	Rates     Rates        // of what a client sends
	Keepalive Keepalive
}

// Keepalive finds endpoints that are gone without a word. Without framing there is none.
type Keepalive struct {
	Client   time.Duration // a client that was quiet for so long is pinged; 0: never
	Upstream time.Duration // the same of an upstream
	Timeout  time.Duration // for any byte to come after a ping; 0: 15 s
}

const (
	defaultClose     = 5 * time.Second
	defaultHalfClose = 30 * time.Second
	defaultPong      = 15 * time.Second
)

// complete returns p with its defaults: p itself if it has them all, so that a route's connections share
// it.
func (p *Policy) complete() *Policy {
	if p != nil && p.Close > 0 && p.HalfClose > 0 && p.OnUpstreamLost > 0 && p.Keepalive.Timeout > 0 {
		return p
	}
	full := new(Policy)
	if p != nil {
		*full = *p
	}
	full.Close = cmp.Or(full.Close, defaultClose)
	full.HalfClose = cmp.Or(full.HalfClose, defaultHalfClose)
	full.OnUpstreamLost = cmp.Or(full.OnUpstreamLost, frame.CloseServiceRestart)
	full.Keepalive.Timeout = cmp.Or(full.Keepalive.Timeout, defaultPong)
	return full
}
