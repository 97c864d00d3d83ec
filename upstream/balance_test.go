package upstream

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wsproxy/lifecycle"
)

// weighted are targets whose names are their weights.
func weighted(weights ...int) []Target {
	all := named(make([]string, len(weights))...)
	for i, w := range weights {
		all[i].Name, all[i].Weight = fmt.Sprintf("%c%d", 'a'+i, w), w
	}
	return all
}

// Whatever the weights, and whoever leaves meanwhile, each target's part of the connections is its part
// of the weight.
func TestSharesFollowWeights(t *testing.T) {
	const picks = 6000
	weights := [][]int{{1, 1}, {1, 2, 3}, {5, 1, 1}, {1, 1, 1, 1, 1, 1, 1, 93}, {1000, 1}}
	for policy, tolerance := range map[Policy]float64{LeastConnections: 0.002, RoundRobin: 0.002, RandomTwo: 0.02, Hash: 0.03} {
		for _, w := range weights {
			t.Run(fmt.Sprintf("%s %v", policy, w), func(t *testing.T) {
				p := NewPool(Settings{Policy: policy, Targets: weighted(w...)})
				sum := 0
				for _, n := range w {
					sum += n
				}
				got := make([]float64, len(w))
				for n := range picks {
					l := must(t, p, Request{Key: fmt.Sprint("room ", n)})
					got[l.At.Target[0]-'a']++
					if policy != LeastConnections && n%3 > 0 { // the others don't go by it alone
						l.Opened()
						l.Closed(lifecycle.Close{}, true)
					}
				}
				for i, n := range w {
					if got, want := got[i]/picks, float64(n)/float64(sum); math.Abs(got-want) > tolerance {
						t.Errorf("weight %d: got %.4f of the connections, want %.4f", n, got, want)
					}
				}
			})
		}
	}
}

// At any moment the loads of least_connections differ by one connection at most.
func TestLeastConnectionsStaysLevel(t *testing.T) {
	p := NewPool(Settings{Targets: named("a", "b", "c", "d", "e")})
	random := rand.New(rand.NewPCG(1, 2))
	var open []*Lease
	for range 500 {
		open = append(open, must(t, p, Request{}))
		least, most := math.MaxInt, 0
		for _, n := range openOf(p) {
			least, most = min(least, n), max(most, n)
		}
		if len(open)%5 == 0 && most != least {
			t.Fatalf("with %d open: got %v, want as many everywhere", len(open), openOf(p))
		}
	}
	for range 300 { // some leave; the next ones fill the holes
		i := random.IntN(len(open))
		gone := open[i]
		open[i] = open[len(open)-1]
		open = open[:len(open)-1]
		gone.Failed(nil)
	}
	for len(open) < 500 {
		open = append(open, must(t, p, Request{}))
	}
	for name, n := range openOf(p) {
		if n != 100 {
			t.Errorf("%s: got %d open, want 100", name, n)
		}
	}
}

// No target of the smooth round robin has all its turns in a row.
func TestRoundRobinIsSmooth(t *testing.T) {
	p := NewPool(Settings{Policy: RoundRobin, Targets: weighted(5, 1, 1)})
	var got strings.Builder
	for range 14 {
		got.WriteByte(must(t, p, Request{}).At.Target[0])
	}
	if want := "aabacaa" + "aabacaa"; got.String() != want {
		t.Errorf("got %s, want %s", &got, want)
	}
}

// Of many keys, only those of a target that leaves move, and they move to all others alike; when it comes
// back, all is as before.
func TestHashDisruptsLittle(t *testing.T) {
	const keys = 5000
	place := func(targets []Target) map[string]string {
		p := NewPool(Settings{Policy: Hash, Targets: targets})
		at := make(map[string]string, keys)
		for n := range keys {
			k := fmt.Sprint("user-", n)
			at[k] = must(t, p, Request{Key: k}).At.Target
		}
		return at
	}
	all := weighted(1, 2, 3, 2, 2)
	before := place(all)
	without := append(append([]Target{}, all[:2]...), all[3:]...)
	after := place(without)
	moved := map[string]int{}
	for k, was := range before {
		switch now := after[k]; {
		case was == "c3":
			moved[now]++
		case now != was:
			t.Fatalf("%s: moved from %s to %s, though both are there", k, was, now)
		}
	}
	gone := 0
	for _, n := range moved {
		gone += n
	}
	for name, weight := range map[string]float64{"a1": 1, "b2": 2, "d2": 2, "e2": 2} {
		if got, want := float64(moved[name])/float64(gone), weight/7; math.Abs(got-want) > 0.04 {
			t.Errorf("%s: got %.3f of the keys that moved, want %.3f", name, got, want)
		}
	}
	if again := place(all); len(again) != keys || fmt.Sprint(again) != fmt.Sprint(before) {
		t.Error("the same keys went elsewhere in another pool")
	}
}

