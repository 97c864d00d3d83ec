package proxy

import (
	"hash/maphash"
	"net"
	"net/http"
)

// Identity tells who a client is by its request.
type Identity struct {
	Kind string // cookie, header, query or address; empty: nobody is known
	Name string // of the cookie, header or query key

	seed maphash.Seed
}

// compile makes it ready. The seed outlives the route, so that clients are known after a reload.
func (i *Identity) compile(seed maphash.Seed) { i.seed = seed }

func (s *Server) identitySeed() maphash.Seed {
	s.seeded.Do(func() { s.seed = maphash.MakeSeed() })
	return s.seed
}

// of is a hash of who the client at the given address is, 0 if the request does not tell. What tells it
// may be a secret and is not kept.
func (i *Identity) of(r *http.Request, address string) uint64 {
	var who string
	switch i.Kind {
	case "cookie":
		if c, err := r.Cookie(i.Name); err == nil {
			who = c.Value
		}
	case "header":
		who = r.Header.Get(i.Name)
	case "query":
		who = r.URL.Query().Get(i.Name)
	case "address":
		who = address
		if host, _, err := net.SplitHostPort(address); err == nil {
			who = host
		}
	}
	if who == "" {
		return 0
	}
	return max(maphash.String(i.seed, who), 1)
}
