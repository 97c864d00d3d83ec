package demo

import (
	"net/http"

	"github.com/gorilla/websocket"
)

// Scenario is one connection through the proxy, from its client's point of view.
type Scenario struct {
	Name  string
	Shows string // what to look at
	Path  string

	origin       string
	subprotocols []string
	compress     bool
	status       int // that the handshake is answered with; 0: 101
	code         int // of the Close that the proxy or the upstream sends; 0: the client closes, with 1000
}

// Scenarios are one of each kind, in the order of the telling.
func (c *Cast) Scenarios() []Scenario {
	return []Scenario{
		{
			Name: "Direct", Path: "/direct", subprotocols: []string{subprotocol},
			Shows: "The plain case: nothing between wsproxy and the upstream.",
		},
		{
			Name: "Slow DNS", Path: "/slow-dns",
			Shows: "The name server takes its time: the dns phase is nearly all of the wait.",
		},
		{
			Name: "TLS upstream", Path: "/tls", compress: true,
			Shows: "wss to the upstream, and messages compressed from end to end.",
		},
		{
			Name: "Through an HTTP CONNECT proxy", Path: "/connect",
			Shows: "A company proxy in the middle that is slow to answer, and TLS inside its tunnel.",
		},
		{
			Name: "Through a SOCKS5 proxy", Path: "/socks5",
			Shows: "The name is looked up here, the proxy is given the address.",
		},
		{
			Name: "Second try", Path: "/retry",
			Shows: "The first target refuses; the second attempt goes to another one.",
		},
		{
			Name: "Refused", Path: "/refused", status: http.StatusBadGateway,
			Shows: "Nobody listens at the target.",
		},
		{
			Name: "Name not found", Path: "/not-found", status: http.StatusBadGateway,
			Shows: "The target's name does not exist.",
		},
		{
			Name: "Foreign origin", Path: "/direct", origin: "https://elsewhere.example", status: http.StatusForbidden,
			Shows: "A page of another site tries to connect: refused before anything is dialled.",
		},
		{
			Name: "Upstream dies", Path: "/dies", code: websocket.CloseServiceRestart,
			Shows: "The upstream resets its connection; the client is told to come back.",
		},
		{
			Name: "Upstream says goodbye", Path: "/leaves", code: closeCode,
			Shows: "The upstream closes with a code of its own, and it arrives.",
		},
	}
}
