//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"wsproxy/internal/selfca"
)

// day is a day of two instances of a service in about a minute, with a stack of its own whose rules go faster: good traffic and all
// that may go wrong. What was done is written down as it is done, and what the stack shows must be that.
type day struct {
	*house   // with the day's own stack, and a certificate near its end
	a, b     *wsproxy
	settings *settings // a's
	others   *settings // b's
	echo     *echo
	done     map[string]ledger // by instance
	read     map[*process]int  // how much of a wsproxy's log was judged
	dawn     time.Time
	staying  []*client // on the limited route, until the drain
	limit    int
}

const (
	nameDelay = 300 * time.Millisecond
	nearEnd   = 10 * 24 * time.Hour // of instance a's certificate
	farEnd    = 100 * 24 * time.Hour
	drainTime = 6 * time.Second // and nobody leaves before
)

// What wsproxy and its stack may complain of, in phases that break something on purpose.
const (
	ofTheTarget    = `"msg":"target unhealthy"`
	ofTheOperator  = `"msg":"connections are drained"`
	ofTheReload    = `"msg":"configuration (refused|not taken|.*)"`
	ofTheCollector = `"component":"telemetry"`
)

func (h *house) scriptedDay(t *testing.T) {
	if os.Geteuid() != 0 {
		withoutPrivilege(t, "a name server of its own wants root")
		return
	}
	d := h.newDay(t)
	for _, p := range []struct {
		name, purposely string // what may be complained of
		run             func(*testing.T)
	}{
		{"nobody is there", "", d.nobody},
		{"opens", ofTheTarget, d.opens},
		{"good traffic", "", d.goodTraffic},
		{"slow DNS, slow egress", "", d.slowWays},
		{"refusing upstream", "", d.refusals},
		{"resets and violations", "", d.resets},
		{"reconnect storm", ofTheOperator, d.storm},
		{"a wrong configuration", ofTheReload, d.wrongConfiguration},
		{"the numbers are the script's", "", d.exactly},
		{"an instance is killed and comes back", "", d.restarts},
		{"the collector restarts", ofTheCollector, d.collectorRestarts},
		{"dashboards", "", d.dashboards},
		{"exemplars lead to traces", "", d.exemplars},
		{"drain", "", d.drains},
		{"every trace is there", "", d.traces},
		{"Monitor", "", d.monitor},
		{"alerts", "", d.alerts},
	} {
		began := time.Now() // no subtests: processes and clients live on
		p.run(t)
		d.judge(t, p.purposely)
		t.Logf("%s: %.1f s", p.name, time.Since(began).Seconds())
		if t.Failed() { // the rest would be told of what is missing
			return
		}
	}
	d.b.stop(t)
	d.stack.stop(t)
}

// newDay makes the stack and the settings. Nothing of wsproxy runs yet.
func (h *house) newDay(t *testing.T) *day {
	t.Helper()
	own := *h
	d := &day{house: &own, done: map[string]ledger{"a": {}, "b": {}}, read: make(map[*process]int), dawn: time.Now(), limit: 10}
	own.stack = startStackWith(t, h, fastRules(t), zeros)
	d.echo = startEcho(t, h)
	plain := "ws://" + d.echo.plain
	_, port, _ := net.SplitHostPort(d.echo.plain)

	s := own.newSettings(t)
	s.service, s.telemetry["service_name"] = "day", "day"
	s.resolver = fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(200), rand.IntN(256), 1+rand.IntN(250))
	startNames(t, nil, s.resolver, "127.0.0.1", nameDelay)
	others := *s
	s.route("chat", nil, plain)
	others.route("chat", nil, plain)
	s.route("tls", object{"tls": s.trust()}, "wss://"+d.echo.secure)
	s.route("named", nil, "ws://slow.day.test:"+port)
	s.egress = append(s.egress, object{"name": "slow", "url": "http://" + serveRaw(t, slowConnect)})
	s.route("egress", object{"egress": "slow"}, plain)
	s.route("refused", nil, "ws://"+h.ports.address(t))
	s.route("retry", object{"balance": "round_robin"}, "ws://"+h.ports.address(t), plain)
	s.route("down", object{"health": object{"interval": "200ms"}}, "ws://"+h.ports.address(t))
	s.route("limited", object{
		"limits": object{"connections": d.limit}, "timeouts": object{"close": "60s"}, "keepalive": object{"interval": "off"}, // they read nothing
	}, plain)
	s.route("resets", nil, plain)
	s.route("rules", nil, plain)
	s.route("storm", object{"identity": "query:user"}, plain)
	s.drain = object{"timeout": drainTime.String(), "spread": "0s"}
	d.settings, d.others = s, &others
	return d
}

