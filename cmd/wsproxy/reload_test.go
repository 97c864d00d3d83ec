package main

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gorilla/websocket"

	"wsproxy/lifecycle"
)

func TestReloadLeavesUnchangedRoutesAlone(t *testing.T) {
	r := newRig(t, nil)
	before := r.dial("/chat")
	r.talks(before)
	r.cfg["routes"] = []object{route("news"), route("chat", "on_change", "close")} // which says nothing of how chat is treated
	r.mustReload()
	r.talks(before)
	after, other := r.dial("/chat"), r.dial("/news")
	r.talks(after)
	r.talks(other)
	var generations []int
	for c := range r.registry.All() {
		generations = append(generations, c.Facts().Generation)
	}
	slices.Sort(generations)
	if want := []int{1, 2, 2}; !slices.Equal(generations, want) {
		t.Errorf("got generations %v, want %v", generations, want)
	}
	if got := r.registry.Snapshot().Totals[lifecycle.Key{Route: "chat", Upstream: "echo"}]; got.Active != 2 || got.Outdated != 0 {
		t.Errorf("got %d current and %d outdated connections, want 2 and none", got.Active, got.Outdated)
	}
	if open := openAt(r.current().groups["echo"])[r.upstream.url]; open != 3 {
		t.Errorf("the pool counts %d open connections, want 3", open)
	}
}

// openAt is how many connections each of a group's targets has.
func openAt(g *group) map[string]int {
	open := make(map[string]int)
	for _, t := range g.pool.Status().Targets {
		for _, a := range t.Addresses {
			open[t.Name] += a.Open
		}
	}
	return open
}

// An upstream that a reload changes goes on with the open connections of its targets, and is checked anew.
func TestReloadGoesOnWithTargets(t *testing.T) {
	r := newRig(t, nil)
	r.talks(r.dial("/chat"))
	former := r.current().groups["echo"]
	upstreams := r.cfg["upstreams"].([]object)
	upstreams[0]["health"] = object{"interval": "1h"}
	r.mustReload()
	now := r.current().groups["echo"]
	if now == former {
		t.Fatal("the upstream is as before, want another one")
	}
	if open := openAt(now)[r.upstream.url]; open != 1 {
		t.Errorf("the pool counts %d open connections, want 1", open)
	}
	<-now.pool.Checked()
	if got := now.pool.Status().Targets[0].State; got != lifecycle.TargetHealthy {
		t.Errorf("got %s, want healthy", got)
	}
	delete(upstreams[0], "health")
	r.mustReload()
	r.talks(r.dial("/chat"))
	if open := openAt(r.current().groups["echo"])[r.upstream.url]; open != 2 {
		t.Errorf("the pool counts %d open connections, want 2", open)
	}
}

func TestReloadAndChangedRoutes(t *testing.T) {
	changed := route("chat", "retries", 1)
	for _, tc := range []struct {
		name, onChange string
		routes         func(onChange string) []object
		closes         bool
	}{
		{"kept", "keep", func(o string) []object { changed["on_change"] = o; return []object{changed} }, false},
		{"drained", "drain", func(o string) []object { changed["on_change"] = o; return []object{changed} }, true},
		{"closed", "close", func(o string) []object { changed["on_change"] = o; return []object{changed} }, true},
		{"removed and closed", "close", func(string) []object { return []object{route("news")} }, true},
		{"removed and kept", "keep", func(string) []object { return []object{route("news")} }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, func(cfg object) { cfg["routes"] = []object{route("chat", "on_change", tc.onChange)} })
			c := r.dial("/chat")
			r.talks(c)
			r.cfg["routes"] = tc.routes(tc.onChange)
			r.mustReload()
			if tc.closes {
				wantClose(t, c, websocket.CloseServiceRestart, "configuration changed")
				eventually(t, "the upstream is told 1001", func() bool { return slices.Equal(r.upstream.ended(), []int{1001}) })
				eventually(t, "it counts as closed by a reload", func() bool {
					return r.metric("1", "wsproxy_connection_closes_total", `cause="reload"`, `code_class="1012"`)
				})
				return
			}
			r.talks(c)
			if got := r.registry.Snapshot().Totals[lifecycle.Key{Route: "chat", Upstream: "echo"}]; got.Outdated != 1 {
				t.Errorf("got %d outdated connections, want 1", got.Outdated)
			}
		})
	}
}

