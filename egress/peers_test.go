package egress

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"

	"wsproxy/internal/selfca"
)

// listen is a listener on loopback that goes away with the test.
func listen(t testing.TB, network, address string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// serve has handle talk to whoever connects. When the test ends it closes what is open and waits.
func serve(t testing.TB, l net.Listener, handle func(net.Conn)) string {
	t.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	ended := false
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			if ended {
				c.Close()
			}
			mu.Unlock()
			wg.Go(func() {
				defer c.Close()
				handle(c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		ended = true
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return l.Addr().String()
}

func serveTCP(t testing.TB, handle func(net.Conn)) string {
	return serve(t, listen(t, "tcp", "127.0.0.1:0"), handle)
}

func echo(c net.Conn) { io.Copy(c, c) }

// overTLS has handle talk through TLS.
func overTLS(config *tls.Config, handle func(net.Conn)) func(net.Conn) {
	return func(c net.Conn) { handle(tls.Server(c, config)) }
}

// relay copies both ways between c, whose first bytes are in r, and address.
func relay(c net.Conn, r io.Reader, address string) {
	target, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer target.Close()
	var wg sync.WaitGroup
	wg.Go(func() {
		io.Copy(target, r)
		target.(*net.TCPConn).CloseWrite()
	})
	io.Copy(c, target)
	c.Close()
	wg.Wait()
}

// httpProxy is a CONNECT proxy that sends everybody to target; it wants the user alice.
func httpProxy(target string, asked func(*http.Request)) func(net.Conn) {
	return func(c net.Conn) {
		r := bufio.NewReader(c)
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		asked(req)
		want := "Basic " + base64.StdEncoding.EncodeToString([]byte("alice:"+secret))
		if req.Method != http.MethodConnect || req.Header.Get("Proxy-Authorization") != want {
			io.WriteString(c, "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n")
			return
		}
		io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n")
		relay(c, r, target)
	}
}

// secret must appear in no error.
const secret = "s3cr3t-canary"

// socksProxy is a SOCKS5 proxy that sends everybody to target; it wants the user alice.
func socksProxy(target string, asked func(address string)) func(net.Conn) {
	return func(c net.Conn) {
		var head [2]byte
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return
		}
		methods := readN(c, int(head[1]))
		if !strings.Contains(methods, "\x02") {
			c.Write([]byte{5, 0xff})
			return
		}
		c.Write([]byte{5, 2})
		readN(c, 1)
		user := readN(c, int(readN(c, 1)[0]))
		password := readN(c, int(readN(c, 1)[0]))
		if user != "alice" || password != secret {
			c.Write([]byte{1, 1})
			return
		}
		c.Write([]byte{1, 0})
		asked(readSocksRequest(c))
		c.Write([]byte{5, 0, 0, 1, 127, 0, 0, 1, 0, 80})
		relay(c, c, target)
	}
}

// readSocksRequest reads a CONNECT and returns its address.
func readSocksRequest(c net.Conn) string {
	var host string
	switch kind := readN(c, 4)[3]; kind {
	case 1:
		host = net.IP(readN(c, 4)).String()
	case 3:
		host = readN(c, int(readN(c, 1)[0]))
	case 4:
		host = net.IP(readN(c, 16)).String()
	}
	port := readN(c, 2)
	return net.JoinHostPort(host, fmt.Sprint(int(port[0])<<8|int(port[1])))
}

// readN reads n bytes; zeros stand for those that did not come.
func readN(c net.Conn, n int) string {
	b := make([]byte, n)
	io.ReadFull(c, b)
	return string(b)
}

// zone is a DNS server's answers by name.
var zone = map[string][]string{
	"chat.test.":  {"127.0.0.1"},
	"proxy.test.": {"127.0.0.1"},
	"two.test.":   {"127.0.0.1", "127.0.0.2"},
	"both.test.":  {"127.0.0.1", "::1"},
	"six.test.":   {"::1"},
}

// resolver asks a DNS server of our own: it knows the zone, "fail.test." is a SERVFAIL and
// "silent.test." gets no answer.
func resolver(t testing.TB) *net.Resolver {
	t.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{PacketConn: socket, Handler: dns.HandlerFunc(answer)}
	done := make(chan struct{})
	started := make(chan struct{})
	server.NotifyStartedFunc = func() { close(started) }
	go func() {
		defer close(done)
		server.ActivateAndServe()
	}()
	<-started
	var mu sync.Mutex
	var asking []net.Conn
	t.Cleanup(func() {
		server.Shutdown()
		<-done
		mu.Lock()
		defer mu.Unlock()
		for _, c := range asking { // a lookup that was given up still waits 5 s for its answer
			c.Close()
		}
	})
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, "udp", socket.LocalAddr().String())
		if err == nil {
			mu.Lock()
			asking = append(asking, c)
			mu.Unlock()
		}
		return c, err
	}}
}

func answer(w dns.ResponseWriter, question *dns.Msg) {
	q := question.Question[0]
	reply := new(dns.Msg).SetReply(question)
	addresses, known := zone[q.Name]
	switch {
	case q.Name == "silent.test.":
		return
	case q.Name == "fail.test.":
		reply.Rcode = dns.RcodeServerFailure
	case !known:
		reply.Rcode = dns.RcodeNameError
	}
	for _, a := range addresses {
		header := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET, Ttl: 60}
		switch ip := net.ParseIP(a); {
		case q.Qtype == dns.TypeA && ip.To4() != nil:
			reply.Answer = append(reply.Answer, &dns.A{Hdr: header, A: ip})
		case q.Qtype == dns.TypeAAAA && ip.To4() == nil:
			reply.Answer = append(reply.Answer, &dns.AAAA{Hdr: header, AAAA: ip})
		}
	}
	w.WriteMsg(reply)
}

// authority is a CA with what its two sides need.
type authority struct {
	t  testing.TB
	ca *selfca.CA
}

func newAuthority(t testing.TB, name string) authority {
	t.Helper()
	ca, err := selfca.New(name)
	if err != nil {
		t.Fatal(err)
	}
	return authority{t, ca}
}

// server is the configuration of a server with the given names.
func (a authority) server(names ...string) *tls.Config {
	a.t.Helper()
	leaf, err := a.ca.Issue(selfca.Leaf{Names: names})
	if err != nil {
		a.t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{leaf.TLS()}, NextProtos: []string{"http/1.1"}}
}

// client trusts the CA.
func (a authority) client() *tls.Config {
	return &tls.Config{RootCAs: a.ca.Pool(), NextProtos: []string{"http/1.1"}}
}