// With random_two nobody is far above the mean, which a single draw would not do.
func TestRandomTwoStaysNear(t *testing.T) {
	p := NewPool(Settings{Policy: RandomTwo, Targets: named("a", "b", "c", "d", "e", "f", "g", "h", "i", "j")})
	for range 1000 {
		must(t, p, Request{})
	}
	for name, n := range openOf(p) {
		if n < 90 || n > 110 {
			t.Errorf("%s: got %d open, want about 100", name, n)
		}
	}
}

func TestHashWithoutKeyAndWithTried(t *testing.T) {
	p := NewPool(Settings{Policy: Hash, Targets: named("a", "b", "c")})
	got := map[string]bool{}
	for range 3 {
		got[must(t, p, Request{}).At.Target] = true
	}
	if len(got) != 3 {
		t.Errorf("without a key: got %v, want least_connections", got)
	}
	first := must(t, p, Request{Key: "k"})
	second := must(t, p, Request{Key: "k", Tried: []string{first.ID}})
	if second.ID == first.ID {
		t.Error("got the target that was tried")
	}
	if again := must(t, p, Request{Key: "k", Tried: []string{first.ID}}); again.ID != second.ID {
		t.Errorf("second choice: got %s and %s, want the same", second.ID, again.ID)
	}
}

// A target that comes back gets a growing share, and all of it at the end.
func TestSlowStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPool(Settings{
			Policy: RoundRobin, Targets: named("a", "b"), SlowStart: 100 * time.Second,
			Passive: Passive{Failures: 1, Eject: time.Second, Longest: time.Second, Share: 0.5},
		})
		failing := must(t, p, Request{Prefer: func(id string) bool { return strings.HasPrefix(id, "b ") }})
		failing.Failed(failedWith(lifecycle.ReasonConnectionRefused))
		share := func() float64 {
			n := 0
			for range 1000 {
				l := must(t, p, Request{})
				if l.At.Target == "b" {
					n++
				}
				l.Failed(nil)
			}
			return float64(n) / 1000
		}
		want := func(what string, want float64) {
			t.Helper()
			if got := share(); math.Abs(got-want) > 0.01 {
				t.Errorf("%s: got %.3f of the connections, want %.3f", what, got, want)
			}
		}
		want("ejected", 0)
		time.Sleep(time.Second)
		want("just back", 0.1/1.1)
		if got := states(p); got != "10.0.0.1=healthy 10.0.0.2=slow_start" {
			t.Errorf("got %s", got)
		}
		time.Sleep(50 * time.Second)
		want("halfway", 0.5/1.5)
		time.Sleep(50 * time.Second)
		want("whole", 0.5)
		if got := states(p); got != "10.0.0.1=healthy 10.0.0.2=healthy" {
			t.Errorf("got %s", got)
		}
	})
}

func TestKey(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/chat?room=lobby", nil)
	r.Header.Set("X-Room", "attic")
	r.AddCookie(&http.Cookie{Name: "room", Value: "cellar"})
	for text, want := range map[string]string{
		"": "10.1.1.1", "address": "10.1.1.1", "header:X-Room": "attic", "header:x-room": "attic", "header:X-None": "",
		"cookie:room": "cellar", "cookie:none": "", "query:room": "lobby", "query:none": "",
	} {
		k, err := ParseKey(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got := k.Of(r, "10.1.1.1:5000"); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	if got := (Key{}).Of(r, "2001:db8::1"); got != "2001:db8::1" {
		t.Errorf("an address without a port: got %q", got)
	}
	for _, text := range []string{"header", "header:", "body:x", "x"} {
		if _, err := ParseKey(text); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%q: got %v, want an error that names it", text, err)
		}
	}
}

func TestSticky(t *testing.T) {
	p := NewPool(Settings{Targets: named("a", "b", "c")})
	s := &Sticky{Cookie: "at", Key: []byte("0123456789abcdef")}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	if s.Prefer(r) != nil {
		t.Error("got a preference without a cookie")
	}
	first := must(t, p, Request{})
	token := s.Token(first.ID)
	if strings.Contains(token, "10") && strings.Contains(token, "0.0") || len(token) != 24 {
		t.Errorf("got the token %q", token)
	}
	r.AddCookie(&http.Cookie{Name: "at", Value: token})
	for range 5 {
		if got := must(t, p, Request{Prefer: s.Prefer(r)}); got.ID != first.ID {
			t.Errorf("got %s, want %s", got.ID, first.ID)
		}
	}
	if got := must(t, p, Request{Prefer: s.Prefer(r), Tried: []string{first.ID}}); got.ID == first.ID {
		t.Error("got the target that was tried")
	}
	if same := (&Sticky{Key: s.Key}).Token(first.ID); same != token {
		t.Errorf("another one with the same key: got %s, want %s", same, token)
	}
	if other := (&Sticky{Key: []byte("another key 16 b")}).Token(first.ID); other == token {
		t.Error("another key made the same token")
	}
	for n := range 3 * tokensKept {
		s.Token(fmt.Sprint(n))
	}
	if len(s.tokens) > tokensKept {
		t.Errorf("got %d tokens kept, want %d at most", len(s.tokens), tokensKept)
	}
}
