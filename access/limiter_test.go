package access

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"wsproxy/lifecycle"
)

func TestConnect(t *testing.T) {
	type dial struct {
		client, identity string
		refused          bool
	}
	for name, tc := range map[string]struct {
		limits Limits
		dials  []dial
	}{
		"no limit":    {dials: []dial{{client: "10.0.0.1"}, {client: "10.0.0.1"}}},
		"connections": {limits: Limits{Connections: 2}, dials: []dial{{client: "10.0.0.1"}, {client: "10.0.0.2"}, {client: "10.0.0.3", refused: true}}},
		"per client": {limits: Limits{PerClient: 1}, dials: []dial{
			{client: "10.0.0.1"}, {client: "10.0.0.1", refused: true}, {client: "10.0.0.2"}, {client: "::ffff:10.0.0.2", refused: true},
		}},
		"IPv6 by /64": {limits: Limits{PerClient: 1}, dials: []dial{
			{client: "2001:db8::1"}, {client: "2001:db8::ffff:2", refused: true}, {client: "2001:db8:0:1::1"}, {client: "fe80::1%eth0"},
		}},
		"no address": {limits: Limits{PerClient: 1}, dials: []dial{{}, {}}},
		"per identity": {limits: Limits{PerIdentity: 1}, dials: []dial{
			{client: "10.0.0.1", identity: "ann"}, {client: "10.0.0.2", identity: "ann", refused: true}, {client: "10.0.0.2", identity: "bob"}, {client: "10.0.0.2"}, {client: "10.0.0.2"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			m := NewLimiter(tc.limits)
			var releases []func()
			for i, d := range tc.dials {
				address, _ := netip.ParseAddr(d.client)
				release, f := m.Connect(address, d.identity)
				if (f != nil) != d.refused {
					t.Errorf("dial %d: got %v, want refused %t", i, f, d.refused)
				}
				if f != nil && f.Reason != lifecycle.ReasonConnectionLimit {
					t.Errorf("dial %d: got %s, want connection_limit", i, f.Reason)
				}
				if release != nil {
					releases = append(releases, release)
				}
			}
			for _, release := range releases {
				release()
			}
			if m.open != 0 || len(m.clients) != 0 || len(m.identities) != 0 {
				t.Errorf("after all left: got %d open, %v, %v, want none", m.open, m.clients, m.identities)
			}
		})
	}
}

// A lower limit holds for the next connection; those that are open stay and are counted.
func TestSetLimits(t *testing.T) {
	m := NewLimiter(Limits{Connections: 2})
	client := netip.MustParseAddr("10.0.0.1")
	first, _ := m.Connect(client, "")
	second, _ := m.Connect(client, "")
	m.Set(Limits{Connections: 1})
	first()
	if _, f := m.Connect(client, ""); f == nil {
		t.Error("one open, limit 1: got in")
	}
	second()
	if _, f := m.Connect(client, ""); f != nil {
		t.Errorf("none open, limit 1: got %v", f)
	}
}

func TestHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewLimiter(Limits{Rate: 4, ClientRate: 2})
		a, b, c := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.3")
		for i, step := range []struct {
			after  time.Duration
			client netip.Addr
			wait   time.Duration // until the next is allowed; 0: this one is
		}{
			{client: a}, {client: a}, {client: a, wait: 500 * time.Millisecond}, // its own burst
			{client: b}, {client: b}, // everyone's is used up
			{client: c, wait: 250 * time.Millisecond},
			{after: 500 * time.Millisecond, client: c},
			{client: c},
			{client: netip.Addr{}, wait: 250 * time.Millisecond}, // no address, but everyone's limit
			{after: 250 * time.Millisecond, client: netip.Addr{}},
		} {
			time.Sleep(step.after)
			f := m.Handshake(step.client)
			var got time.Duration
			if f != nil {
				got = f.RetryAfter
				if f.Reason != lifecycle.ReasonRateLimit {
					t.Errorf("step %d: got %s, want rate_limit", i, f.Reason)
				}
			}
			if got.Round(time.Millisecond) != step.wait {
				t.Errorf("step %d: got wait %v, want %v", i, got, step.wait)
			}
		}
	})
}

// The bucket of a rate below one a second holds one.
func TestSlowRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewLimiter(Limits{ClientRate: 0.1})
		a := netip.MustParseAddr("10.0.0.1")
		if f := m.Handshake(a); f != nil {
			t.Errorf("first: got %v", f)
		}
		if f := m.Handshake(a); f == nil || f.RetryAfter != 10*time.Second {
			t.Errorf("second: got %+v, want to wait 10 s", f)
		}
		time.Sleep(10 * time.Second)
		if f := m.Handshake(a); f != nil {
			t.Errorf("after 10 s: got %v", f)
		}
	})
}

// A hundred thousand addresses take no more memory than clientsKept do.
func TestClientsKept(t *testing.T) {
	m := NewLimiter(Limits{ClientRate: 1})
	for i := range 100_000 {
		m.Handshake(netip.MustParseAddr(fmt.Sprintf("2001:db8:%x:%x::1", i>>16, i&0xffff)))
	}
	if got := m.rates.recent.Len(); got != clientsKept {
		t.Errorf("got %d clients, want %d", got, clientsKept)
	}
}
