package upstream

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wsproxy/lifecycle"
)

// places are the addresses of a pool's targets, as they can be picked now.
func places(p *Pool) string {
	var all []string
	for _, target := range p.Status().Targets {
		for _, a := range target.Addresses {
			if a.State.Usable() {
				all = append(all, a.Address)
			}
		}
	}
	return strings.Join(all, " ")
}

func TestAddressesOfAName(t *testing.T) {
	cases := map[string]struct {
		found []string
		want  string
	}{
		"one":                       {[]string{"10.0.0.1"}, "chat.test:80"},
		"one of each family":        {[]string{"2001:db8::1", "10.0.0.1"}, "chat.test:80"},
		"several":                   {[]string{"10.0.0.3", "10.0.0.1", "10.0.0.2"}, "10.0.0.1:80 10.0.0.2:80 10.0.0.3:80"},
		"several of both, IPv4":     {[]string{"10.0.0.2", "10.0.0.1", "2001:db8::1", "2001:db8::2"}, "10.0.0.1:80 10.0.0.2:80"},
		"several of both, IPv6":     {[]string{"2001:db8::2", "2001:db8::1", "10.0.0.1", "10.0.0.2"}, "[2001:db8::1]:80 [2001:db8::2]:80"},
		"the larger family":         {[]string{"2001:db8::1", "10.0.0.2", "10.0.0.1"}, "10.0.0.1:80 10.0.0.2:80"},
		"one in two forms is one":   {[]string{"10.0.0.1", "::ffff:10.0.0.1", "10.0.0.2"}, "10.0.0.1:80 10.0.0.2:80"},
		"none: dialled by its name": {nil, "chat.test:80"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &directory{names: map[string][]string{"chat.test": c.found}}
				p := NewPool(Settings{Targets: []Target{{Name: "ws://chat.test", Address: "chat.test:80"}}, Resolver: d, ResolveInterval: time.Minute})
				run(t, p)
				if got := places(p); got != c.want {
					t.Errorf("got %s, want %s", got, c.want)
				}
				if l := must(t, p, Request{}); l.At.Target != "ws://chat.test" || l.At.Host != "chat.test:80" {
					t.Errorf("got %+v, want the name kept", l.At)
				}
			})
		})
	}
}

func TestNoLookups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &directory{names: map[string][]string{"a.test": {"10.0.0.1", "10.0.0.2"}}}
		p := NewPool(Settings{Resolver: d, ResolveInterval: time.Second, Targets: []Target{
			{Name: "egress", Address: "a.test:80", Egress: true}, {Name: "four", Address: "10.0.0.9:80"}, {Name: "six", Address: "[::1]:80"},
			{Name: "unix", Address: "/run/a.sock", Network: "unix"},
		}})
		run(t, p)
		time.Sleep(time.Minute)
		synctest.Wait()
		if d.asked != 0 {
			t.Errorf("asked %d times, want never", d.asked)
		}
		if got, want := places(p), "a.test:80 10.0.0.9:80 [::1]:80 /run/a.sock"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		off := NewPool(Settings{Resolver: d, Targets: []Target{{Name: "a", Address: "a.test:80"}}})
		run(t, off)
		time.Sleep(time.Minute)
		synctest.Wait()
		if d.asked != 0 {
			t.Errorf("with lookups off: asked %d times, want never", d.asked)
		}
	})
}

// A name's addresses are followed; connections to one that is gone stay until they end.
func TestNameMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		d := &directory{names: map[string][]string{"chat.test": {"10.0.0.1", "10.0.0.2"}}}
		p := NewPool(Settings{
			Targets: []Target{{Name: "chat", Address: "chat.test:80"}}, Resolver: d, ResolveInterval: 10 * time.Second,
			SlowStart: 30 * time.Second, Changed: j.changed, Looked: j.looked,
		})
		run(t, p)
		if got, want := j.told(), "chat: 2"; got != want {
			t.Errorf("told %q, want %q", got, want)
		}
		stays := must(t, p, Request{})
		stays.Opened()
		d.set(func() { d.names["chat.test"] = []string{"10.0.0.2", "10.0.0.3"} })
		time.Sleep(12 * time.Second)
		if got, want := states(p), "10.0.0.1=draining 10.0.0.2=healthy 10.0.0.3=slow_start"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if got, want := j.told(), "10.0.0.1:80 healthy>draining, chat: 2"; got != want {
			t.Errorf("told %q, want %q", got, want)
		}
		for range 10 {
			if l := must(t, p, Request{}); l.At.Address == "10.0.0.1:80" {
				t.Error("got the address that is gone")
			}
		}
		stays.Closed(lifecycle.Close{}, true)
		if got, want := states(p), "10.0.0.2=healthy 10.0.0.3=slow_start"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

