package admin

import "testing"

func TestClientFilter(t *testing.T) {
	for _, tc := range []struct {
		filter, client string
		want           bool
	}{
		{"203.0.113.7", "203.0.113.7:51000", true},
		{"203.0.113.7", "203.0.113.7", true},
		{"203.0.113.7", "[::ffff:203.0.113.7]:51000", true},
		{"fe80::/10", "[fe80::1%eth0]:51000", true},
		{"fe80::1", "fe80::1%eth0", true},
		{"2001:db8::1", "[2001:DB8:0::1]:51000", true},
		{"203.0.113.7:51000", "203.0.113.7:51000", true},
		{"203.0.113.7:51000", "203.0.113.7:51001", false},
		{"203.0.113.0/24", "unknown", false},
		{"unknown", "unknown", true},
		{"", "203.0.113.7:51000", false},
	} {
		if got := parseClient(tc.filter).matches(tc.client); got != tc.want {
			t.Errorf("%s for %s: got %t, want %t", tc.filter, tc.client, got, tc.want)
		}
	}
}
