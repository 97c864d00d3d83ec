//go:build e2e

package e2e

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// foreignParent is a trace context that wsproxy has no reason to trust.
const foreignParent = "00-11111111111111111111111111111111-2222222222222222-01"

const (
	spanTLSAccept = "TLS server handshake"
	spanDNS       = "DNS lookup"
	spanConnect   = "TCP connect"
	spanProxy     = "proxy CONNECT"
	spanSOCKS     = "proxy SOCKS5"
	spanTLS       = "TLS client handshake"
	spanUpgrade   = "websocket upgrade"
	spanTransfer  = "websocket transfer"
	spanClose     = "websocket close"
)

var byClient = outcome{status: 101, cause: "client_close", initiator: "client", code: 1000, clean: true}

// upgradedScenarios are the ways to a WebSocket.
func upgradedScenarios() []scenario {
	plain := []string{spanConnect, spanUpgrade, spanTransfer, spanClose}
	return []scenario{
		{
			name: "direct", route: "direct", want: byClient, spans: plain,
			play: chatAndLeave(request{subprotocols: []string{subprotocol, "chat.v1"}}),
		},
		{
			name: "by name", route: "name", want: byClient, play: chatAndLeave(request{}),
			spans: []string{spanDNS, spanConnect, spanUpgrade, spanTransfer, spanClose},
		},
		{
			name: "TLS on both sides, compressed", route: "tls", want: byClient, play: chatAndLeave(request{secure: true, compress: true}),
			spans: []string{spanTLSAccept, spanConnect, spanTLS, spanUpgrade, spanTransfer, spanClose},
		},
		{
			name: "second try", route: "retry", want: byClient, play: chatAndLeave(request{}),
			spans: []string{spanConnect, spanConnect, spanUpgrade, spanTransfer, spanClose},
		},
		{
			name: "slow CONNECT", route: "slow", want: byClient, play: chatAndLeave(request{}),
			spans: []string{spanConnect, spanProxy, spanTLS, spanUpgrade, spanTransfer, spanClose},
		},
		{
			name: "CONNECT with credentials", route: "tiny", needs: "tinyproxy", want: byClient, play: chatAndLeave(request{}),
			spans: []string{spanConnect, spanProxy, spanTLS, spanUpgrade, spanTransfer, spanClose},
		},
		{
			name: "SOCKS5, name found here", route: "socks5", needs: "danted", want: byClient, play: chatAndLeave(request{}),
			spans: []string{spanDNS, spanConnect, spanSOCKS, spanUpgrade, spanTransfer, spanClose},
		},
		{
			name: "SOCKS5, name found there", route: "socks5h", needs: "danted", want: byClient, play: chatAndLeave(request{}),
			spans: []string{spanConnect, spanSOCKS, spanUpgrade, spanTransfer, spanClose},
		},
		{
			name: "foreign trace context", route: "direct", want: byClient, spans: plain, play: chatAndLeave(request{header: http.Header{
				"Traceparent": {foreignParent}, "Tracestate": {"foreign=1"}, "Baggage": {"foreign=1"},
			}}),
		},
		{
			name: "no framing", route: "tunnel", spans: plain, play: tunnelled,
			want: outcome{status: 101, cause: "upstream_gone", initiator: "upstream", code: -1},
		},
		{
			name: "a rule broken, observed", route: "observe", want: byClient, spans: plain, rough: true, play: brokenRule,
		},
	}
}

// tunnelled sends a message where nobody looks at frames, and a Close, which is none there: what ends the
// connection is the upstream's FIN behind its answer.
func tunnelled(t *testing.T, v *visit) {
	c := v.open(t, request{})
	c.talk(t, websocket.TextMessage, []byte("seen by nobody"))
	c.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1000, ""), time.Now().Add(patience))
	if _, err := io.Copy(io.Discard, c.NetConn()); err != nil {
		t.Error(err)
	}
	c.Close()
}

// brokenRule sends a frame that breaks a rule which the upstream does not mind: a length that is not minimal.
func brokenRule(t *testing.T, v *visit) {
	c := v.open(t, request{})
	frame := []byte{0x82, 0x80 | 126, 0, 3, 0, 0, 0, 0, 1, 2, 3}
	if _, err := c.NetConn().Write(frame); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.ReadMessage(); err != nil {
		t.Fatal(err)
	}
	c.leave(t, 1000)
}
