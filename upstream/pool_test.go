package upstream

import (
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"wsproxy/lifecycle"
)

func TestParsePolicy(t *testing.T) {
	for text, want := range map[string]Policy{
		"": LeastConnections, "least_connections": LeastConnections, "round_robin": RoundRobin, "random_two": RandomTwo, "hash": Hash,
	} {
		got, err := ParsePolicy(text)
		if err != nil || got != want {
			t.Errorf("%q: got %s, %v, want %s", text, got, err, want)
		}
		if text != "" && got.String() != text {
			t.Errorf("%q: got the name %s", text, got)
		}
	}
	for _, text := range []string{"random", "Round_Robin", "invalid"} {
		if _, err := ParsePolicy(text); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%q: got %v, want an error that names it", text, err)
		}
	}
	if got := Policy(99).String(); got != "invalid" {
		t.Errorf("got %q, want invalid", got)
	}
}

// TestPick runs scripts of picks and releases: "?" picks, "?ab" picks when a and b were tried, "-a"
// releases the oldest connection to a. want has a letter for each pick, "." for none left.
func TestPick(t *testing.T) {
	cases := map[string]struct {
		policy  Policy
		targets string
		script  string
		want    string
	}{
		"no target":                         {targets: "", script: "? ?", want: ".."},
		"one target":                        {targets: "a", script: "? ? ?", want: "aaa"},
		"round robin":                       {policy: RoundRobin, targets: "abc", script: "? ? ? ? ?", want: "abcab"},
		"round robin does not count":        {policy: RoundRobin, targets: "abc", script: "? -a ? -b ? ?", want: "abca"},
		"round robin, tried":                {policy: RoundRobin, targets: "abc", script: "?a ? ?", want: "bca"},
		"round robin, last tried":           {policy: RoundRobin, targets: "abc", script: "? ? ?c ?", want: "abac"},
		"round robin, retry goes on":        {policy: RoundRobin, targets: "abc", script: "? ?a ?ab ?", want: "abcc"},
		"all tried":                         {policy: RoundRobin, targets: "ab", script: "?ab ?", want: ".a"},
		"unknown ones tried":                {policy: RoundRobin, targets: "ab", script: "?xyz ?", want: "ab"},
		"least: equals take turns":          {targets: "abc", script: "? ? ? ? ? ?", want: "abcabc"},
		"least: the one that was left":      {targets: "abc", script: "? ? ? -b ? ?", want: "abcba"},
		"least: the one with most releases": {targets: "ab", script: "? ? ? ? -b -b ? ?", want: "ababbb"},
		"least: quick ones take turns, too": {targets: "abc", script: "? -a ? -b ? -c ? -a", want: "abca"},
		"least: tried":                      {targets: "abc", script: "? ? ? -a ?a", want: "abcb"},
		"least: all tried":                  {targets: "ab", script: "?ab ?ba", want: ".."},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			pool := NewPool(Settings{Policy: c.policy, Targets: named(strings.Split(c.targets, "")...)})
			open := map[string][]*Lease{}
			var got strings.Builder
			for word := range strings.FieldsSeq(c.script) {
				rest := word[1:]
				if word[0] == '-' {
					open[rest][0].Failed(nil)
					open[rest] = open[rest][1:]
					continue
				}
				var tried []string
				for i, n := range strings.Split(c.targets, "") {
					if strings.Contains(rest, n) {
						tried = append(tried, fmt.Sprintf("%s 10.0.0.%d:80", n, i+1))
					}
				}
				lease, ok := pool.Pick(Request{Tried: tried})
				if !ok {
					got.WriteString(".")
					continue
				}
				got.WriteString(lease.At.Target)
				open[lease.At.Target] = append(open[lease.At.Target], lease)
			}
			if got.String() != c.want {
				t.Errorf("%s: got %s, want %s", c.script, got.String(), c.want)
			}
			for target, n := range openOf(pool) {
				if n != len(open[target]) {
					t.Errorf("%s: got %d open, want %d", target, n, len(open[target]))
				}
			}
		})
	}
}

func TestLeaseEndsOnce(t *testing.T) {
	pool := NewPool(Settings{Targets: named("a")})
	lease, other := must(t, pool, Request{}), must(t, pool, Request{})
	lease.Failed(nil)
	lease.Failed(nil)
	lease.Opened()
	lease.Closed(lifecycle.Close{}, true)
	if got := openOf(pool)["a"]; got != 1 {
		t.Errorf("got %d open after one of two ended twice, want 1", got)
	}
	if got := pool.Status().Handshakes; got != 1 {
		t.Errorf("got %d handshakes, want 1", got)
	}
	other.Opened()
	if got := pool.Status().Handshakes; got != 0 {
		t.Errorf("got %d handshakes, want 0", got)
	}
	other.Closed(lifecycle.Close{}, true)
	if got := openOf(pool)["a"]; got != 0 {
		t.Errorf("got %d open, want 0", got)
	}
}

func TestPickConcurrently(t *testing.T) {
	const workers, rounds = 16, 500
	names := []string{"a", "b", "c", "d"}
	for _, policy := range []Policy{LeastConnections, RoundRobin, RandomTwo, Hash} {
		t.Run(policy.String(), func(t *testing.T) {
			pool := NewPool(Settings{Policy: policy, Targets: named(names...)})
			var mu sync.Mutex
			picked := map[string]int{}
			var wg sync.WaitGroup
			for range workers {
				wg.Go(func() {
					for range rounds {
						lease, ok := pool.Pick(Request{Key: rand.Text()})
						if !ok {
							t.Error("got no target, want one")
							return
						}
						checkBounds(t, policy, openOf(pool), workers)
						lease.Opened()
						lease.Closed(lifecycle.Close{}, true)
						mu.Lock()
						picked[lease.At.Target]++
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			for name, n := range openOf(pool) {
				if n != 0 {
					t.Errorf("%s: got %d open, want 0", name, n)
				}
			}
			if got := slices.Sorted(maps.Keys(picked)); !slices.Equal(got, names) {
				t.Errorf("got picks of %v, want of %v", got, names)
			}
			for name, n := range picked {
				if want := workers * rounds / len(names); policy == RoundRobin && n != want {
					t.Errorf("%s: got %d picks, want %d", name, n, want)
				}
			}
		})
	}
}

func checkBounds(t *testing.T, policy Policy, open map[string]int, workers int) {
	t.Helper()
	all := 0
	for name, n := range open {
		if n < 0 {
			t.Errorf("%s: %s has %d open, want 0 or more", policy, name, n)
		}
		all += n
	}
	if all < 1 || all > workers {
		t.Errorf("%s: got %d open, want 1 to %d", policy, all, workers)
	}
}
