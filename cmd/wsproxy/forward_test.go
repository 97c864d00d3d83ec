package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"wsproxy/internal/selfca"
	"wsproxy/lifecycle"
	"wsproxy/tlsconf"
)

// newForwardRig has one listener, in forward mode, by which this machine can be reached.
func newForwardRig(t *testing.T, forward object) *rig {
	t.Helper()
	forward["allow"] = []string{"127.0.0.0/8"}
	return newRig(t, func(cfg object) {
		cfg["listeners"] = []object{{"address": "127.0.0.1:0", "mode": "forward"}}
		cfg["forward"] = forward
		delete(cfg, "routes")
		delete(cfg, "upstreams")
	})
}

// visit opens a WebSocket by the proxy. roots are those of wss targets.
func (r *rig) visit(target string, roots *x509.CertPool) (*websocket.Conn, error) {
	r.t.Helper()
	d := websocket.Dialer{
		HandshakeTimeout: patience, TLSClientConfig: &tls.Config{RootCAs: roots},
		Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: r.first.String()}),
	}
	c, resp, err := d.DialContext(r.t.Context(), target, nil)
	if resp != nil {
		resp.Body.Close()
	}
	if err != nil {
		return nil, err
	}
	r.t.Cleanup(func() { c.Close() })
	c.SetReadDeadline(time.Now().Add(patience))
	return c, nil
}

func (r *rig) mustVisit(target string, roots *x509.CertPool) *websocket.Conn {
	r.t.Helper()
	c, err := r.visit(target, roots)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// opaque is a tunnel in which nothing is seen, to a server that sends back what it gets.
func (r *rig) opaque() net.Conn {
	r.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if c, err := l.Accept(); err == nil {
			io.Copy(c, c)
			c.Close()
		}
	}()
	c, err := net.Dial("tcp", r.first.String())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close(); l.Close(); <-done })
	c.SetDeadline(time.Now().Add(patience))
	io.WriteString(c, "CONNECT "+l.Addr().String()+" HTTP/1.1\r\nHost: x\r\n\r\nSSH-2.0-x\r\n")
	in := bufio.NewReader(c)
	resp, err := http.ReadResponse(in, &http.Request{Method: http.MethodConnect})
	if err != nil || resp.StatusCode != http.StatusOK {
		r.t.Fatalf("got %v, %v, want a tunnel", resp, err)
	}
	if line, err := in.ReadString('\n'); err != nil || line != "SSH-2.0-x\r\n" {
		r.t.Fatalf("got %q, %v, want it back", line, err)
	}
	return c
}

// What is open by a forward listener goes by forward.on_change when the block changes or goes away.
func TestReloadAndForwardTraffic(t *testing.T) {
	change := func(onChange string) func(object) {
		return func(cfg object) {
			cfg["forward"] = object{"allow": []string{"127.0.0.0/8"}, "on_change": onChange, "timeouts": object{"write": "20s"}}
		}
	}
	remove := func(cfg object) {
		cfg["listeners"] = []object{{"address": "127.0.0.1:0"}}
		cfg["routes"], cfg["upstreams"] = []object{route("chat")}, []object{{"name": "echo", "targets": []string{"ws://127.0.0.1:1"}}}
		delete(cfg, "forward")
	}
	for _, tc := range []struct {
		name, onChange string
		change         func(cfg object)
		closes         bool
	}{
		{"kept", "keep", change("keep"), false},
		{"drained", "keep", change("drain"), true},
		{"closed", "keep", change("close"), true},
		{"nothing but on_change", "keep", func(cfg object) { cfg["forward"].(object)["on_change"] = "close" }, false},
		{"removed and closed", "close", remove, true},
		{"removed and kept", "keep", remove, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newForwardRig(t, object{"on_change": tc.onChange})
			socket, tunnel := r.mustVisit(r.upstream.url, nil), r.opaque()
			r.talks(socket)
			eventually(t, "both are open", func() bool { return r.registry.Snapshot().Open() == 2 })
			tc.change(r.cfg)
			got := r.reloaded()
			if got.Err != nil {
				t.Fatal(got.Err)
			}
			if changed := slices.Contains(got.Changed, "forward"); changed == (tc.name == "nothing but on_change") {
				t.Errorf("got changes %q", got.Changed)
			}
			if tc.closes {
				wantClose(t, socket, websocket.CloseServiceRestart, "configuration changed")
				if rest, err := io.ReadAll(tunnel); len(rest) > 0 || err != nil {
					t.Errorf("the tunnel: got %q, %v, want an end", rest, err)
				}
				tunnel.Close()
				eventually(t, "both count as closed by a reload", func() bool {
					return r.metric("1", "wsproxy_connection_closes_total", `cause="reload"`, `code_class="1012"`) &&
						r.metric("1", "wsproxy_connection_closes_total", `cause="reload"`, `code_class="none"`)
				})
				return
			}
			r.talks(socket)
			io.WriteString(tunnel, "more")
			if _, err := io.ReadFull(tunnel, make([]byte, 4)); err != nil {
				t.Errorf("the tunnel: got %v, want it open", err)
			}
		})
	}
}

