package telemetry

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"wsproxy/lifecycle"
)

// counted is a counter's sum by the value of one of its attributes, zeros left out.
func (h *harness) counted(name, key string) map[string]int64 {
	all := make(map[string]int64)
	for _, scope := range h.collect().ScopeMetrics {
		for _, m := range scope.Metrics {
			sum, ok := m.Data.(metricdata.Sum[int64])
			if m.Name != name || !ok {
				continue
			}
			for _, p := range sum.DataPoints {
				for _, kv := range p.Attributes.ToSlice() {
					if string(kv.Key) == key && p.Value > 0 {
						all[kv.Value.AsString()] += p.Value
					}
				}
			}
		}
	}
	return all
}

func TestReconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Settings{Routes: chat})
		defer h.close()
		expect := func(what string, want int64) {
			t.Helper()
			if got := h.counted("wsproxy.connection.reconnects", "wsproxy.close.cause")["client_close"]; got != want {
				t.Errorf("%s: got %d reconnects, want %d", what, got, want)
			}
		}
		h.visit(0)
		h.visit(0)
		expect("nobody in particular", 0)
		h.visit(1)
		h.visit(2)
		expect("two clients", 0)
		h.visit(1)
		expect("one came back", 1)
		h.visit(1)
		expect("and again", 2)
		time.Sleep(formerFor + time.Second)
		h.visit(1)
		expect("much later", 2)
	})
}

// A client that leaves is often back before its former connection is over: a page is loaded anew, or the upstream takes its time.
func TestReconnectsDuringTheClosing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Settings{Routes: chat})
		defer h.close()
		expect := func(what string, want int64) {
			t.Helper()
			if got := h.counted("wsproxy.connection.reconnects", "wsproxy.close.cause")["client_gone"]; got != want {
				t.Errorf("%s: got %d reconnects, want %d", what, got, want)
			}
		}
		gone := lifecycle.Close{Cause: lifecycle.CauseClientGone, Initiator: lifecycle.InitiatorClient, Code: lifecycle.NoCode}
		first, others := h.visitor(1), []*script{h.visitor(1)}
		expect("two at once", 0)
		closing := first.closing(gone)
		others = append(others, h.visitor(1))
		expect("back while the former is closing", 1)
		closing.End(first.ctx, nil)
		first.c.Closed(gone)
		others = append(others, h.visitor(1))
		expect("one more, when the former is over", 1)
		for _, s := range others {
			s.closing(cleanClose).End(s.ctx, nil)
			s.c.Closed(cleanClose)
		}
	})
}

func TestMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Settings{Routes: chat})
		defer h.close()
		s := h.accept("203.0.113.7:51000")
		s.head()
		s.dial()
		s.upgrade()
		s.c.Pinged(lifecycle.LegClient, 20*time.Millisecond, true)
		s.c.Pinged(lifecycle.LegClient, 30*time.Millisecond, false)
		s.c.Pinged(lifecycle.LegUpstream, 40*time.Millisecond, true)
		s.c.Relayed(lifecycle.Downstream, 50*time.Microsecond)
		s.c.Probed(lifecycle.LegClient, time.Millisecond, 0)
		s.c.Probed(lifecycle.LegClient, time.Millisecond, 3)
		got := make(map[string]string)
		for _, scope := range h.collect().ScopeMetrics {
			for _, m := range scope.Metrics {
				if d, ok := m.Data.(metricdata.Histogram[float64]); ok {
					for _, p := range d.DataPoints {
						got[m.Name+" "+p.Attributes.Encoded(attribute.DefaultEncoder())] = time.Duration(p.Sum * float64(time.Second)).Round(time.Microsecond).String()
					}
				}
			}
		}
		for k, want := range map[string]string{
			"wsproxy.ping.duration wsproxy.leg=client,wsproxy.route.name=chat":            "20ms",
			"wsproxy.ping.duration wsproxy.leg=upstream,wsproxy.route.name=chat":          "40ms",
			"wsproxy.relay.duration wsproxy.direction=downstream,wsproxy.route.name=chat": "50µs",
			"wsproxy.tcp.rtt wsproxy.leg=client":                                          "2ms",
		} {
			if got[k] != want {
				t.Errorf("%s: got %q, want %s", k, got[k], want)
			}
		}
		if got := h.counted("wsproxy.tcp.retransmits", "wsproxy.leg"); got["client"] != 3 {
			t.Errorf("retransmits: got %v, want 3 of the client", got)
		}
		if took, _ := s.c.RTT(lifecycle.LegClient); took != 30*time.Millisecond {
			t.Errorf("got a round trip of %s, want the last, 30ms", took)
		}
		s.c.Stalled(lifecycle.Upstream, 5*time.Second)
		if got := h.console.String(); !strings.Contains(got, "connection stalled") || !strings.Contains(got, `"direction":"upstream"`) {
			t.Errorf("got %s, want the connection told as stalled", got)
		}
		s.relay(0, cleanClose)
	})
}
