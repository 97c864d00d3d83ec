package admin

import (
	"net/http"
	"slices"

	"wsproxy/lifecycle"
)

// connections answers one page. Of all live connections it keeps two pages' worth of sort keys at most,
// and makes documents of one page.
func (s *Server) connections(w http.ResponseWriter, r *http.Request) {
	q, err := parseQuery(r.URL.Query())
	if err != nil {
		problem{Status: http.StatusBadRequest, Detail: err.Error()}.write(w)
		return
	}
	best := q.first(s.Registry)
	page := list[connectionDocument]{Items: make([]connectionDocument, 0, min(len(best), q.limit))}
	for i, e := range best {
		if i == q.limit { // there is one more than fits
			page.Next = new(q.order.cursor(best[i-1].key))
			break
		}
		page.Items = append(page.Items, describe(e.connection))
	}
	writeJSON(w, page)
}

// entry is a connection with the key that it had when it was seen: bytes go on counting.
type entry struct {
	key        key
	connection *lifecycle.Connection
}

// first returns the connections that come first behind the cursor, in order: a page and one more.
func (q *query) first(r *lifecycle.Registry) []entry {
	wanted := q.limit + 1
	best := make([]entry, 0, 2*wanted)
	var last *key // so many are known to come before it that it is the last that can matter
	for c := range r.All() {
		e := entry{q.order.keyOf(c), c}
		if q.after != nil && q.order.compare(e.key, *q.after) <= 0 || last != nil && q.order.compare(e.key, *last) > 0 || !q.matches(c) {
			continue
		}
		if best = append(best, e); len(best) == cap(best) {
			q.sort(best)
			best = best[:wanted]
			last = new(best[wanted-1].key)
		}
	}
	q.sort(best)
	return best[:min(len(best), wanted)]
}

func (q *query) sort(all []entry) {
	slices.SortFunc(all, func(a, b entry) int { return q.order.compare(a.key, b.key) })
}
