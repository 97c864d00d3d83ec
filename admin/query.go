package admin

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"wsproxy/lifecycle"
)

const (
	defaultLimit  = 100
	greatestLimit = 1000
)

// query is what /api/connections was asked for. Several values of one filter are alternatives.
type query struct {
	routes, upstreams []string
	phases            []lifecycle.Phase
	clients           []clientFilter
	order             order
	limit             int
	after             *key // nil: the first page
}

func parseQuery(values url.Values) (*query, error) {
	q := &query{routes: values["route"], upstreams: values["upstream"], limit: defaultLimit, order: order{by: "age"}}
	for name := range values {
		if !slices.Contains([]string{"route", "upstream", "phase", "client", "sort", "limit", "cursor"}, name) {
			return nil, fmt.Errorf("there is no parameter %q", name)
		}
	}
	for _, name := range values["phase"] {
		p, err := parsePhase(name)
		if err != nil {
			return nil, err
		}
		q.phases = append(q.phases, p)
	}
	for _, address := range values["client"] {
		q.clients = append(q.clients, parseClient(address))
	}
	if values.Has("sort") {
		by, descending := strings.CutPrefix(values.Get("sort"), "-")
		if by != "age" && by != "bytes" {
			return nil, fmt.Errorf("sort must be age, bytes, -age or -bytes")
		}
		q.order = order{by, descending}
	}
	if values.Has("limit") {
		n, err := strconv.Atoi(values.Get("limit"))
		if err != nil || n < 1 || n > greatestLimit {
			return nil, fmt.Errorf("limit must be a number from 1 to %d", greatestLimit)
		}
		q.limit = n
	}
	if values.Has("cursor") {
		after, err := q.order.parseCursor(values.Get("cursor"))
		if err != nil {
			return nil, err
		}
		q.after = &after
	}
	return q, nil
}

func parsePhase(name string) (lifecycle.Phase, error) {
	for _, p := range append(lifecycle.Phases(), lifecycle.PhaseNone) {
		if p.String() == name {
			return p, nil
		}
	}
	return 0, fmt.Errorf("there is no phase %q", name)
}

func (q *query) matches(c *lifecycle.Connection) bool {
	if len(q.phases) > 0 && !slices.Contains(q.phases, c.Phase()) {
		return false
	}
	if len(q.routes)+len(q.upstreams)+len(q.clients) == 0 {
		return true
	}
	f := c.Facts()
	return (len(q.routes) == 0 || slices.Contains(q.routes, f.Route)) &&
		(len(q.upstreams) == 0 || slices.Contains(q.upstreams, f.Upstream)) &&
		(len(q.clients) == 0 || slices.ContainsFunc(q.clients, func(c clientFilter) bool { return c.matches(f.Client) }))
}

// order is what a listing is sorted by: age (youngest first) or bytes (fewest first), or the reverse.
type order struct {
	by         string
	descending bool
}

// key is a connection's place in an order.
type key struct {
	value int64
	id    string
}

func (o order) keyOf(c *lifecycle.Connection) key {
	if o.by == "bytes" {
		return key{int64(c.Flow(lifecycle.Upstream).Bytes.Load() + c.Flow(lifecycle.Downstream).Bytes.Load()), c.ID}
	}
	return key{-c.Accepted.UnixNano(), c.ID} // the age, but for a constant that is the same for all
}

func (o order) compare(a, b key) int {
	if o.descending {
		a, b = b, a
	}
	return cmp.Or(cmp.Compare(a.value, b.value), cmp.Compare(a.id, b.id))
}

func (o order) String() string {
	if o.descending {
		return "-" + o.by
	}
	return o.by
}

// cursor is the place behind k, for the next page.
func (o order) cursor(k key) string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%s %d %s", o, k.value, k.id))
}

func (o order) parseCursor(text string) (key, error) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	by, rest, _ := strings.Cut(string(raw), " ")
	value, id, found := strings.Cut(rest, " ")
	n, errNumber := strconv.ParseInt(value, 10, 64)
	if err != nil || errNumber != nil || !found {
		return key{}, fmt.Errorf("cursor must be a page's next")
	}
	if by != o.String() {
		return key{}, fmt.Errorf("the cursor is of another sort, %q", by)
	}
	return key{n, id}, nil
}