// secureEcho is the upstream with TLS, known as localhost, and the CA of its certificate.
func secureEcho(t *testing.T) (target, caFile string, roots *x509.CertPool) {
	t.Helper()
	ca, err := selfca.New("targets")
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := ca.Issue(selfca.Leaf{Names: []string{"localhost"}})
	if err != nil {
		t.Fatal(err)
	}
	if caFile, err = ca.Write(t.TempDir(), "targets"); err != nil {
		t.Fatal(err)
	}
	plain := newEchoUpstream(t)
	front := httptest.NewUnstartedServer(passOn(strings.TrimPrefix(plain.url, "ws://")))
	front.Config.ErrorLog = log.New(io.Discard, "", 0)
	front.TLS = &tls.Config{Certificates: []tls.Certificate{leaf.TLS()}}
	front.StartTLS()
	t.Cleanup(front.Close)
	_, port, _ := net.SplitHostPort(front.Listener.Addr().String())
	return "wss://localhost:" + port, caFile, ca.Pool()
}

// newInterceptionCA makes a CA as `wsproxy ca` does, over another one if there is one.
func newInterceptionCA(t *testing.T, files tlsconf.Pair) *x509.CertPool {
	t.Helper()
	os.Remove(files.Cert)
	os.Remove(files.Key)
	cert, err := tlsconf.NewCA(files, "interception", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return pool
}

// TLS of listed hosts ends here, and goes on by what a reload says.
func TestIntercept(t *testing.T) {
	target, targetCA, targets := secureEcho(t)
	folder := t.TempDir()
	files := tlsconf.Pair{Cert: filepath.Join(folder, "ca.pem"), Key: filepath.Join(folder, "ca-key.pem")}
	trusted := newInterceptionCA(t, files)
	intercept := object{"hosts": []string{"localhost"}, "ca": object{"cert": files.Cert, "key": files.Key}, "upstream_ca": targetCA}
	r := newForwardRig(t, object{"intercept": intercept})
	c := r.mustVisit(target, trusted)
	r.talks(c)
	for conn := range r.registry.All() {
		if f := conn.Facts(); !f.Intercepted || f.Tunnel != lifecycle.TunnelWebSocket || conn.Flow(lifecycle.Upstream).Text.Load() != 1 {
			t.Errorf("got %+v with %d messages, want an intercepted WebSocket with one", f, conn.Flow(lifecycle.Upstream).Text.Load())
		}
	}
	if _, err := r.visit(target, targets); err == nil {
		t.Error("got a connection of a client that does not trust the CA")
	}

	r.cfg["forward"].(object)["realm"] = "" // wrong, so that nothing changes
	if got := r.reloaded(); got.Err == nil {
		t.Error("got no problem")
	}
	delete(r.cfg["forward"].(object), "realm")
	r.cfg["log"] = object{"level": "warn"} // another generation, by the same settings
	r.mustReload()
	renewed := newInterceptionCA(t, files)
	if err := r.current().tls.Reload(); err != nil {
		t.Fatal(err)
	}
	r.talks(r.mustVisit(target, renewed))

	intercept["hosts"] = []string{"*.localhost"}
	r.mustReload()
	r.talks(r.mustVisit(target, targets))
	intercept["hosts"], intercept["upstream_ca"] = []string{"localhost"}, files.Cert
	r.mustReload()
	if _, err := r.visit(target, renewed); err == nil || !strings.Contains(err.Error(), "bad handshake") {
		t.Errorf("got %v, want the target's certificate refused, and the client told", err)
	}
	r.talks(c)
}

// passOn serves what goes to a server without TLS.
func passOn(address string) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite:  func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: address}) },
		ErrorLog: log.New(io.Discard, "", 0),
	}
}
