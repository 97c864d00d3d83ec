//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// badEgress is what an egress does with everybody who wants to go to name.test, and what comes of it.
type badEgress struct {
	name   string
	says   string
	stays  bool // it does not close
	status int
	reason string
}

var badEgresses = []badEgress{
	{"answers-407", "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", false, 502, "proxy_auth_required"},
	{"answers-403", "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", false, 502, "proxy_refused"},
	{"answers-502", "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", false, 502, "proxy_refused"},
	{"answers-garbage", "220 mail.example ESMTP\r\n\r\n", false, 502, "proxy_protocol_error"},
	{"answers-half", "HTTP/1.1 200 Connec", false, 502, "proxy_protocol_error"},
	{"answers-nothing", "", true, 504, "proxy_timeout"},
	{"closes", "", false, 502, "proxy_protocol_error"},
}

// badEgresses has clients of a forward proxy go by an egress that is bad to each in another way. What a client is
// told, its trace tells, too, and nothing is left of it.
func (h *house) badEgresses(t *testing.T) {
	e := startEcho(t, h)
	egress := serveRaw(t, func(c net.Conn) {
		in := bufio.NewReader(c)
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		for _, bad := range badEgresses {
			if r.Host == bad.name+".test:80" {
				io.WriteString(c, bad.says)
				if bad.stays {
					io.Copy(io.Discard, in)
				}
				return
			}
		}
		<-time.After(egressDelay)
		to, err := net.Dial("tcp", e.plain)
		if err != nil {
			return
		}
		defer to.Close()
		io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		join(c, in, to)
	})
	s := h.newSettings(t)
	s.egress = []object{{"name": "bad", "url": "http://" + egress, "resolve": "remote"}}
	s.forward = object{"allow": []string{"*.test"}, "egress": "bad", "timeouts": object{"proxy": "2s"}}
	w := h.serve(t, s)
	for _, bad := range badEgresses {
		t.Run(bad.name, func(t *testing.T) { h.badEgress(t, w, bad) })
	}
	t.Run("waits", func(t *testing.T) {
		gorillaThrough(t, "ws://waits.test/waits", &url.URL{Scheme: "http", Host: w.plain}, h.caFile)
		trace := h.stack.jaeger.await(t, w.traceOf(t, func(l line) bool { return l.Path == "/waits" }), spansNamed("CONNECT", spanProxy, spanUpgrade, spanClose))
		if took := trace.span(spanProxy).took(); took < egressDelay {
			t.Errorf("%s took %v, want at least %v", spanProxy, took, egressDelay)
		}
		for _, s := range trace.spans {
			if s.failed {
				t.Errorf("%s has status Error", s.name)
			}
		}
	})
	eventually(t, "nothing is open", func(ctx context.Context) error {
		if all, err := w.open(ctx); err != nil || len(all) > 0 {
			return fmt.Errorf("%d connections, %w", len(all), err)
		}
		return nil
	})
}

func (h *house) badEgress(t *testing.T, w *wsproxy, bad badEgress) {
	status, local := exchange(t, w.plain, "CONNECT "+bad.name+".test:80 HTTP/1.1\r\nHost: "+bad.name+".test\r\n\r\n")
	if status != bad.status {
		t.Errorf("got %d, want %d", status, bad.status)
	}
	trace := h.stack.jaeger.await(t, w.traceOf(t, func(l line) bool { return l.Client == local }), spansNamed("CONNECT", spanConnect, spanProxy))
	var failed []string
	for _, s := range trace.spans {
		if s.failed {
			failed = append(failed, s.name)
		}
	}
	if got := strings.Join(failed, ", "); got != "CONNECT, "+spanProxy {
		t.Errorf("got status Error of %s, want it of CONNECT and %s", got, spanProxy)
	}
	root, proxy := trace.root(), trace.span(spanProxy)
	if root.text("wsproxy.phase.name") != "proxy" || root.text("error.type") != bad.reason || proxy.text("error.type") != bad.reason {
		t.Errorf("got\n%s\nwant the phase proxy to fail with %s", trace, bad.reason)
	}
	wantNumber(t, root, "http.response.status_code", int64(bad.status))
	h.stack.prometheus.wantThat(t, "sum("+w.of("wsproxy_connection_failed_total", "wsproxy_phase_name", "proxy", "error_type", bad.reason)+")", "at least 1",
		func(v float64) bool { return v >= 1 })
}
