package lifecycle

// Cause says why an upgraded connection ended. The set is closed.
type Cause uint8

const (
	CauseNone            Cause = iota
	CauseClientClose           // the client sent a Close frame
	CauseUpstreamClose         // the upstream sent a Close frame
	CauseClientGone            // FIN without a Close frame
	CauseUpstreamGone          //
	CauseClientReset           // the leg was reset
	CauseUpstreamReset         //
	CauseClientTimeout         // TCP gave up on the leg
	CauseUpstreamTimeout       //
	CauseTLSError              // a TLS record could not be read or written
	CauseIdleTimeout           // no frame for timeouts.idle
	CausePongTimeout           // no sign of life after a ping
	CauseSlowPeer              // a leg took nothing for timeouts.write
	CauseMessageTooBig         // frame or message over its limit
	CauseMessageRate           // message or byte rate over its limit
	CauseProtocolError         // framing violation
	CauseMaxLifetime           // timeouts.max_lifetime
	CauseAuthExpired           // the token that let the client in has expired
	CauseDrain                 // drain or upgrade of the process
	CauseForcedStop            // the hard stop that ends a drain
	CauseReload                // the route was removed or changed by a reload
	CauseAdmin                 // asked for through the admin API
	CauseTunnelEnd             // an opaque tunnel ended
	CauseInternal              // our own fault
	causeCount
)

var causeNames = [causeCount]string{
	"", "client_close", "upstream_close", "client_gone", "upstream_gone", "client_reset", "upstream_reset",
	"client_timeout", "upstream_timeout", "tls_error", "idle_timeout", "pong_timeout", "slow_peer",
	"message_too_big", "message_rate", "protocol_error", "max_lifetime", "auth_expired", "drain", "forced_stop",
	"reload", "admin", "tunnel_end", "internal",
}

func (c Cause) String() string { return name(causeNames[:], c) }

// Causes lists every cause.
func Causes() []Cause {
	all := make([]Cause, 0, causeCount-1)
	for c := CauseClientClose; c < causeCount; c++ {
		all = append(all, c)
	}
	return all
}

// Initiator says who began the end of a connection.
type Initiator uint8

const (
	InitiatorNone Initiator = iota
	InitiatorClient
	InitiatorUpstream
	InitiatorProxy
	initiatorCount
)

var initiatorNames = [initiatorCount]string{"", "client", "upstream", "proxy"}

func (i Initiator) String() string { return name(initiatorNames[:], i) }

// Leg is one of a connection's two sockets.
type Leg uint8

const (
	LegNone Leg = iota
	LegClient
	LegUpstream
	legCount
)

var legNames = [legCount]string{"", "client", "upstream"}

func (l Leg) String() string { return name(legNames[:], l) }

// Other is the leg across.
func (l Leg) Other() Leg {
	switch l {
	case LegClient:
		return LegUpstream
	case LegUpstream:
		return LegClient
	}
	return LegNone
}

// Direction is the way that bytes flow.
type Direction uint8

const (
	Upstream   Direction = iota // client to upstream
	Downstream                  // upstream to client
	directionCount
)

var directionNames = [directionCount]string{"upstream", "downstream"}

func (d Direction) String() string { return name(directionNames[:], d) }

// From is the leg whose bytes flow in direction d.
func (d Direction) From() Leg {
	if d == Upstream {
		return LegClient
	}
	return LegUpstream
}

// To is the leg that bytes of direction d are written to.
func (d Direction) To() Leg { return d.From().Other() }

// NoCode is the close code of a connection in which nobody sent a Close frame.
const NoCode = -1

// Close tells how an upgraded connection ended.
type Close struct {
	Cause     Cause
	Initiator Initiator
	Leg       Leg  // for causes raised on one leg
	Code      int  // of the first Close frame; 0 if it had none, NoCode if there was no frame
	Clean     bool // both Close frames were seen and nothing was cut off

	FrameTruncated bool // a frame was cut off
	TLSTruncated   bool // a leg ended without close_notify
}

// Abnormal says whether an operator should look at it: not clean, and nobody's wish.
func (c Close) Abnormal() bool {
	switch c.Cause {
	case CauseDrain, CauseForcedStop, CauseReload, CauseAdmin, CauseTunnelEnd:
		return false
	}
	return !c.Clean
}

// StopRequest asks for an upgraded connection to be closed from outside the relay.
type StopRequest struct {
	Cause  Cause
	Code   int    // close code for the client; 0 takes the cause's own
	Reason string // of the Close frame, at most 123 bytes; empty takes the cause's own
}