// instance runs a wsproxy of the day with a certificate that is valid for so long.
func (d *day) instance(t *testing.T, s *settings, id string, valid time.Duration) *wsproxy {
	t.Helper()
	leaf, err := d.ca.Issue(selfca.Leaf{Names: []string{id + ".day.test", "127.0.0.1"}, NotAfter: time.Now().Add(valid)})
	if err == nil {
		d.house.cert, d.house.key, err = leaf.Write(d.folder, "day-"+id)
	}
	if err != nil {
		t.Fatal(err)
	}
	return d.serve(t, s, "OTEL_RESOURCE_ATTRIBUTES=service.instance.id="+id)
}

// opens starts both. What they do before they first report is seen, too: Prometheus knows since when they count.
func (d *day) opens(t *testing.T) {
	d.a, d.b = d.instance(t, d.settings, "a", nearEnd), d.instance(t, d.others, "b", farEnd)
}

// visit is a client that chats and leaves in order.
func (d *day) visit(t *testing.T, w *wsproxy, path string, r request) {
	t.Helper()
	c := d.open(t, w, path, r)
	c.chat(t)
	c.leave(t, websocket.CloseNormalClosure)
	id := d.id(w)
	d.opened(id, 1)
	d.closed(id, "client_close", 1)
	d.carried(id, path, c)
}

func (d *day) id(w *wsproxy) string {
	if w == d.a {
		return "a"
	}
	return "b"
}

// goodTraffic also has enough messages that some are timed, and a ping.
func (d *day) goodTraffic(t *testing.T) {
	for i := range 20 {
		d.visit(t, d.a, "/chat/morning", request{secure: i%2 == 0})
	}
	for range 10 {
		d.visit(t, d.b, "/chat/morning", request{})
	}
	d.visit(t, d.a, "/tls/morning", request{})
	d.chat(t, d.a, "/rules/chat")
	d.opened("a", 1)
	d.closed("a", "client_close", 1)
}

func (d *day) slowWays(t *testing.T) {
	for range 5 {
		d.visit(t, d.a, "/named/late", request{})
	}
	for range 3 {
		d.visit(t, d.a, "/egress/late", request{})
	}
}

// refusals are by an upstream that is not there, by one that is known not to be, and by a limit. One is made up for by another target.
func (d *day) refusals(t *testing.T) {
	refuse := func(path string, status int) {
		t.Helper()
		if _, no := d.dial(t, d.a, path, request{}); no == nil || no.status != status {
			t.Errorf("%s: got %+v, want %d", path, no, status)
		}
	}
	for range 10 {
		refuse("/refused/x", http.StatusBadGateway)
	}
	d.failed("a", "connect", "connection_refused", 10)
	for range 3 {
		refuse("/down/x", http.StatusServiceUnavailable)
	}
	d.refused("a", "no_upstream", 3)
	for range d.limit {
		d.staying = append(d.staying, d.open(t, d.a, "/limited/stays", request{}))
	}
	d.opened("a", d.limit)
	refuse("/limited/over", http.StatusServiceUnavailable)
	d.refused("a", "connection_limit", 1)
	d.visit(t, d.a, "/retry/x", request{})
	d.did("a", "Retries by reason", "retry: connection_refused", 1)
}

func (d *day) resets(t *testing.T) {
	for range 40 {
		c := d.open(t, d.a, "/resets/x", request{})
		c.order(t, "/reset")
		c.closed(t, websocket.CloseServiceRestart)
	}
	d.opened("a", 40)
	d.closed("a", "upstream_reset", 40)
	c := d.open(t, d.a, "/rules/unmasked", request{})
	if _, err := c.NetConn().Write([]byte{0x81, 2, 'h', 'i'}); err != nil {
		t.Fatal(err)
	}
	c.closed(t, websocket.CloseProtocolError)
	d.opened("a", 1)
	d.closed("a", "protocol_error", 1)
	d.did("a", "Protocol violations", "upstream mask_missing", 1)
}

