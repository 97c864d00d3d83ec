//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// failedScenarios are connections that never become WebSockets.
func failedScenarios() []scenario {
	upgrade := []string{spanConnect, spanUpgrade}
	tunnel := []string{spanConnect, spanProxy}
	socks := []string{spanConnect, spanSOCKS}
	return []scenario{
		failing("refused", "refused", 502, "connect", "connection_refused", spanConnect),
		failing("no such name", "unknown", 502, "dns", "dns_not_found", spanDNS),
		failing("wrong accept key", "wrong-accept", 502, "upgrade", "bad_upgrade_response", upgrade...),
		failing("refused by the upstream", "unauthorized", 401, "upgrade", "upgrade_rejected", upgrade...),
		failing("upstream hangs up", "hangs-up", 502, "upgrade", "upstream_gone", upgrade...),
		failing("upstream hangs", "hangs-briefly", 504, "upgrade", "upgrade_timeout", upgrade...),
		failing("authority unknown", "untrusted", 502, "tls", "tls_unknown_authority", spanConnect, spanTLS),
		failing("certificate of another", "misnamed", 502, "tls", "tls_hostname_mismatch", spanConnect, spanTLS),
		failing("no TLS there", "no-tls", 502, "tls", "tls_protocol", spanConnect, spanTLS),
		failing("egress is mute", "mute", 504, "proxy", "proxy_timeout", tunnel...),
		failing("egress is not there", "no-proxy", 502, "connect", "connection_refused", spanConnect),
		failing("no egress credentials", "tiny-nobody", 502, "proxy", "proxy_auth_required", tunnel...).with("tinyproxy"),
		// tinyproxy answers wrong credentials with 401, missing ones with 407.
		failing("wrong egress credentials", "tiny-wrong", 502, "proxy", "proxy_auth_required", tunnel...).with("tinyproxy"),
		failing("egress forbids", "tiny-denied", 502, "proxy", "proxy_refused", tunnel...).with("tinyproxy"),
		failing("SOCKS5 forbids", "socks5-denied", 502, "proxy", "socks_not_allowed", socks...).with("danted"),
		failing("SOCKS5 is refused", "socks5-closed", 502, "proxy", "socks_connection_refused", socks...).with("danted"),
		failing("no route", "", 404, "route", "no_route"),
		{
			name: "foreign origin", route: "direct", want: outcome{status: 403, phase: "route", reason: "origin_denied"},
			play: refusedTo(request{header: http.Header{"Origin": {"https://elsewhere.example"}}}, 403),
		},
		{
			name: "other version", route: "direct", want: outcome{status: 426, phase: "route", reason: "request_invalid"}, play: otherVersion,
		},
		{
			name: "client gives up", route: "hangs", want: outcome{phase: "upgrade", reason: "client_gone"}, play: givesUp, spans: upgrade,
		},
		{
			name: "half a request", want: outcome{phase: "request", reason: "client_gone"}, play: func(t *testing.T, v *visit) {
				v.client = head(t, v.proxy.plain, "GET /direct/half HTTP/1.1\r\nHost: x\r\nX-Unfin")
			},
		},
		{
			name: "no HTTP", want: outcome{status: 400, phase: "request", reason: "request_invalid"}, play: func(t *testing.T, v *visit) {
				status, local := exchange(t, v.proxy.plain, "GET /direct/none HTTP/1.1\r\nHost: x\r\nno header\r\n\r\n")
				if v.client = local; status != http.StatusBadRequest {
					t.Errorf("got %d, want 400", status)
				}
			},
		},
		{
			name: "no TLS on a TLS listener", want: outcome{phase: "tls_accept", reason: "tls_protocol"}, play: func(t *testing.T, v *visit) {
				v.client = head(t, v.proxy.tls, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			},
		},
	}
}

// failing is a scenario whose client is answered with an error.
func failing(name, route string, status int, phase, reason string, spans ...string) scenario {
	return scenario{
		name: name, route: route, want: outcome{status: status, phase: phase, reason: reason}, spans: spans, play: refusedWith(status),
	}
}

// with is the scenario with a peer that it needs.
func (s scenario) with(peer string) scenario {
	s.needs = peer
	return s
}

func otherVersion(t *testing.T, v *visit) {
	status, _ := exchange(t, v.proxy.plain, fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", strings.ReplaceAll(v.path, " ", "%20"), v.proxy.plain))
	if status != http.StatusUpgradeRequired {
		t.Errorf("got %d, want 426", status)
	}
}

// givesUp leaves once the upgrade is on its way to an upstream that never answers.
func givesUp(t *testing.T, v *visit) {
	c := connect(t, v.proxy.plain, fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nUser-Agent: e2e\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", strings.ReplaceAll(v.path, " ", "%20"), v.proxy.plain))
	defer c.Close()
	v.client = c.LocalAddr().String()
	v.proxy.awaitPhase(t, v.client, "upgrade")
}
