package access

import "testing"

func TestHosts(t *testing.T) {
	for name, c := range map[string]struct {
		list []string
		host string
		port uint16 // 0: 443
		want bool
	}{
		"an empty list":            {nil, "a.test", 0, false},
		"listed":                   {[]string{"b.test", "a.test"}, "a.test", 0, true},
		"spelt otherwise":          {[]string{"A.Test."}, "a.TEST", 0, true},
		"in Unicode":               {[]string{"bücher.test"}, "xn--bcher-kva.test", 0, true},
		"under one that is listed": {[]string{"a.test"}, "b.a.test", 0, false},
		"under a domain":           {[]string{"*.a.test"}, "c.b.a.test", 0, true},
		"the domain itself":        {[]string{"*.a.test"}, "a.test", 0, false},
		"ends like the domain":     {[]string{"*.a.test"}, "xa.test", 0, false},
		"every host":               {[]string{"*"}, "a.test", 0, true},
		"every host, an address":   {[]string{"*"}, "10.0.0.1", 0, true},
		"every host, nonsense":     {[]string{"*"}, "a..test", 0, false},
		"no host":                  {[]string{"*"}, "", 0, false},
		"the port":                 {[]string{"a.test:8443"}, "a.test", 8443, true},
		"another port":             {[]string{"a.test:8443"}, "a.test", 0, false},
		"an address":               {[]string{"::1"}, "0:0::1", 0, true},
		"a mapped address":         {[]string{"10.0.0.1"}, "::ffff:10.0.0.1", 0, true},
		"a network":                {[]string{"10.0.0.0/8"}, "10.1.2.3", 0, true},
		"a network and a name":     {[]string{"0.0.0.0/0"}, "a.test", 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			h, err := ParseHosts(c.list)
			if err != nil {
				t.Fatal(err)
			}
			if c.port == 0 {
				c.port = 443
			}
			if got := h.Has(c.host, c.port); got != c.want {
				t.Errorf("got %t, want %t", got, c.want)
			}
		})
	}
}

func TestParseHostsRefuses(t *testing.T) {
	for _, entry := range []string{"", "https://a.test", "a*.test", "*.1", "a.test:0"} {
		if _, err := ParseHosts([]string{"a.test", entry}); err == nil {
			t.Errorf("%q: got no problem", entry)
		}
	}
}
