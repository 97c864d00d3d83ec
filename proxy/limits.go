package proxy

import (
	"net"
	"net/netip"

	"wsproxy/lifecycle"
)

// Limiter bounds the connections of a listener or a route. client is not valid where it has no IP
// address.
type Limiter interface {
	// Handshake counts a handshake, or says why there are too many.
	Handshake(client netip.Addr) *lifecycle.Failure

	// Connect counts a connection until release is called, once, or says why there are too many.
	// identity is who the client has shown to be, empty if it need not.
	Connect(client netip.Addr, identity string) (release func(), refused *lifecycle.Failure)
}

// limiters are those that the connection is held to.
func (u *upgrade) limiters() []Limiter {
	var all []Limiter
	for _, l := range []Limiter{u.in.listener.Limiter, u.route.Limiter} {
		if l != nil {
			all = append(all, l)
		}
	}
	return all
}

func (u *upgrade) handshakeLimits() *lifecycle.Failure {
	for _, l := range u.limiters() {
		if f := l.Handshake(u.clientAddress()); f != nil {
			return f
		}
	}
	return nil
}

func (u *upgrade) connectionLimits() *lifecycle.Failure {
	identity := ""
	if u.admission != nil {
		identity = u.admission.Identity
	}
	for _, l := range u.limiters() {
		release, f := l.Connect(u.clientAddress(), identity)
		if f != nil {
			return f
		}
		u.permits = append(u.permits, release)
	}
	return nil
}

// clientAddress is the client's behind trusted hops.
func (u *upgrade) clientAddress() netip.Addr {
	ip, _ := parseAddress(u.origin.client)
	return ip
}

// hold is what a connection has of what there is only so much of.
type hold struct {
	lease   Lease // nil before a target was chosen
	permits []func()
	seat    *seat
	vigil   *vigil
}

func (u *upgrade) hold() *hold { return &hold{lease: u.lease, permits: u.permits, seat: u.in.seat} }

// abandon closes what the relay did not take and gives the rest back. A nil client is still net/http's.
func (h *hold) abandon(client, upstream net.Conn) {
	if upstream != nil {
		upstream.Close()
	}
	if client != nil {
		client.Close()
	} else {
		h.seat = nil
	}
	h.release()
}

// release gives it all back. Both sockets are closed.
func (h *hold) release() {
	h.vigil.end()
	if h.lease != nil {
		h.lease.Failed(nil) // unless it knows more already
	}
	for _, release := range h.permits {
		release()
	}
	if h.seat != nil {
		h.seat.leave()
	}
}
