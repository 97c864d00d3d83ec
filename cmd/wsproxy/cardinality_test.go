package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// agreeable is an upstream that takes the first subprotocol that it is offered, and ends as soon as it is spoken to.
func agreeable(t *testing.T) (address string) {
	t.Helper()
	var serving sync.WaitGroup
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			return
		}
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		serving.Add(1)
		defer serving.Done()
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		protocol, _, _ := strings.Cut(r.Header.Get("Sec-WebSocket-Protocol"), ",")
		said := strings.TrimSuffix(accepted, "\r\n") + "Sec-WebSocket-Protocol: " + protocol + "\r\n\r\n"
		if b, err := ask(c, said); err == nil && len(b) >= 8 {
			c.Write([]byte{0x88, 2, b[6], b[7]}) // the client's code, whose mask is zeros
		}
	}))
	t.Cleanup(func() { server.Close(); serving.Wait() })
	return server.Listener.Addr().String()
}

// stranger makes up names that nobody has heard before.
type stranger struct{ *rand.Rand }

func (s stranger) name() string { return fmt.Sprintf("x%016x", s.Uint64()) }

// closeWith is a Close frame with a reason of its own.
func (s stranger) closeWith(code uint16) string {
	payload := append(binary.BigEndian.AppendUint16(nil, code), s.name()...)
	return string(append([]byte{0x88, 0x80 | byte(len(payload)), 0, 0, 0, 0}, payload...))
}

// headers are those that clients write what they like into.
func (s stranger) headers() []string {
	return []string{
		"User-Agent: " + s.name() + "/1.0", "Sec-WebSocket-Protocol: " + s.name() + ", " + s.name(), "X-User: " + s.name(), "X-" + s.name() + ": " + s.name(),
		"X-Forwarded-For: " + fmt.Sprintf("10.%d.%d.%d", s.IntN(256), s.IntN(256), s.IntN(256)), "Traceparent: 00-" + fmt.Sprintf("%032x-%016x-01", s.Uint64()|1, s.Uint64()|1),
	}
}

// webSocket opens one by text and closes it with code; it says how the answer begins.
func (s stranger) webSocket(to string, code uint16, says ...string) string {
	c, err := net.DialTimeout("tcp", to, patience)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	var answer []byte
	for _, text := range says {
		if answer, err = ask(c, text); err != nil {
			return err.Error()
		}
	}
	if strings.Contains(string(answer), " 101 ") {
		io.WriteString(c, s.closeWith(code))
		io.Copy(io.Discard, c)
	}
	line, _, _ := strings.Cut(string(answer), "\r\n")
	return line
}

// codes are closing codes of every class, some of which endpoints may not send.
var codes = []uint16{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 1005, 1006, 2999, 3000, 3999, 4000, 4001, 4401, 4999, 5000}

const (
	known      = 800 // strangers after which the points of all that usually happens are there
	seldom     = 25  // points of what happens less often than that: a cause of an end, a reason of a failure
	atOnce     = 16
	madeUpName = "[xX][0-9a-fA-F]{16}"
)

// point is a series without what makes several of a histogram.
var point = regexp.MustCompile(`(_bucket|_sum|_count)(\{)|,?le="[^"]*"`)

// points are those of one scrape, each once.
func (s scraped) points() map[string]bool {
	all := make(map[string]bool)
	for series := range s.values {
		all[point.ReplaceAllString(series, "$2")] = true
	}
	return all
}

// notGrown has visit called for strangers, who tell a metric nothing that it shows: there are as many points at the end as
// soon after the beginning, all of them of names that the configuration and the schema have.
func (r *rig) notGrown(strangers int, visit func(s stranger, i int)) {
	r.t.Helper()
	seed := rand.Uint64()
	r.t.Logf("seed %d", seed)
	all := func(from, to int) map[string]bool {
		var visiting sync.WaitGroup
		next := make(chan int)
		for range atOnce {
			visiting.Go(func() {
				for i := range next {
					visit(stranger{rand.New(rand.NewPCG(seed, uint64(i)))}, i)
				}
			})
		}
		for i := from; i < to; i++ {
			next <- i
		}
		close(next)
		visiting.Wait()
		eventually(r.t, "everybody has left", func() bool { return r.registry.Snapshot().Open() == 0 })
		return r.scraped().points()
	}
	r.scrape() // after which there are metrics of scraping, too
	before := all(0, known)
	after := all(known, known+strangers)
	name := regexp.MustCompile(madeUpName)
	var grown, wrong []string
	for p := range after {
		if name.MatchString(p) || strings.Contains(p, "otel_metric_overflow") {
			wrong = append(wrong, p)
		}
		if !before[p] {
			grown = append(grown, p)
		}
	}
	slices.Sort(grown)
	if len(grown) > seldom || len(wrong) > 0 {
		r.t.Errorf("%d new points and %d wrong ones, among them\n%s", len(grown), len(wrong), strings.Join(slices.Concat(wrong, grown)[:min(10, len(wrong)+len(grown))], "\n"))
	}
	m := r.scraped()
	opened, failed := m.sum("wsproxy_connection_opened_total"), m.sum("wsproxy_connection_failed_total")+m.sum("wsproxy_connection_rejected_total")
	r.t.Logf("%d points before, %d after; %d opened, %d failed", len(before), len(after), opened, failed)
	if opened < known/2 || failed == 0 {
		r.t.Errorf("got %d opened and %d failed, want more", opened, failed)
	}
}

