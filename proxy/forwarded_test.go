package proxy

import (
	"bufio"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"wsproxy/lifecycle"
)

func TestForwarded(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("fe80::/10")}
	sent := []string{
		"Forwarded: for=192.0.2.1;proto=https", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: 192.0.2.2",
		"X-Forwarded-Proto: https", "X-Forwarded-Host: shop.test",
	}
	cases := map[string]struct {
		from  string
		lines []string
		want  map[string]string
		facts lifecycle.Facts // Client, Scheme, Host
	}{
		"untrusted": {
			from: "10.8.0.1", lines: sent,
			want: map[string]string{
				"Forwarded":       `for=10.8.0.1;host="example.com";proto=http`,
				"X-Forwarded-For": "10.8.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "example.com",
			},
			facts: lifecycle.Facts{Client: "10.8.0.1:*", Scheme: "http", Host: "example.com"},
		},
		"untrusted, IPv6": {
			from: "2001:db9::1", lines: sent,
			want: map[string]string{
				"Forwarded":       `for="[2001:db9::1]";host="example.com";proto=http`,
				"X-Forwarded-For": "2001:db9::1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "example.com",
			},
			facts: lifecycle.Facts{Client: "[2001:db9::1]:*", Scheme: "http", Host: "example.com"},
		},
		"trusted": {
			from: "10.9.0.1", lines: sent,
			want: map[string]string{
				"Forwarded":       `for=192.0.2.1;proto=https, for=10.9.0.1;host="shop.test";proto=https`,
				"X-Forwarded-For": "192.0.2.1, 192.0.2.2, 10.9.0.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "shop.test",
			},
			facts: lifecycle.Facts{Client: "192.0.2.2", Scheme: "https", Host: "shop.test"},
		},
		"trusted, IPv6": {
			from: "2001:db8::1", lines: []string{"X-Forwarded-For: 2001:db9::7"},
			want: map[string]string{
				"Forwarded":       `for="[2001:db8::1]";host="example.com";proto=http`,
				"X-Forwarded-For": "2001:db9::7, 2001:db8::1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "example.com",
			},
			facts: lifecycle.Facts{Client: "2001:db9::7", Scheme: "http", Host: "example.com"},
		},
		"trusted, IPv4 in IPv6": {
			from: "::ffff:10.9.0.1", lines: sent[1:2],
			want:  map[string]string{"X-Forwarded-For": "192.0.2.1, 10.9.0.1"},
			facts: lifecycle.Facts{Client: "192.0.2.1", Scheme: "http", Host: "example.com"},
		},
		"trusted, with zone": {
			from: "fe80::1%eth0", lines: sent[1:2],
			want: map[string]string{
				"Forwarded":       `for="[fe80::1%eth0]";host="example.com";proto=http`,
				"X-Forwarded-For": "192.0.2.1, fe80::1%eth0",
			},
			facts: lifecycle.Facts{Client: "192.0.2.1", Scheme: "http", Host: "example.com"},
		},
		"hops in a row; the first is made up": {
			from: "10.9.0.1", lines: []string{"X-Forwarded-For: 6.6.6.6, 192.0.2.1:5000, 10.9.0.3,, [2001:db8::9]:80 , [2001:db8::a]"},
			facts: lifecycle.Facts{Client: "192.0.2.1", Scheme: "http", Host: "example.com"},
		},
		"Forwarded alone": {
			from: "10.9.0.1", lines: []string{`Forwarded: for=6.6.6.6;host=evil.test, For="[2001:db9::7]:4711" ;PROTO=https; host="shop.test:8443"`, "Forwarded: for=10.9.0.3;proto=http"},
			want: map[string]string{
				"X-Forwarded-For": "10.9.0.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "shop.test:8443",
			},
			facts: lifecycle.Facts{Client: "2001:db9::7", Scheme: "https", Host: "shop.test:8443"},
		},
		"Forwarded with a comma in quotes": {
			from: "10.9.0.1", lines: []string{`Forwarded: for=192.0.2.1;host="a,b;c"`},
			facts: lifecycle.Facts{Client: "192.0.2.1", Scheme: "http", Host: "a,b;c"},
		},
		"Forwarded that hides the client": {
			from: "10.9.0.1", lines: []string{"Forwarded: for=6.6.6.6, for=_hidden;proto=https"},
			facts: lifecycle.Facts{Client: "10.9.0.1:*", Scheme: "http", Host: "example.com"},
		},
		"Forwarded that is malformed": {
			from: "10.9.0.1", lines: []string{"Forwarded: for=192.0.2.1, nonsense"},
			facts: lifecycle.Facts{Client: "10.9.0.1:*", Scheme: "http", Host: "example.com"},
		},
		"lists that every hop appends to": {
			from: "10.9.0.1", lines: []string{"X-Forwarded-For: 6.6.6.6, 192.0.2.1, 10.9.0.3", "X-Forwarded-Proto: http, https, http", "X-Forwarded-Host: evil.test, shop.test, inner.test"},
			facts: lifecycle.Facts{Client: "192.0.2.1", Scheme: "https", Host: "shop.test"},
		},
		"all hops trusted": {
			from: "10.9.0.1", lines: []string{"X-Forwarded-For: 10.9.0.3"},
			facts: lifecycle.Facts{Client: "10.9.0.1:*", Scheme: "http", Host: "example.com"},
		},
		"a client that is no address": {
			from: "10.9.0.1", lines: []string{"X-Forwarded-For: 192.0.2.1, unknown"},
			facts: lifecycle.Facts{Client: "10.9.0.1:*", Scheme: "http", Host: "example.com"},
		},
		"a scheme that is none": {
			from: "10.9.0.1", lines: []string{"X-Forwarded-Proto: gopher"},
			want:  map[string]string{"X-Forwarded-Proto": "http"},
			facts: lifecycle.Facts{Client: "10.9.0.1:*", Scheme: "http", Host: "example.com"},
		},
		"a host that has to be quoted": {
			from: "10.9.0.1", lines: []string{`X-Forwarded-Host: a"b\c, d`},
			want:  map[string]string{"Forwarded": `for=10.9.0.1;host="a\"b\\c";proto=http`, "X-Forwarded-Host": `a"b\c`},
			facts: lifecycle.Facts{Client: "10.9.0.1:*", Scheme: "http", Host: `a"b\c`},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.listener.TrustedProxies = trusted
				w.start()
				p := w.connect(c.from)
				p.write(t, request(c.lines...))
				synctest.Wait()
				r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(w.received())))
				if err != nil {
					t.Fatalf("upstream got %q: %v", w.received(), err)
				}
				for name, want := range c.want {
					if got := strings.Join(r.Header[http.CanonicalHeaderKey(name)], " | "); got != want {
						t.Errorf("%s: got %q, want %q", name, got, want)
					}
				}
				for live := range w.server.Registry.All() {
					f := live.Facts()
					if before, ok := strings.CutSuffix(c.facts.Client, "*"); ok && strings.HasPrefix(f.Client, before) {
						f.Client = c.facts.Client // the port is any
					}
					if got := (lifecycle.Facts{Client: f.Client, Scheme: f.Scheme, Host: f.Host}); got != c.facts {
						t.Errorf("got client %q, %s, host %q, want %q, %s, %q", got.Client, got.Scheme, got.Host, c.facts.Client, c.facts.Scheme, c.facts.Host)
					}
				}
			})
		})
	}
}
