package lifecycle

import "slices"

// Phase is one step of a connection's life.
type Phase uint8

const (
	PhaseNone      Phase = iota // accepted, nothing begun
	PhaseTLSAccept              // TLS handshake with the client: behind accept, or inside of a tunnel that is intercepted
	PhaseRequest                // the client's request head arrives
	PhaseRoute                  // route, origin and limits are decided
	PhaseDNS                    // a name is looked up
	PhaseConnect                // TCP connect, every address tried
	PhaseProxy                  // CONNECT or SOCKS5 with the egress proxy
	PhaseTLS                    // TLS handshake with the egress proxy or the target
	PhaseUpgrade                // the WebSocket handshake with the target, passed back to the client
	PhaseTransfer               // both directions relayed
	PhaseClose                  // from the first sign of the end until both sockets are closed
	phaseCount
)

var phaseNames = [phaseCount]string{
	"none", "tls_accept", "request", "route", "dns", "connect", "proxy", "tls", "upgrade", "transfer", "close",
}

func (p Phase) String() string { return name(phaseNames[:], p) }

// Phases lists every phase in the order of a connection's life.
func Phases() []Phase {
	all := make([]Phase, 0, phaseCount-1)
	for p := PhaseTLSAccept; p < phaseCount; p++ {
		all = append(all, p)
	}
	return all
}

// transitions is the whole order of phases. A phase that did not happen is skipped, a retry goes back
// to dns or connect, and any phase may end in close. An egress proxy reached over TLS has tls before
// proxy and again behind it; a SOCKS5 egress that resolves here has a lookup for the target and one
// for itself. An opaque tunnel has no upgrade. In one that is intercepted TLS with the client, and then
// with the target, comes behind the dialling.
var transitions = [phaseCount][]Phase{
	PhaseNone:      {PhaseTLSAccept, PhaseRequest},
	PhaseTLSAccept: {PhaseRequest, PhaseTLS, PhaseClose},
	PhaseRequest:   {PhaseRoute, PhaseClose},
	PhaseRoute:     {PhaseDNS, PhaseConnect, PhaseClose},
	PhaseDNS:       {PhaseDNS, PhaseConnect, PhaseClose},
	PhaseConnect:   {PhaseDNS, PhaseConnect, PhaseTLS, PhaseProxy, PhaseTLSAccept, PhaseUpgrade, PhaseTransfer, PhaseClose},
	PhaseProxy:     {PhaseDNS, PhaseConnect, PhaseTLS, PhaseTLSAccept, PhaseUpgrade, PhaseTransfer, PhaseClose},
	PhaseTLS:       {PhaseDNS, PhaseConnect, PhaseProxy, PhaseUpgrade, PhaseTransfer, PhaseClose},
	PhaseUpgrade:   {PhaseDNS, PhaseConnect, PhaseTransfer, PhaseClose},
	PhaseTransfer:  {PhaseClose},
	PhaseClose:     {},
}

func (p Phase) mayPrecede(next Phase) bool { return slices.Contains(transitions[p], next) }

// name looks an enum's value up in its table.
func name[E ~uint8](table []string, e E) string {
	if int(e) >= len(table) {
		return "invalid"
	}
	return table[e]
}