// What clients make up adds no point to a metric: hosts, paths, agents, subprotocols, identities, methods, close reasons.
func TestStrangersDoNotGrowTheMetrics(t *testing.T) {
	address := agreeable(t)
	r := newRig(t, func(cfg object) {
		cfg["routes"] = []object{route("chat", "match", "/chat/{room}", "identity", "header:X-User")}
		cfg["upstreams"] = []object{{"name": "echo", "targets": []string{"ws://" + address}}}
	})
	to := r.first.String()
	client := &http.Client{Timeout: patience, Transport: &http.Transport{
		MaxIdleConnsPerHost: 32, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", to)
		},
	}}
	defer client.CloseIdleConnections()
	r.notGrown(10_000, func(s stranger, i int) {
		path := []string{"/chat/" + s.name(), "/chat/" + s.name() + "?" + s.name() + "=" + s.name()}[i%2]
		if i%10 == 1 {
			path = "/" + s.name()
		}
		if i%10 != 0 {
			upgrade := strings.Replace(upgradeOf(path, s.headers()...), "Host: x", "Host: "+s.name()+".example", 1)
			if got := s.webSocket(to, codes[i%len(codes)], upgrade); !strings.HasPrefix(got, "HTTP/1.1 ") {
				t.Errorf("%s: got %q, want an answer", path, got)
			}
			return
		}
		q, err := http.NewRequestWithContext(t.Context(), []string{"GET", "POST", strings.ToUpper(s.name())}[i/10%3], "http://"+s.name()+path, nil)
		if err != nil {
			t.Error(err)
			return
		}
		for _, h := range s.headers() {
			name, value, _ := strings.Cut(h, ": ")
			q.Header.Set(name, value)
		}
		resp, err := client.Do(q)
		if err != nil {
			t.Error(err)
			return
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	})
}

// The same of clients that name their targets, and of what is in their tunnels.
func TestStrangersInForwardModeDoNotGrowTheMetrics(t *testing.T) {
	z := &zone{answers: map[string][][]string{"target.test": {{"127.0.0.1"}}}}
	address := agreeable(t)
	_, port, _ := net.SplitHostPort(address)
	r := newRigWith(t, options{resolver: z.resolver(t)}, func(cfg object) {
		cfg["listeners"] = []object{{"address": "127.0.0.1:0", "mode": "forward"}}
		cfg["forward"] = object{"allow": []string{"*", "127.0.0.1"}}
		delete(cfg, "routes")
		delete(cfg, "upstreams")
	})
	to := r.first.String()
	r.notGrown(3000, func(s stranger, i int) {
		inside := upgradeOf("/"+s.name(), s.headers()...)
		target := []string{"target.test:" + port, address, s.name() + ".test:80", s.name() + fmt.Sprintf(".test:%d", 1+s.IntN(65535))}[i%4]
		says := [][]string{
			{connectTo(target), inside},
			{"\x05\x01\x00", socksTo(target), inside},
			{strings.Replace(upgradeOf("/", s.headers()...), "GET /", "GET ws://"+target+"/"+s.name(), 1)},
			{"CONNECT " + target + " HTTP/1.1\r\nHost: " + s.name() + "\r\nUser-Agent: " + s.name() + "\r\nProxy-Authorization: Basic " + s.name() + "\r\n\r\n", s.name() + "\r\n\r\n"},
			{strings.ToUpper(s.name()) + " http://" + target + "/" + s.name() + " HTTP/1.0\r\nHost: x\r\n\r\n"},
		}[i/4%5]
		s.webSocket(to, codes[i/20%len(codes)], says...)
	})
}
