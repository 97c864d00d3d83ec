package access

import (
	"strings"
	"testing"
)

func TestAllow(t *testing.T) {
	cases := map[string]struct {
		list         []string
		origin       string
		scheme, host string // of the service; none: https and example.com
		want         bool
	}{
		"no origin":                          {want: true},
		"no origin, others listed":           {list: []string{"https://a.test"}, want: true},
		"null":                               {origin: "null"},
		"null, same-origin":                  {list: []string{"same-origin"}, origin: "null"},
		"null, listed host null":             {list: []string{"https://null"}, origin: "null"},
		"null, everything":                   {list: []string{"*"}, origin: "null", want: true},
		"own":                                {origin: "https://example.com", want: true},
		"own, said":                          {list: []string{"same-origin"}, origin: "https://example.com", want: true},
		"own, but a list without it":         {list: []string{"https://a.test"}, origin: "https://example.com"},
		"own beside a list":                  {list: []string{"https://a.test", "same-origin"}, origin: "https://example.com", want: true},
		"own, in capitals":                   {origin: "HTTPS://EXAMPLE.com", host: "Example.COM", want: true},
		"own, default port said by one":      {origin: "https://example.com", host: "example.com:443", want: true},
		"own, default port said by other":    {origin: "https://example.com:443", want: true},
		"own, http and its port":             {origin: "http://example.com", scheme: "http", host: "example.com:80", want: true},
		"own, a port":                        {origin: "https://example.com:8443", host: "example.com:8443", want: true},
		"another port":                       {origin: "https://example.com:8443"},
		"another port of ours":               {origin: "https://example.com", host: "example.com:8443"},
		"the other scheme":                   {origin: "http://example.com"},
		"the other scheme, same port":        {origin: "http://example.com:443"},
		"another host":                       {origin: "https://evil.test"},
		"a subdomain":                        {origin: "https://www.example.com"},
		"ours is a subdomain":                {origin: "https://example.com", host: "www.example.com"},
		"a host that ends like ours":         {origin: "https://notexample.com"},
		"a host that begins like ours":       {origin: "https://example.com.evil.test"},
		"final dot":                          {origin: "https://example.com."},
		"IPv6, written two ways":             {origin: "https://[0:0:0:0:0:0:0:1]", host: "[::1]:443", want: true},
		"IPv6, another":                      {origin: "https://[::2]", host: "[::1]"},
		"user before the host":               {origin: "https://example.com@evil.test"},
		"our host as user":                   {origin: "https://evil.test@example.com"},
		"a path":                             {origin: "https://example.com/"},
		"a query":                            {origin: "https://example.com?x"},
		"a fragment":                         {origin: "https://example.com#x"},
		"no scheme":                          {origin: "example.com"},
		"no host":                            {origin: "https://"},
		"two origins":                        {origin: "https://example.com https://evil.test"},
		"nonsense":                           {origin: "https://[::"},
		"our host unknown":                   {origin: "https://example.com", host: " "},
		"listed":                             {list: []string{"https://a.test", "https://b.test:8443"}, origin: "https://b.test:8443", want: true},
		"listed, without its port":           {list: []string{"https://b.test:8443"}, origin: "https://b.test"},
		"listed, other scheme":               {list: []string{"https://b.test"}, origin: "http://b.test"},
		"listed in capitals":                 {list: []string{"https://B.Test"}, origin: "https://b.test", want: true},
		"listed, a scheme without a port":    {list: []string{"chrome-extension://abc"}, origin: "chrome-extension://abc", want: true},
		"everything":                         {list: []string{"*"}, origin: "gopher://evil.test", want: true},
		"everything, even what is no origin": {list: []string{"*"}, origin: "nonsense", want: true},
		"subdomain":                          {list: []string{"https://*.a.test"}, origin: "https://x.a.test", want: true},
		"subdomain's subdomain":              {list: []string{"https://*.a.test"}, origin: "https://y.x.a.test", want: true},
		"the domain itself":                  {list: []string{"https://*.a.test"}, origin: "https://a.test"},
		"only the dot":                       {list: []string{"https://*.a.test"}, origin: "https://.a.test"},
		"ends like the domain":               {list: []string{"https://*.a.test"}, origin: "https://xa.test"},
		"subdomain, other scheme":            {list: []string{"https://*.a.test"}, origin: "http://x.a.test"},
		"subdomain, other port":              {list: []string{"https://*.a.test"}, origin: "https://x.a.test:81"},
		"subdomain at a port":                {list: []string{"http://*.a.test:81"}, origin: "http://x.a.test:81", want: true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			o, err := ParseOrigins(c.list)
			if err != nil {
				t.Fatal(err)
			}
			scheme, host := c.scheme, c.host
			if scheme == "" {
				scheme = "https"
			}
			if host == "" {
				host = "example.com"
			}
			if got := o.Allow(c.origin, scheme, host); got != c.want {
				t.Errorf("origin %q to %s://%s with %q: got %t, want %t", c.origin, scheme, host, c.list, got, c.want)
			}
		})
	}
}

func TestParseOriginsRefuses(t *testing.T) {
	for name, entry := range map[string]string{
		"empty":                      "",
		"no scheme":                  "example.com",
		"no host":                    "https://",
		"a path":                     "https://example.com/",
		"a user":                     "https://me@example.com",
		"null":                       "null",
		"any scheme":                 "*://example.com",
		"every host":                 "https://*",
		"every host, with a dot":     "https://*.",
		"part of a label":            "https://*example.com",
		"end of a label":             "https://www*.example.com",
		"in the middle":              "https://a.*.example.com",
		"twice":                      "https://*.*.example.com",
		"a port that is no number":   "https://example.com:x",
		"in another place as scheme": "https//example.com",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseOrigins([]string{"https://good.test", entry})
			if err == nil || !strings.Contains(err.Error(), `"`+entry+`"`) {
				t.Errorf("%q: got %v, want an error that quotes it", entry, err)
			}
		})
	}
}

// The zero value is for a route that says nothing.
func TestOriginsOfNothing(t *testing.T) {
	o, err := ParseOrigins(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]*Origins{"parsed": o, "zero": {}} {
		if !o.Allow("https://example.com", "https", "example.com") || o.Allow("https://evil.test", "https", "example.com") {
			t.Errorf("%s: got another answer than the own origin only", name)
		}
	}
}
