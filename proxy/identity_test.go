package proxy

import (
	"hash/maphash"
	"net/http/httptest"
	"testing"
)

func TestIdentity(t *testing.T) {
	r := httptest.NewRequest("GET", "/chat?user=ann&empty=", nil)
	r.Header.Set("X-User", "ann")
	r.Header.Set("Cookie", "sid=ann; other=x")
	for _, c := range []struct {
		kind, name, address string
		known               bool
	}{
		{"query", "user", "", true}, {"header", "x-user", "", true}, {"cookie", "sid", "", true},
		{"address", "", "192.0.2.1:50000", true}, {"address", "", "192.0.2.1", true}, {"address", "", "@", true},
		{"query", "empty", "", false}, {"query", "none", "", false}, {"header", "none", "", false}, {"cookie", "none", "", false},
		{"address", "", "", false}, {"", "", "192.0.2.1:50000", false},
	} {
		i := Identity{Kind: c.kind, Name: c.name}
		i.compile(maphash.MakeSeed())
		got := i.of(r, c.address)
		if (got != 0) != c.known {
			t.Errorf("%s %s: got %d, want known: %t", c.kind, c.name, got, c.known)
		}
		if again := i.of(r, c.address); again != got {
			t.Errorf("%s %s: got %d and then %d", c.kind, c.name, got, again)
		}
	}
	i := Identity{Kind: "address"}
	i.compile(maphash.MakeSeed())
	if x, y := i.of(r, "192.0.2.1:1"), i.of(r, "192.0.2.1:2"); x != y {
		t.Errorf("got %d and %d for two ports of one address, want one client", x, y)
	}
	if x, y := i.of(r, "192.0.2.1:1"), i.of(r, "192.0.2.2:1"); x == y {
		t.Errorf("got %d for two addresses, want two clients", x)
	}
}