// A change of the upstream, or of its egress, is a change of every route to it.
func TestReloadComparesWhatARouteRefersTo(t *testing.T) {
	r := newRig(t, func(cfg object) { cfg["routes"] = []object{route("chat", "on_change", "close")} })
	c := r.dial("/chat")
	other := newEchoUpstream(t)
	r.cfg["upstreams"] = []object{{"name": "echo", "targets": []string{r.upstream.url, other.url}}}
	r.mustReload()
	wantClose(t, c, websocket.CloseServiceRestart, "configuration changed")
	eventually(t, "no connection is open", func() bool { return r.registry.Snapshot().Open() == 0 })
	for range 2 {
		r.talks(r.dial("/chat"))
	}
	if open := openAt(r.current().groups["echo"]); open[r.upstream.url] != 1 || open[other.url] != 1 {
		t.Errorf("got %v, want a connection to each target", open)
	}
}

func TestReloadThatIsRefused(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, tc := range []struct {
		name    string
		change  func(cfg object)
		failure lifecycle.ReloadFailure
		says    string
	}{
		{"wrong", func(cfg object) { cfg["routes"] = []object{route("chat", "upstream", "none")} }, lifecycle.ReloadInvalid, "routes[0].upstream"},
		{"routes in conflict", func(cfg object) {
			cfg["routes"] = []object{route("chat"), route("b", "match", "/chat")}
		}, lifecycle.ReloadInvalid, "routes[1].match"},
		{"a restart", func(cfg object) { cfg["engine"] = "goroutines" }, lifecycle.ReloadRestart, "engine: "},
		{"an address in use", func(cfg object) {
			cfg["listeners"] = append([]object{{"address": "127.0.0.1:0"}, {"address": "127.0.0.1:0"}}, object{"address": taken.Addr().String()})
		}, lifecycle.ReloadListen, "listeners[2].address"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, nil)
			c := r.dial("/chat")
			tc.change(r.cfg)
			got := r.reloaded()
			if got.Failure != tc.failure || got.Err == nil || !strings.Contains(got.Err.Error(), tc.says) {
				t.Errorf("got %s: %v, want %s: %s", got.Failure, got.Err, tc.failure, tc.says)
			}
			if g := r.registry.Generation(); g != 1 || got.Generation != 1 || r.system.State() != lifecycle.StateOperational {
				t.Errorf("got generation %d in state %s, want 1, operational", g, r.system.State())
			}
			r.talks(c)
			r.talks(r.dial("/chat"))
			if len(r.listeners) != 1 {
				t.Errorf("got %d listeners, want the one from before", len(r.listeners))
			}
			eventually(t, "it is counted", func() bool {
				return r.metric("1", "wsproxy_config_reloads_total", `error_type="`+tc.failure.String()+`"`)
			})
		})
	}
}

func TestReloadWithoutFile(t *testing.T) {
	r := newRig(t, nil)
	r.options.file = ""
	if got := r.reload(t.Context(), "SIGHUP"); got.Failure != lifecycle.ReloadUnreadable || !strings.Contains(got.Err.Error(), "flags") {
		t.Errorf("got %s: %v, want that there is no file", got.Failure, got.Err)
	}
}

func TestReloadExchangesListeners(t *testing.T) {
	r := newRig(t, nil)
	first := r.listeners[0].Addr()
	c := r.dial("/chat")
	r.cfg["listeners"] = []object{{"address": "127.0.0.1:0", "trust": object{"proxies": []string{"127.0.0.0/8"}}}, {"address": "localhost:0"}}
	r.mustReload()
	if got := r.listeners[0].Addr(); got != first {
		t.Errorf("the listener moved to %s, want it where it was, %s", got, first)
	}
	second := r.listeners[1].Addr()
	added, err := r.tryDial(second, "/chat")
	if err != nil {
		t.Fatal(err)
	}
	r.talks(added)

	r.cfg["listeners"] = []object{{"address": "localhost:0"}}
	r.mustReload()
	if _, err := r.tryDial(first, "/chat"); err == nil {
		t.Error("got a connection through the listener that was removed")
	}
	r.talks(c)
	r.talks(added)
	again, err := r.tryDial(second, "/chat")
	if err != nil {
		t.Fatal(err)
	}
	r.talks(again)
}

func TestReloadOfAChangedFile(t *testing.T) {
	r := newRig(t, nil)
	ctx, stop := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	watching.Go(func() { r.watch(ctx) })
	t.Cleanup(watching.Wait)
	t.Cleanup(stop)
	r.cfg["routes"] = []object{route("chat"), route("news")}
	r.write()
	eventually(t, "the changed file is in force", func() bool { return r.registry.Generation() == 2 })
	r.talks(r.dial("/news"))
	r.cfg["routes"] = []object{}
	r.write()
	eventually(t, "the bad file is told of", func() bool {
		return r.metric("1", "wsproxy_config_reloads_total", `error_type="invalid"`)
	})
	r.talks(r.dial("/news"))
}
