package demo

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/proxy"
)

// reach opens a connection that a test has for a few seconds.
func reach(t testing.TB, address string) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return conn.(*net.TCPConn)
}

func (c *Cast) corpAddress(t testing.TB) string {
	_, port, err := net.SplitHostPort(hostOf(t, c.Egresses[0].URL))
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort(loopback, port)
}

// page is what an upstream answers to a request that is no upgrade.
const page = "This is an upstream of wsproxy demo."

// askForPage asks the upstream at the other end for its page; what comes is read from r.
func askForPage(t *testing.T, conn net.Conn, r io.Reader) {
	t.Helper()
	conn.SetDeadline(time.Now().Add(patience))
	io.WriteString(conn, "GET / HTTP/1.0\r\nHost: x\r\n\r\n")
	answer, err := io.ReadAll(r)
	if err != nil || !strings.Contains(string(answer), page) {
		t.Errorf("got %q, %v through the tunnel, want %q", answer, err, page)
	}
}

func TestConnectProxy(t *testing.T) {
	const slow = 20 * time.Millisecond
	c := troupe(t, waits{connect: slow})
	right := "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(c.credentials())) + "\r\n"
	wrong := "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("demo:guess")) + "\r\n"
	echo := named(echoName, c.target(t, "direct"))
	cases := map[string]struct {
		method, target, head string
		want                 int
	}{
		"granted":              {"CONNECT", echo, right, http.StatusOK},
		"no credentials":       {"CONNECT", echo, "", http.StatusProxyAuthRequired},
		"wrong credentials":    {"CONNECT", echo, wrong, http.StatusProxyAuthRequired},
		"no CONNECT":           {"GET", "http://" + echo + "/", right, http.StatusMethodNotAllowed},
		"refused":              {"CONNECT", c.target(t, "refused"), right, http.StatusBadGateway},
		"unknown name":         {"CONNECT", unknownName + ":80", right, http.StatusBadGateway},
		"not on loopback":      {"CONNECT", "192.0.2.1:80", right, http.StatusBadGateway},
		"head that is too big": {"CONNECT", echo, "X: " + strings.Repeat("x", headLimit) + "\r\n", http.StatusBadRequest},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			conn := reach(t, c.corpAddress(t))
			begun := time.Now()
			fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", tc.method, tc.target, tc.target, tc.head)
			r := bufio.NewReader(conn)
			answer, err := http.ReadResponse(r, &http.Request{Method: tc.method})
			if err != nil {
				t.Fatal(err)
			}
			if answer.StatusCode != tc.want {
				t.Fatalf("got status %d, want %d", answer.StatusCode, tc.want)
			}
			if tc.want != http.StatusOK {
				return
			}
			if took := time.Since(begun); took < slow {
				t.Errorf("got the answer after %s, want at least %s", took, slow)
			}
			askForPage(t, conn, r)
		})
	}
}

func TestConnectProxyPassesOnWhatCameWithTheRequest(t *testing.T) {
	c := troupe(t, waits{})
	conn := reach(t, c.corpAddress(t))
	fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic %s\r\n\r\nGET / HTTP/1.0\r\nHost: x\r\n\r\n",
		c.target(t, "direct"), base64.StdEncoding.EncodeToString([]byte(c.credentials())))
	conn.CloseWrite()
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.Contains(string(answer), page) {
		t.Errorf("got %q, %v, want %q", answer, err, page)
	}
}

func TestTunnelPassesOnAReset(t *testing.T) {
	c := troupe(t, waits{})
	l, err := net.Listen("tcp", freePort)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn := reach(t, c.corpAddress(t))
	fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic %s\r\n\r\n",
		l.Addr(), base64.StdEncoding.EncodeToString([]byte(c.credentials())))
	target, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: http.MethodConnect}); err != nil {
		t.Fatal(err)
	}
	target.(*net.TCPConn).SetLinger(0)
	target.Close()
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want %v", err, syscall.ECONNRESET)
	}
}

func TestSOCKSProxy(t *testing.T) {
	const slow = 20 * time.Millisecond
	c := troupe(t, waits{socks: slow})
	right := &proxy.Auth{User: userName, Password: c.password}
	cases := map[string]struct {
		target string
		auth   *proxy.Auth
		want   string // in the error; empty: granted
	}{
		"name":            {named(echoName, c.target(t, "direct")), right, ""},
		"address":         {c.target(t, "direct"), right, ""},
		"wrong password":  {c.target(t, "direct"), &proxy.Auth{User: userName, Password: "guess"}, "authentication failed"},
		"no user":         {c.target(t, "direct"), nil, "no acceptable authentication methods"},
		"refused":         {c.target(t, "refused"), right, "connection refused"},
		"unknown name":    {unknownName + ":80", right, "host unreachable"},
		"not on loopback": {"192.0.2.1:80", right, "general SOCKS server failure"},
		"IPv6 elsewhere":  {"[2001:db8::1]:80", right, "general SOCKS server failure"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			d, err := proxy.SOCKS5("tcp", hostOf(t, c.Egresses[1].URL), tc.auth, nil)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			begun := time.Now()
			conn, err := d.(proxy.ContextDialer).DialContext(ctx, "tcp", tc.target)
			if tc.want != "" {
				if err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Fatalf("got %v, want %q", err, tc.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if took := time.Since(begun); took < slow {
				t.Errorf("got a tunnel after %s, want at least %s", took, slow)
			}
			askForPage(t, conn, conn)
		})
	}
}

func TestSOCKSProxyRefusesOtherCommands(t *testing.T) {
	c := troupe(t, waits{})
	login := string([]byte{1, byte(len(userName))}) + userName + string([]byte{byte(len(c.password))}) + c.password
	cases := map[string]struct {
		request []byte
		want    byte
	}{
		"BIND":            {[]byte{5, 2, 0, 1, 127, 0, 0, 1, 0, 80}, socksNoCommand},
		"kind of address": {[]byte{5, 1, 0, 9}, socksNoAddressType},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			conn := reach(t, hostOf(t, c.Egresses[1].URL))
			conn.Write([]byte{5, 1, 2})
			io.WriteString(conn, login)
			conn.Write(tc.request)
			answer, err := io.ReadAll(conn)
			if want := []byte{5, 2, 1, 0, 5, tc.want}; err != nil || !bytes.HasPrefix(answer, want) {
				t.Errorf("got %v, %v, want %v", answer, err, want)
			}
		})
	}
}

func FuzzReadSOCKS(f *testing.F) {
	f.Add([]byte{5, 1, 0, 1, 127, 0, 0, 1, 0, 80})
	f.Add([]byte{5, 1, 0, 3, 1, 'a', 0, 80})
	f.Add([]byte{5, 2, 0, 4})
	f.Fuzz(func(t *testing.T, request []byte) {
		address, reply, err := readSOCKS(bytes.NewReader(request))
		if err != nil || reply != socksGranted {
			return
		}
		if _, _, err := net.SplitHostPort(address); err != nil && !strings.ContainsAny(address, ":[]%") {
			t.Errorf("got %q for %v: %v", address, request, err)
		}
	})
}
