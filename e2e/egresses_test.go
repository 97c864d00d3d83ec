//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
)

// onlyThere is a name that only the egress proxies know, as that of this machine.
const onlyThere = "echo.test"

// startSquid runs an HTTP CONNECT proxy that asks for credentials, lets only the given targets' ports
// through, and knows a name of its own.
func startSquid(t *testing.T, h *house, targets ...string) (address string) {
	t.Helper()
	address = h.ports.address(t)
	folder, err := os.MkdirTemp("", "wsproxy-squid-") // one that the user it changes to can enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	helper := filepath.Join(filepath.Dir(h.programs["squid"]), "../lib/squid/basic_ncsa_auth")
	write := func(name, text string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	users := write("users", egressUser+":"+apr1(t, tinyPassword)+"\n")
	hosts := write("hosts", "127.0.0.1 "+onlyThere+"\n")
	var ports []string
	for _, target := range targets {
		_, port, _ := net.SplitHostPort(target)
		ports = append(ports, port)
	}
	config := write("squid.conf", fmt.Sprintf(`http_port %s
pid_filename none
cache deny all
access_log none
cache_log stdio:/dev/null
netdb_filename none
coredump_dir %s
hosts_file %s
shutdown_lifetime 0 seconds
auth_param basic program %s %s
auth_param basic realm egress
auth_param basic children 1
acl known proxy_auth REQUIRED
acl targets port %s
http_access deny !targets
http_access allow known
http_access deny all
`, address, folder, hosts, helper, users, strings.Join(ports, " ")))
	if err := os.Chmod(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	start(t, "squid", nil, h.programs["squid"], "-N", "-f", config)
	eventually(t, "squid listens", listens(address))
	return address
}

// apr1 hashes a password as squid's helper reads it.
func apr1(t *testing.T, password string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "openssl", "passwd", "-apr1", password).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// startMicrosocks runs a SOCKS5 proxy that asks for credentials.
func startMicrosocks(t *testing.T, h *house) (address string) {
	t.Helper()
	address = h.ports.address(t)
	host, port, _ := net.SplitHostPort(address)
	start(t, "microsocks", nil, h.programs["microsocks"], "-i", host, "-p", port, "-u", egressUser, "-P", tinyPassword)
	eventually(t, "microsocks listens", listens(address))
	return address
}

// egresses goes through proxies of several makers. What the client is told names the phase and the reason.
func (h *house) egresses(t *testing.T) {
	if h.missing(t, "squid", "microsocks") {
		return
	}
	e, closed, denied := startEcho(t, h), h.ports.address(t), h.ports.address(t)
	_, echoPort, _ := net.SplitHostPort(e.plain)
	_, closedPort, _ := net.SplitHostPort(closed)
	squid, socks := startSquid(t, h, e.plain, e.secure, closed), startMicrosocks(t, h)
	s := h.newSettings(t)
	delete(s.telemetry, "otlp")
	known := s.secret("egresses", egressUser+":"+tinyPassword)
	wrong := s.secret("egresses-wrong", egressUser+":wrong")
	through := func(name, url, credentials, target string, more object) {
		egress := object{"name": name, "url": url}
		if credentials != "" {
			egress["credentials"] = credentials
		}
		maps.Copy(egress, more)
		s.egress = append(s.egress, egress)
		route := object{"egress": name}
		if strings.HasPrefix(target, "wss:") {
			route["tls"] = s.trust()
		}
		s.route(name, route, target)
	}
	plain, secure, there := "ws://"+e.plain, "wss://"+e.secure, "ws://"+onlyThere+":"+echoPort
	through("squid", "http://"+squid, known, secure, nil)
	through("squid-name", "http://"+squid, known, there, nil)
	through("squid-local", "http://"+squid, known, "ws://localhost:"+echoPort, object{"resolve": "local"})
	through("squid-here", "http://"+squid, known, there, object{"resolve": "local"})
	through("squid-nobody", "http://"+squid, "", plain, nil)
	through("squid-wrong", "http://"+squid, wrong, plain, nil)
	through("squid-denied", "http://"+squid, known, "ws://"+denied, nil)
	through("squid-closed", "http://"+squid, known, "ws://"+closed, nil)
	through("microsocks", "socks5h://"+socks, known, plain, nil)
	through("microsocks-wrong", "socks5h://"+socks, wrong, plain, nil)
	through("microsocks-nobody", "socks5h://"+socks, "", plain, nil)
	through("microsocks-closed", "socks5h://"+socks, known, "ws://"+closed, nil)
	through("microsocks-unknown", "socks5h://"+socks, known, "ws://no..invalid:80", nil)
	through("http-to-socks", "http://"+socks, known, plain, nil)
	s.egress = append(s.egress, object{"name": "socks-to-http", "url": "socks5h://" + squid})
	s.route("socks-to-http", object{"egress": "socks-to-http", "timeouts": object{"proxy": "300ms"}}, plain)
	through("fallback", "http://127.0.0.1:"+closedPort, "", secure, object{"fallback": "squid"})
	through("fallback-wrong", "socks5h://"+socks, wrong, secure, object{"fallback": "squid"})
	through("fallback-denied", "http://"+squid, known, "ws://"+denied, object{"fallback": "microsocks"})
	s.egress = append(s.egress, object{"name": "environment", "from_environment": true})
	s.route("environment", object{"egress": "environment"}, there)
	s.route("environment-direct", object{"egress": "environment"}, plain)
	w := h.serve(t, s, "HTTP_PROXY=http://"+egressUser+":"+url.QueryEscape(tinyPassword)+"@"+squid)

	for _, c := range []struct {
		route         string
		status        int // 101: an echo comes back
		phase, reason string
	}{
		{"squid", 101, "", ""},
		{"squid-name", 101, "", ""},
		{"squid-local", 101, "", ""},
		{"squid-here", 502, "dns", "dns_not_found"},
		{"squid-nobody", 502, "proxy", "proxy_auth_required"},
		{"squid-wrong", 502, "proxy", "proxy_auth_required"},
		{"squid-denied", 502, "proxy", "proxy_refused"},
		{"squid-closed", 502, "proxy", "proxy_refused"},
		{"microsocks", 101, "", ""},
		{"microsocks-wrong", 502, "proxy", "proxy_auth_required"},
		{"microsocks-nobody", 502, "proxy", "proxy_auth_required"},
		{"microsocks-closed", 502, "proxy", "socks_connection_refused"},
		{"microsocks-unknown", 502, "proxy", "socks_general_failure"},
		{"http-to-socks", 502, "proxy", "proxy_protocol_error"},
		{"socks-to-http", 504, "proxy", "proxy_timeout"},
		{"fallback", 101, "", ""},
		{"fallback-wrong", 101, "", ""},
		{"fallback-denied", 502, "proxy", "proxy_refused"},
		{"environment", 101, "", ""},
		{"environment-direct", 101, "", ""},
	} {
		t.Run(c.route, func(t *testing.T) {
			conn, no := h.dial(t, w, "/"+c.route+"/1", request{})
			if c.status == http.StatusSwitchingProtocols {
				if conn == nil {
					t.Fatalf("got %d %s %s, want an upgrade", no.status, no.Phase, no.Reason)
				}
				conn.talk(t, websocket.TextMessage, []byte("hello"))
				conn.leave(t, 1000)
				return
			}
			if conn != nil || no.status != c.status || no.Phase != c.phase || no.Reason != c.reason {
				t.Errorf("got %+v, want %d %s %s", no, c.status, c.phase, c.reason)
			}
		})
	}
}

// introductions chains two wsproxys: the second one learns of the client from the first one's PROXY header, and
// lets nobody in without.
func (h *house) introductions(t *testing.T) {
	for _, version := range []string{"v1", "v2"} {
		t.Run(version, func(t *testing.T) {
			e := startEcho(t, h)
			inner := h.newSettings(t)
			delete(inner.telemetry, "otlp")
			inner.trusted = object{"proxies": []string{"127.0.0.1"}, "proxy_protocol": true}
			inner.route("chat", nil, "ws://"+e.plain)
			second := h.serve(t, inner)
			outer := h.newSettings(t)
			delete(outer.telemetry, "otlp")
			outer.route("chat", object{"proxy_protocol": version, "tls": outer.trust()}, "wss://"+second.tls)
			first := h.serve(t, outer)

			c, no := h.dial(t, first, "/chat/1", request{secure: true})
			if c == nil {
				t.Fatalf("got %+v, want an upgrade", no)
			}
			c.talk(t, websocket.BinaryMessage, make([]byte, 100_000))
			second.awaitPhase(t, c.address(), "transfer") // under the client's own address
			c.leave(t, 1000)
			if conn, _, err := websocket.DefaultDialer.Dial("ws://"+second.plain+"/chat/1", nil); err == nil {
				conn.Close()
				t.Error("got a connection without a PROXY header, want none")
			}
		})
	}
}