func TestFailingLookups(t *testing.T) {
	cases := map[string]struct {
		before string // addresses
		during string // places while lookups fail
	}{
		"several addresses stay":           {"10.0.0.1 10.0.0.2", "10.0.0.1:80 10.0.0.2:80"},
		"a machine is dialled by address":  {"10.0.0.1", "10.0.0.1:80"},
		"of two families by the first one": {"10.0.0.1 2001:db8::1", "10.0.0.1:80"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var j journal
				d := &directory{names: map[string][]string{"chat.test": strings.Fields(c.before)}}
				p := NewPool(Settings{
					Targets: []Target{{Name: "chat", Address: "chat.test:80"}}, Resolver: d, ResolveInterval: 10 * time.Second, Looked: j.looked,
				})
				run(t, p)
				open := must(t, p, Request{})
				before := places(p)
				j.told()
				d.set(func() { d.err = errors.New("no name server") })
				time.Sleep(12 * time.Second)
				if got := places(p); got != c.during {
					t.Errorf("got %s while lookups fail, want %s", got, c.during)
				}
				if got := openOf(p)["chat"]; got != 1 {
					t.Errorf("got %d open, want 1", got)
				}
				if p.Status().Targets[0].Lookup == nil {
					t.Error("the status tells nothing of the lookup")
				}
				time.Sleep(time.Minute)
				if got, want := j.told(), fmt.Sprintf("chat: %d failed", len(strings.Fields(c.before))); got != want {
					t.Errorf("told %q, want %q, once", got, want)
				}
				d.set(func() { d.err = nil })
				time.Sleep(12 * time.Second)
				if got := places(p); got != before {
					t.Errorf("got %s when they go well again, want %s", got, before)
				}
				if got := j.told(); strings.Contains(got, "failed") || got == "" {
					t.Errorf("told %q, want that it goes well again", got)
				}
				open.Failed(nil)
			})
		})
	}
}

func TestSRV(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		d := &directory{}
		p := NewPool(Settings{
			Targets: []Target{{Name: "srv", Address: "_chat._tcp.test", SRV: true, Secure: true, Weight: 2}, {Name: "spare", Address: "10.0.0.9:80"}},
			Policy:  RoundRobin, Resolver: d, ResolveInterval: 10 * time.Second, Looked: j.looked, Passive: Passive{Failures: 1, Eject: time.Hour, Longest: time.Hour, Share: 1},
		})
		if got := must(t, p, Request{}).At.Target; got != "spare" {
			t.Errorf("before the first lookup: got %s, want spare", got)
		}
		run(t, p)
		if got, want := j.told(), "srv: 0 failed"; got != want {
			t.Errorf("no records: told %q, want %q", got, want)
		}
		if got := p.Status().Targets[0].State; got != lifecycle.TargetUnhealthy {
			t.Errorf("no records: got %s, want unhealthy", got)
		}
		d.set(func() {
			d.records = []*net.SRV{{Target: "c.test.", Port: 9000, Priority: 30, Weight: 0}, {Target: "a.test.", Port: 9000, Priority: 10, Weight: 3},
				{Target: "b.test.", Port: 9001, Priority: 10, Weight: 1}, {Target: "b.test.", Port: 9001, Priority: 10, Weight: 1}}
		})
		time.Sleep(12 * time.Second)
		if got, want := places(p), "a.test:9000 b.test:9001 c.test:9000 10.0.0.9:80"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		got := map[string]int{}
		for range 900 {
			l := must(t, p, Request{})
			got[l.At.Address]++
			if l.At.Target == "srv" && (l.At.Host != l.At.Address || !l.At.Secure) {
				t.Errorf("got %+v, want the record's host over TLS", l.At)
			}
			l.Failed(nil)
		}
		if got["a.test:9000"] != 600 || got["b.test:9001"] != 200 || got["10.0.0.9:80"] != 100 {
			t.Errorf("got %v, want 6:2:1 and nothing for the lower priority", got)
		}
		for range 3 { // all of the best priority fail
			must(t, p, Request{}).Failed(failedWith(lifecycle.ReasonConnectionRefused))
		}
		if got := must(t, p, Request{}).At.Address; got != "c.test:9000" {
			t.Errorf("got %s, want the next priority", got)
		}
	})
}

// Every connection of a retry goes to another address, of the same name, too.
func TestTriedAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &directory{names: map[string][]string{"chat.test": {"10.0.0.1", "10.0.0.2"}}}
		p := NewPool(Settings{Targets: []Target{{Name: "chat", Address: "chat.test:80"}}, Resolver: d, ResolveInterval: time.Minute})
		run(t, p)
		first := must(t, p, Request{})
		second := must(t, p, Request{Tried: []string{first.ID}})
		if first.At.Address == second.At.Address {
			t.Errorf("got %s twice", first.At.Address)
		}
		if _, ok := p.Pick(Request{Tried: []string{first.ID, second.ID}}); ok {
			t.Error("got a third address, want none")
		}
	})
}