// storm has an operator drain a route: all of its clients come back at once.
func (d *day) storm(t *testing.T) {
	const clients = 30
	enter := func(i int) *client { return d.open(t, d.a, fmt.Sprintf("/storm/x?user=%d", i), request{}) }
	var all []*client
	for i := range clients {
		all = append(all, enter(i))
		d.a.awaitPhase(t, all[i].address(), "transfer") // one that is being set up is not drained
	}
	d.a.changeTo(t, http.MethodPost, "/api/drain", `{"route": "storm", "spread": 0}`, http.StatusAccepted)
	for _, c := range all {
		c.closed(t, websocket.CloseServiceRestart)
	}
	// Who is back before the former connection has ended has not come again.
	eventually(t, "the former connections have ended", func(ctx context.Context) error {
		open, err := d.a.open(ctx)
		if err == nil && len(open) > len(d.staying) {
			err = errNotYet
		}
		return err
	})
	for i := range clients {
		enter(i).leave(t, websocket.CloseNormalClosure)
	}
	d.opened("a", 2*clients)
	d.closed("a", "drain", clients)
	d.closed("a", "client_close", clients)
	d.did("a", "Reconnects by cause", "drain", clients)
}

func (d *day) wrongConfiguration(t *testing.T) {
	if err := os.WriteFile(d.a.file(), []byte("listeners: nowhere"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.a.change(t, http.MethodPost, "/api/reload", http.StatusUnprocessableEntity)
}

// restarts has an instance die without a word. What it had told by then counts on, and its counters begin again at zero.
func (d *day) restarts(t *testing.T) {
	d.b.signal(syscall.SIGKILL)
	<-d.b.ended
	d.judge(t, "")
	d.b = d.instance(t, d.others, "b", farEnd)
	for range 10 {
		d.visit(t, d.b, "/chat/again", request{})
	}
}

// collectorRestarts takes the collector away for a while. Traffic goes on, and is told afterwards. What the collector itself has counted
// of spans, for the Monitor tab, it forgets with its end; so that is there before.
func (d *day) collectorRestarts(t *testing.T) {
	d.stack.prometheus.want(t, "sum("+d.a.of("traces_span_metrics_calls_total", "span_name", "GET /refused/{visit}")+")", 10)
	d.stack.collector.stop(t)
	for range 5 {
		d.visit(t, d.a, "/chat/unseen", request{})
		d.visit(t, d.b, "/chat/unseen", request{})
	}
	d.stack.collector.start(t, d.house)
	d.stack.processes = append(d.stack.processes, d.stack.collector.process)
}

// drains ends instance a. Those who stay read nothing, so that they don't leave before they are cut.
func (d *day) drains(t *testing.T) {
	d.a.signal(syscall.SIGTERM)
	if !d.a.wait(drainTime+patience) || d.a.exitCode() != 0 {
		t.Fatalf("wsproxy did not end well: running %v, exit code %d", d.a.running(), d.a.exitCode())
	}
	d.closed("a", "drain", len(d.staying))
}

// judge wants nobody to have complained but of what was done on purpose.
func (d *day) judge(t *testing.T, purposely string) {
	t.Helper()
	d.stack.judge(t)
	for _, w := range []*wsproxy{d.a, d.b} {
		if w == nil {
			continue
		}
		fresh := w.log(t)[d.read[w.process]:]
		d.read[w.process] += len(fresh)
		for _, l := range complaints(fresh) {
			if purposely == "" || !regexp.MustCompile(purposely).Match(l) {
				t.Errorf("wsproxy complains: %s", l)
			}
		}
	}
}

// lost is what a process says that it lost.
func (d *day) lost(ctx context.Context) (lost []string, err error) {
	found, err := d.stack.prometheus.query(ctx, "sum by (wsproxy_signal, error_type) (wsproxy_telemetry_dropped_total) > 0")
	for _, s := range found {
		lost = append(lost, strings.Join([]string{s.labels["wsproxy_signal"], s.labels["error_type"]}, " "))
	}
	return lost, err
}
