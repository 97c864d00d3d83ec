package proxy

import (
	"net/http"
	"slices"
	"strings"
)

// Table is the routes of one configuration, ready to be found.
type Table struct {
	generation int
	routes     []*Route
	mux        *http.ServeMux
}

// NewTable checks routes and makes them ready for Use. generation is the number of their configuration. A
// route may be in several tables, one after the other: it keeps the connections to its upstream.
func (s *Server) NewTable(generation int, routes []*Route) (*Table, error) {
	t := &Table{generation: generation, routes: routes, mux: http.NewServeMux()}
	for _, r := range routes {
		if err := r.compile(s); err != nil {
			return nil, err
		}
		if err := r.register(t.mux); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// Use has requests from now on find their route in t. Those under way, and open connections, keep theirs.
func (s *Server) Use(t *Table) {
	if former := s.table.Swap(t); former != nil {
		former.closeIdle(t.routes)
	}
}

// closeIdle closes the idle connections to upstreams that routes keep, other than those in keep.
func (t *Table) closeIdle(keep []*Route) {
	for _, r := range t.routes {
		if r.idle != nil && !slices.Contains(keep, r) {
			r.idle()
		}
	}
}

// route finds the route of a request by its host and cleaned path, or nil. The mux only matches: its
// redirects, to cleaned paths and to a final slash, are not for us to send.
func (t *Table) route(r *http.Request) *Route {
	u := *r.URL
	u.Path, u.RawPath = cleanPath(u.Path), ""
	h, _ := t.mux.Handler(&http.Request{Method: http.MethodGet, Host: strings.ToLower(r.Host), URL: &u})
	route, _ := h.(*Route)
	return route
}
