package config

import "testing"

func TestIdentity(t *testing.T) {
	for text, ok := range map[string]bool{
		"address": true, "cookie:sid": true, "header:X-User": true, "query:user id": true,
		"": false, "adress": false, "address:x": false, "cookie": false, "cookie:": false, "cookie:a b": false, "header:X:Y": false, "query:": false, "ip": false,
	} {
		var i Identity
		if err := i.UnmarshalText([]byte(text)); (err == nil) != ok {
			t.Errorf("%q: got %v, want valid: %t", text, err, ok)
		}
	}
	if kind, name := Identity("query:a:b").Parts(); kind != "query" || name != "a:b" {
		t.Errorf("got %s and %s, want query and a:b", kind, name)
	}
}
