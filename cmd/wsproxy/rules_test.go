package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// served counts who connects to address, and hangs up on them.
func served(t *testing.T, address string) (at string, count *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	count = new(atomic.Int32)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			count.Add(1)
			c.Close()
		}
	})
	t.Cleanup(func() { l.Close(); serving.Wait() })
	return l.Addr().String(), count
}

// zone is a resolver of our own. A name has the addresses of its first answer, then those of its second, and so on.
// A name with a code has nothing else.
type zone struct {
	mu      sync.Mutex
	answers map[string][][]string
	codes   map[string]int
}

// silence is the code of a name about which nothing is said at all.
const silence = -1

// lead has a name lead to an address; lack has it have a code.
func (z *zone) lead(name, address string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.answers[name] = [][]string{{address}}
}

func (z *zone) lack(name string, code int) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.codes[name] = code
}

func (z *zone) ServeDNS(w dns.ResponseWriter, question *dns.Msg) {
	q := question.Question[0]
	reply := new(dns.Msg).SetReply(question)
	reply.RecursionAvailable = true // or Go does not believe that there is nothing
	name := strings.TrimSuffix(q.Name, ".")
	z.mu.Lock()
	all, known := z.answers[name]
	if code, set := z.codes[name]; set {
		reply.Rcode = code
	} else if !known {
		reply.Rcode = dns.RcodeNameError
	}
	if q.Qtype == dns.TypeA && len(all) > 0 {
		for _, a := range all[0] {
			reply.Answer = append(reply.Answer, &dns.A{Hdr: dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET}, A: net.ParseIP(a)})
		}
		if len(all) > 1 {
			z.answers[name] = all[1:]
		}
	}
	z.mu.Unlock()
	if reply.Rcode != silence {
		w.WriteMsg(reply)
	}
}

func (z *zone) resolver(t *testing.T) *net.Resolver {
	t.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started, done := make(chan struct{}), make(chan struct{})
	server := &dns.Server{PacketConn: socket, Handler: z, NotifyStartedFunc: func() { close(started) }}
	go func() {
		defer close(done)
		server.ActivateAndServe()
	}()
	<-started
	var asking sync.Map // a lookup that was given up still waits 5 s for its answer
	t.Cleanup(func() {
		server.Shutdown()
		<-done
		for c := range asking.Range {
			c.(net.Conn).Close()
		}
	})
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, "udp", socket.LocalAddr().String())
		if err == nil {
			asking.Store(c, nil)
		}
		return c, err
	}}
}

// connectStatus is what a CONNECT is answered.
func (r *rig) connectStatus(target string) int {
	r.t.Helper()
	c, err := net.Dial("tcp", r.first.String())
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: x\r\n\r\n", target)
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: http.MethodConnect})
	if err != nil {
		r.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK { // else the tunnel is the body
		io.Copy(io.Discard, resp.Body)
	}
	return resp.StatusCode
}

// One address of this machine is open to clients and another is not. Whatever a client calls the other, nobody
// connects to it, nor does an egress hear of it.
func TestForwardRulesHoldWhateverATargetIsCalled(t *testing.T) {
	good, goodCount := served(t, "127.0.0.1:0")
	_, port, _ := net.SplitHostPort(good)
	_, badCount := served(t, "127.0.0.2:"+port)
	for _, through := range []string{"directly", "through an egress"} {
		z := &zone{answers: map[string][][]string{
			"good.test": {{"127.0.0.1"}}, "bad.test": {{"127.0.0.2"}}, "xn--bcher-kva.test": {{"127.0.0.2"}},
			"mixed.test": {{"127.0.0.1", "127.0.0.2"}}, "mixed-too.test": {{"127.0.0.2", "127.0.0.1"}},
			"rebound.test": {{"127.0.0.1"}, {"127.0.0.2"}},
		}}
		egress, egressCount := served(t, "127.0.0.1:0")
		r := newRigWith(t, options{resolver: z.resolver(t)}, func(cfg object) {
			cfg["listeners"] = []object{{"address": "127.0.0.1:0", "mode": "forward"}}
			cfg["forward"] = object{"allow": []string{"*", "127.0.0.1"}}
			delete(cfg, "routes")
			delete(cfg, "upstreams")
			if through != "directly" {
				cfg["forward"].(object)["egress"] = "corp"
				cfg["egress"] = []object{{"name": "corp", "url": "http://" + egress}}
			}
		})
		// The egress hangs up on everybody it hears of.
		fine := map[string]int{"directly": http.StatusOK, "through an egress": http.StatusBadGateway}[through]
		for _, c := range []struct {
			host string
			want int
		}{
			{"127.0.0.1", fine},
			{"good.test", fine},
			{"rebound.test", fine},
			{"rebound.test", 403}, // the same name, a moment later
			{"bad.test", 403},
			{"BAD.test.", 403},
			{"bücher.test", 403},
			{"mixed.test", 403},
			{"mixed-too.test", 403},
			{"127.0.0.2", 403},
			{"[::ffff:127.0.0.2]", 403},
			{"[::ffff:7f00:2]", 403},
			{"[64:ff9b::127.0.0.2]", 403},
			{"2130706434", 403},
			{"0177.0.0.2", 403},
			{"0x7f000002", 403},
			{"127.2", 403},
			{"[::1%25lo]", 400},
		} {
			before := egressCount.Load()
			if got := r.connectStatus(c.host + ":" + port); got != c.want {
				t.Errorf("%s %s: got %d, want %d", c.host, through, got, c.want)
			}
			if heard := egressCount.Load() - before; c.want != fine && heard > 0 {
				t.Errorf("%s: the egress was connected to", c.host)
			}
		}
	}
	if goodCount.Load() == 0 || badCount.Load() != 0 {
		t.Errorf("got %d connections where it is allowed and %d where not, want some and none", goodCount.Load(), badCount.Load())
	}
}
