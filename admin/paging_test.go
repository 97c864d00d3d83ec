package admin

import (
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wsproxy/lifecycle"
)

// pages follows next to the end. between is called before each page but the first.
func pages(v *visitor, query string, between func()) []string {
	v.t.Helper()
	var all []string
	path := "/api/connections?" + query
	for cursor := ""; ; {
		l := decode[listing](v, path+cursor, 200)
		all = append(all, ids(l)...)
		if l.Next == nil {
			return all
		}
		if len(all) > 20_000 {
			v.t.Fatal("the pages do not end")
		}
		cursor = "&cursor=" + *l.Next
		between()
	}
}

func TestPaging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := numbered()
		v := start(t, &Server{Registry: r})
		const count = 5000
		var byAge, byBytes []string
		bytes := make(map[string]int)
		for i := range count {
			c := r.Open("203.0.113.7:51000", time.Now())
			bytes[c.ID] = i * 7919 % 1000 // in no order, each five times
			c.Flow(lifecycle.Upstream).Bytes.Add(uint64(bytes[c.ID]))
			byAge = append(byAge, c.ID)
			if i%3 > 0 { // some are of one age
				time.Sleep(time.Nanosecond)
			}
		}
		byBytes = slices.Clone(byAge)
		slices.SortFunc(byBytes, func(a, b string) int {
			if bytes[a] != bytes[b] {
				return bytes[a] - bytes[b]
			}
			return strings.Compare(a, b)
		})
		for query, want := range map[string][]string{
			"sort=bytes&limit=1000": byBytes,
			"sort=bytes&limit=137":  byBytes,
			"sort=-bytes&limit=999": reversed(byBytes),
		} {
			if got := pages(v, query, func() {}); !slices.Equal(got, want) {
				t.Errorf("%s: got %d connections, want all %d in order", query, len(got), len(want))
			}
		}
		for _, query := range []string{"sort=-age&limit=500", "sort=age&limit=501"} {
			got := pages(v, query, func() {})
			if strings.HasPrefix(query, "sort=age") {
				slices.Reverse(got)
			}
			checkAges(t, r, got, count)
		}
	})
}

func reversed(all []string) []string {
	all = slices.Clone(all)
	slices.Reverse(all)
	return all
}

func checkAges(t *testing.T, r *lifecycle.Registry, all []string, count int) {
	t.Helper()
	seen := make(map[string]bool)
	var before time.Time
	for _, id := range all {
		at := r.Get(id).Accepted
		if seen[id] || at.Before(before) {
			t.Fatalf("%s comes twice or too late", id)
		}
		seen[id], before = true, at
	}
	if len(seen) != count {
		t.Errorf("got %d, want %d", len(seen), count)
	}
}

// TestPagingWhileConnectionsComeAndGo must show what stays exactly once.
func TestPagingWhileConnectionsComeAndGo(t *testing.T) {
	for _, sort := range []string{"age", "-age"} {
		t.Run(sort, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := numbered()
				v := start(t, &Server{Registry: r})
				var staying []string
				var leaving []*lifecycle.Connection
				open := func(n int) {
					for range n {
						staying = append(staying, r.Open("", time.Now()).ID)
						time.Sleep(time.Nanosecond)
						leaving = append(leaving, r.Open("", time.Now()))
						time.Sleep(time.Nanosecond)
					}
				}
				open(500)
				got := pages(v, "limit=50&sort="+sort, func() {
					for _, c := range leaving[:20] {
						c.Unused()
					}
					leaving = leaving[20:]
					r.Open("", time.Now()) // comes in between
					time.Sleep(time.Nanosecond)
				})
				seen := make(map[string]int)
				for _, id := range got {
					seen[id]++
				}
				for _, id := range staying {
					if seen[id] != 1 {
						t.Errorf("%s was shown %d times", id, seen[id])
					}
				}
			})
		})
	}
}

func TestListingWhileEverythingChanges(t *testing.T) {
	r := new(lifecycle.Registry)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for range 100 {
				c := r.Open("203.0.113.7:51000", time.Now())
				step(c, lifecycle.PhaseRequest, 0, nil)
				c.Update(func(f *lifecycle.Facts) { f.Route = "chat" })
				c.Flow(lifecycle.Upstream).Bytes.Add(1)
				step(c, lifecycle.PhaseRoute, 0, lifecycle.Fail(lifecycle.ReasonForbidden, nil))
				c.SetClose(lifecycle.Close{Cause: lifecycle.CauseInternal})
				c.Unused()
			}
		})
	}
	for range 100 {
		q, err := parseQuery(url.Values{"route": {"chat"}, "sort": {"bytes"}})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range q.first(r) {
			describe(e.connection)
		}
	}
	wg.Wait()
}

func BenchmarkFirstPage(b *testing.B) {
	r := new(lifecycle.Registry)
	for i := range 50_000 {
		r.Open("203.0.113.7:51000", time.Now()).Flow(lifecycle.Upstream).Bytes.Add(uint64(i * 7919 % 50_000))
	}
	for _, query := range []string{"", "sort=bytes", "sort=-bytes&route=chat"} {
		b.Run(query, func(b *testing.B) {
			values, _ := url.ParseQuery(query)
			b.ReportAllocs()
			for b.Loop() {
				q, err := parseQuery(values)
				if err != nil {
					b.Fatal(err)
				}
				q.first(r)
			}
		})
	}
}
